"""Documents whose code blocks are run: README.md and docs/tour.md.

In: a document. Out: its blocks, and the environment of the processes that run them.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)  # language, text


def environment() -> dict[str, str]:
    """Of a process that finds `python` and `intaglio` as a user does who has installed them."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
