"""Compiler processes, threads that wait for them, and a folder for their files: all end with the block that needs them.

In: commands. Out: processes, each in a session of its own, so that Ctrl-C reaches this process alone, which then kills
them; otherwise an interrupted compiler would look like a failed one. It must never leave a process or a file behind,
nor wait for a result that is not needed any more, however often it is interrupted itself: a thread, which receives no
signals, cleans up.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")


class Processes:
    """`with Processes(parent) as running, running.needed: ...`: when the block is left, running processes are killed,
    and the folder is removed.

    folder: a new one in `parent`, for the files of the work, and for temporary files of the processes. needed: held
    while the block runs; a lock, as nothing, not even a signal, comes between an exception and its release.
    """

    def __init__(self, parent: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="build-", dir=parent))
        self.needed = threading.Lock()
        self._lock = threading.Lock()
        self._started: list[subprocess.Popen[str]] = []
        self._threads: list[threading.Thread] = []
        self._cleaner: threading.Thread | None = None  # once there is a process
        self._over = False

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._cleaner is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            self._cleaner.join()

    def each(self, work: Callable[[T], object], items: Sequence[T], threads: int) -> Iterator[None]:
        """Calls `work` on the items in up to `threads` threads; yields after each. Raises the first error of a call."""
        todo: queue.SimpleQueue[T] = queue.SimpleQueue()
        done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        for item in items:
            todo.put(item)

        def go() -> None:
            try:
                while True:
                    work(todo.get_nowait())
                    done.put(None)
            except queue.Empty:
                pass
            except BaseException as error:
                done.put(error)

        for _ in range(min(threads, len(items))):
            thread = threading.Thread(target=go, daemon=True)
            self._threads.append(thread)
            thread.start()
        for _ in items:
            error = done.get()
            if error is not None:
                raise error
            yield

    def start(self, command: Sequence[str], env: dict[str, str], **streams: Any) -> subprocess.Popen[str]:
        """Starts a process with text streams. Raises CancelledError after the end of the block."""
        env = {**env, "TMPDIR": str(self.folder)}
        with self._lock:
            if self._over:
                raise CancelledError
            if self._cleaner is None:
                self._cleaner = threading.Thread(target=self._clean_up)
                self._cleaner.start()
            process = subprocess.Popen(command, env=env, text=True, errors="replace", start_new_session=True, **streams)
            self._started.append(process)
        return process

    def run(self, command: Sequence[str], env: dict[str, str]) -> tuple[int, str]:
        """Runs a command with empty stdin; returns its exit code and its stderr. Raises CancelledError if it was killed
        by the end of the block."""
        process = self.start(command, env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        _, stderr = process.communicate()
        if self._over:
            raise CancelledError
        return process.returncode, stderr

    def _clean_up(self) -> None:
        with self.needed, self._lock:
            self._over = True
        for process in self._started:
            if process.poll() is None:
                _kill(process)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        for process in self._started:
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _kill(process: subprocess.Popen[str]) -> None:
    """Kills a process and its descendants."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
