"""Processes that compile: they end with the work that they were started for.

In: commands. Out: processes, each in a session of its own with what it starts itself: Ctrl-C reaches this process
alone, which then ends them; else a compiler that is interrupted looks like one that failed. It must never leave a
process behind, nor wait for one that nobody needs any more.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import CancelledError
from types import TracebackType
from typing import Any


class Processes:
    """`with Processes() as processes`: when the block is left by an exception, whichever, all of them are ended.

    May be used by several threads; where they wait for a process that was ended, they get CancelledError.
    """

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[str]] = []
        self._over = False

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._over = True
            for process in list(self._started):
                _end(process)

    def start(self, command: Sequence[str], env: dict[str, str], **streams: Any) -> subprocess.Popen[str]:
        """A process with text streams. Raises CancelledError where the work is over."""
        if self._over:
            raise CancelledError
        process = subprocess.Popen(command, env=env, text=True, errors="replace", start_new_session=True, **streams)
        self._started.append(process)
        if self._over:
            _end(process)
        return process

    def run(self, command: Sequence[str], env: dict[str, str]) -> tuple[int, str]:
        """Runs a command that reads nothing; returns its exit code and what it said on stderr."""
        process = self.start(command, env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            _, said = process.communicate()
        except BaseException:
            _end(process)
            process.wait()
            raise
        if self._over:
            raise CancelledError
        return process.returncode, said


def _end(process: subprocess.Popen[str]) -> None:
    """Ends a process and what it has started; its owner waits for it."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
