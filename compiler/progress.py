"""Progress of long work: one line on stderr that is overwritten; nothing if stderr is no terminal.

In: names of stages, and how much of one is done. Out: text on stderr, which is erased at the end.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType

_QUIET = 0.3  # seconds before the first output: short work has none
_CLEAR = "\r\x1b[K"


class Progress:
    """Called for each stage (`progress("build")`), and for parts of it (`progress("build", 3, 20)`)."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._start = time.monotonic()
        self._shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()

    def __call__(self, stage: str, done: int = 0, of: int = 0) -> None:
        elapsed = time.monotonic() - self._start
        if self._terminal and elapsed > _QUIET:
            part = f" {done} of {of}" if of else ""
            sys.stderr.write(f"{_CLEAR}{elapsed:5.1f} s  {stage}{part}")
            sys.stderr.flush()
            self._shown = True
