"""Documents whose code blocks are run: README.md and those in docs/.

In: a document. Out: its blocks, and the environment of the processes that run them. A block that begins with a
comment such as `# model.py` is a file. A block that cannot run, as it needs other machines, has the mark `{.unrun}`
behind its language, and is none of the blocks.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)  # language, text
UNRUN = re.compile(r"^```\w+ \{\.unrun\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(?:# |/\* )(\w+\.\w+)(?: \*/)?\n")


def environment() -> dict[str, str]:
    """Of a process that finds `python` and `intaglio` as a user does who has installed them."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
