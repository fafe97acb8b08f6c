"""Functions of a run that are Python: what kernels cannot compute, as it is about strings, sequences, maps, optionals.

`table.py` gives each such value of a run a number, which is what programs know of it; `calls.py` runs the functions
that a program asks for, which are in the other files.
"""
