"""Processes that compile end with the work that they were started for, and with them what they have started."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from intaglio.compiler.processes import Processes

ENV = {**os.environ}


def family(folder: Path) -> list[str]:
    """A process, and one that it has started, which write down who they are and sleep."""
    return ["sh", "-c", f"sleep 60 & echo $! $$ >> {folder}/pids; wait"]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits for its end to be looked at does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pids(folder: Path) -> list[int]:
    file = folder / "pids"
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, ValueError])
def test_an_exception_ends_them(tmp_path: Path, kind: type[BaseException]) -> None:
    futures: list[Future[tuple[int, str]]] = []
    start = time.monotonic()
    with pytest.raises(kind), ThreadPoolExecutor(2) as pool, Processes() as processes:
        futures += [pool.submit(processes.run, family(tmp_path), ENV) for _ in range(5)]
        until(lambda: len(pids(tmp_path)) >= 4)
        raise kind
    assert time.monotonic() - start < 30
    for future in futures:
        assert isinstance(future.exception(), CancelledError)
    assert len(pids(tmp_path)) == 4
    until(lambda: not any(map(alive, pids(tmp_path))))
    with pytest.raises(CancelledError):
        processes.run(["true"], ENV)


def end(*_: object) -> None:
    raise SystemExit


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_signal_while_waiting(tmp_path: Path, number: int, kind: type[BaseException]) -> None:
    """In the thread that waits itself."""
    before = signal.signal(signal.SIGTERM, end)
    start = time.monotonic()
    try:
        with pytest.raises(kind), Processes() as processes:
            threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
            processes.run(family(tmp_path), ENV)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert time.monotonic() - start < 30
    until(lambda: not any(map(alive, pids(tmp_path))))


def test_others_are_left_alone() -> None:
    with Processes() as processes:
        assert processes.run(["sh", "-c", "echo no >&2; exit 3"], ENV) == (3, "no\n")
        assert processes.run(["sh", "-c", "kill -9 $$"], ENV)[0] == -9
        process = processes.start(["cat"], ENV, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.communicate("on")[0] == "on" and process.returncode == 0
