"""Code generation: prints kernels and programs, and builds native code; one folder for each target language."""
