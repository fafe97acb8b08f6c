"""A scalar primitive and its ONNX operator are one row each: the compiler names erf in these two files and no other."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORD = re.compile(r"(?<![a-z])erf[fl]?(?![a-z])", re.IGNORECASE)  # Erf, _erf, erff; not overflow, perf


def test_erf_touches_two_files() -> None:
    sources = [f for folder in ("compiler", "runtime", "templates", "intaglio") for f in (ROOT / folder).rglob("*")]
    texts = {f: f.read_text() for f in sources if f.suffix in (".py", ".c", ".h", ".j2")}
    named = {f.relative_to(ROOT).as_posix() for f, text in texts.items() if WORD.search(text)}
    assert named == {"compiler/scalar/prims.py", "compiler/frontend/ops/math.py"}
