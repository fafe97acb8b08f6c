"""`python -m bench.probe MODULE [MODEL]`: seconds of importing an engine, or of making a session.

Run by `startup.py`, each time in a fresh process. Prints one number. numpy is imported before the clock runs,
since every caller has it already; nothing of this project is.
"""

from __future__ import annotations

import importlib
import sys
import time

import numpy  # noqa: F401  (not measured)


def main(module: str, *model: str) -> None:
    start = time.perf_counter()
    engine = importlib.import_module(module)
    if model:
        start = time.perf_counter()
        engine.InferenceSession(model[0])
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main(*sys.argv[1:])
