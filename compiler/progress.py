"""Progress of long work: one line on stderr that is overwritten; nothing if stderr is no terminal.

In: names of stages, and how much of one is done. Out: text on stderr, which is erased at the end. A thread keeps the
seconds going while a stage says nothing; there is none where stderr is no terminal.
"""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

_QUIET = 0.3  # seconds before the first output: short work has none
_TICK = 0.2  # seconds between two outputs of a stage that says nothing
_WIDTH = 24  # of the bar
_CLEAR = "\r\x1b[K"


class Progress:
    """In a `with`, called for each stage (`progress("build")`), and for parts of it (`progress("build", 3, 20)`)."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._start = time.monotonic()
        self._text = ""
        self._shown = False
        self._lock = threading.RLock()  # the handler of a signal may call, too
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Progress:
        if self._terminal:
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._terminal:
            self._ticker.join()  # a process that is forked later finds stderr free
        if self._shown:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()

    def __call__(self, stage: str, done: int = 0, of: int = 0) -> None:
        filled = _WIDTH * done // of if of else 0
        part = f"  [{'#' * filled}{'.' * (_WIDTH - filled)}] {done} of {of}" if of else ""
        self._text = f"{stage}{part}"
        self._draw()

    def _tick(self) -> None:
        while not self._over.wait(_TICK):
            self._draw()

    def _draw(self) -> None:
        elapsed = time.monotonic() - self._start
        with self._lock:
            if self._terminal and elapsed > _QUIET and self._text and not self._over.is_set():
                sys.stderr.write(f"{_CLEAR}{elapsed:5.1f} s  {self._text}")
                sys.stderr.flush()
                self._shown = True
