"""The templates of generated code, and the C files that are part of every model; one folder for each language."""
