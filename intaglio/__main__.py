"""`python -m intaglio`: the command line."""

import sys

from .compiler.cli.main import main

sys.exit(main())
