"""Runs in the background: a few threads of their own, which also call the callbacks.

Every callback is called exactly once, whatever happens; what it raises is reported and ends nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any

from .. import cpus

Work = Callable[[], tuple[list[Any], str]]
Task = tuple[Work, Any, Any]


class _Pool:
    """Threads that are started as tasks come, and stay. They end with the process: after the tasks that are left."""

    def __init__(self) -> None:
        self.process = os.getpid()  # a forked child has none of its parent's threads
        self.tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self.idle = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.threads: list[threading.Thread] = []

    def submit(self, task: Task) -> None:
        self.tasks.put(task)
        if self.idle.acquire(blocking=False):
            return
        with self.lock:
            if len(self.threads) < max(cpus.usable(), 2):
                thread = threading.Thread(target=self.work, name="intaglio-run-async", daemon=True)
                self.threads.append(thread)
                thread.start()

    def work(self) -> None:
        while True:
            try:
                task = self.tasks.get_nowait()
            except queue.Empty:
                self.idle.release()
                task = self.tasks.get()
            if task is None:
                return
            _finish(task)
            del task  # nothing of a finished run stays alive

    def finish(self) -> None:
        """Waits for what was submitted: the interpreter is about to end."""
        if self.process != os.getpid():
            return
        for _ in self.threads:
            self.tasks.put(None)
        for thread in self.threads:
            thread.join()


def _finish(task: Task) -> None:
    work, callback, user_data = task
    results, error = work()
    try:
        callback(results, user_data, error)
    except BaseException as raised:
        _report(raised)


def _report(raised: BaseException) -> None:
    """As onnxruntime reports it, on stderr; never raises."""
    import traceback  # slow to import

    with contextlib.suppress(Exception):
        text = "".join(traceback.format_exception(type(raised), raised, raised.__traceback__))
        sys.stderr.write(f"Exception ignored in: 'onnxruntime.InferenceSession.run_async callback'\n{text}")


_lock = threading.Lock()
_pool: _Pool | None = None


def submit(work: Work, callback: Callable[[list[Any], Any, str], object], user_data: Any) -> None:
    """Calls `callback(results, user_data, err)` with what `work()` returns, on another thread."""
    global _pool
    pool = _pool
    if pool is None or pool.process != os.getpid():
        with _lock:
            if _pool is None or _pool.process != os.getpid():
                _pool = _Pool()
                atexit.register(_pool.finish)
            pool = _pool
    pool.submit((work, callback, user_data))
