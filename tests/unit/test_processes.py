"""Processes that compile end with the work that they were started for, and with them what they have started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from families import alive, pids, script, until

from intaglio.compiler.processes import Processes

ENV = {**os.environ}


def family(folder: Path) -> list[str]:
    return ["sh", "-c", script(folder)]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, ValueError])
def test_an_exception_ends_them(tmp_path: Path, kind: type[BaseException]) -> None:
    errors: list[BaseException] = []

    def work(_: int) -> None:
        try:
            running.run(family(tmp_path), ENV)
        except CancelledError as error:
            errors.append(error)
            raise

    def wait() -> None:
        with contextlib.suppress(CancelledError):
            list(running.each(work, range(5), 2))

    def fail() -> None:
        until(lambda: len(pids(tmp_path)) >= 4)
        raise kind

    start = time.monotonic()
    with pytest.raises(kind), Processes(tmp_path) as running, running.needed:
        threading.Thread(target=wait, daemon=True).start()
        fail()
    assert time.monotonic() - start < 30 and not running.folder.exists()
    assert len(pids(tmp_path)) == 4 and len(errors) == 2
    until(lambda: not any(map(alive, pids(tmp_path))))
    with pytest.raises(CancelledError):
        running.run(["true"], ENV)


def test_the_first_failure_ends_the_others(tmp_path: Path) -> None:
    def work(number: int) -> None:
        if number == 2:
            until(lambda: len(pids(tmp_path)) >= 4)
            raise ValueError("no")
        running.run(family(tmp_path), ENV)

    with pytest.raises(ValueError, match="no"), Processes(tmp_path) as running, running.needed:
        list(running.each(work, range(9), 3))
    assert len(pids(tmp_path)) == 4
    until(lambda: not any(map(alive, pids(tmp_path))))


def end(*_: object) -> None:
    raise SystemExit


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_while_waiting(tmp_path: Path, number: int, kind: type[BaseException]) -> None:
    """In the thread that waits itself."""
    before = signal.signal(signal.SIGTERM, end)
    start = time.monotonic()
    try:
        with pytest.raises(kind), Processes(tmp_path) as running, running.needed:
            threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
            running.run(family(tmp_path), ENV)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert time.monotonic() - start < 30
    until(lambda: not any(map(alive, pids(tmp_path))))


def test_results(tmp_path: Path) -> None:
    numbers: list[int] = []
    with Processes(tmp_path) as running, running.needed:
        assert running.run(["sh", "-c", "echo no >&2; exit 3"], ENV) == (3, "no\n")
        assert running.run(["sh", "-c", "kill -9 $$"], ENV)[0] == -9
        process = running.start(["cat"], ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.communicate("on")[0] == "on" and process.returncode == 0
        assert len(list(running.each(numbers.append, range(20), 3))) == 20 and sorted(numbers) == list(range(20))
        assert list(running.each(numbers.append, [], 3)) == []
    assert not any(tmp_path.iterdir())
