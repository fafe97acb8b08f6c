"""From kernels and programs to native code: one folder for each target language."""
