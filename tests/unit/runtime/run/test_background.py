"""Runs in the background: every callback is called once, whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from families import until

from intaglio.runtime.run.background import submit


def done(count: int, start: Callable[[Callable[..., None]], None]) -> list[tuple[Any, ...]]:
    """What callbacks get; `start` submits `count` runs."""
    calls: list[tuple[Any, ...]] = []
    finished = threading.Semaphore(0)

    def callback(*given: Any) -> None:
        calls.append(given)
        finished.release()

    start(callback)
    assert all(finished.acquire(timeout=20) for _ in range(count))
    return calls


def test_callbacks_get_what_work_returns() -> None:
    def start(callback: Callable[..., None]) -> None:
        for i in range(50):
            submit(lambda i=i: ([i], "wrong" if i % 2 else ""), callback, {"user": i})  # type: ignore[misc]

    calls = done(50, start)
    assert sorted(results[0] for results, _, _ in calls) == list(range(50))
    assert all(user == {"user": results[0]} and bool(error) == bool(results[0] % 2) for results, user, error in calls)


def test_on_other_threads_that_are_used_again() -> None:
    seen: set[int] = set()

    def work() -> tuple[list[Any], str]:
        seen.add(threading.get_ident())
        return [], ""

    def start(callback: Callable[..., None]) -> None:
        for _ in range(200):
            submit(work, callback, None)

    done(200, start)
    assert threading.get_ident() not in seen
    assert len(seen) <= max(len(os.sched_getaffinity(0)), 2)


def test_what_a_callback_raises_is_reported_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(*_: Any) -> None:
        raise KeyError("of the callback")

    def start(callback: Callable[..., None]) -> None:
        for _ in range(4):
            submit(lambda: ([], ""), fails, None)
            submit(lambda: ([], ""), callback, None)

    done(4, start)
    told: list[str] = []

    def is_reported() -> bool:
        told.append(capsys.readouterr().err)
        return "Exception ignored in: 'onnxruntime.InferenceSession.run_async callback'" in "".join(told)

    until(is_reported)


def test_a_process_ends_after_what_was_submitted() -> None:
    program = (
        "import os, time; from intaglio.runtime.run.background import submit\n"
        "for i in range(3): submit(lambda: (time.sleep(0.1), ([], ''))[1], lambda *_: os.write(1, b'done\\n'), None)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert found.stdout.split() == ["done"] * 3, found.stderr
