"""`python -m intaglio.as_onnxruntime program.py arguments...`: runs a program that imports onnxruntime on Intaglio."""

import sys

from . import main

main(sys.argv[1:])
