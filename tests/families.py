"""Processes that start others, as compilers do: what they run, who they are, and whether they still live."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def script(folder: Path) -> str:
    """A shell script that starts a process, writes down in `folder` who both are, and takes a minute."""
    return f"sleep 60 & echo $! $$ >> {folder}/pids; wait"


def pids(folder: Path) -> list[int]:
    """Of all that have written themselves down."""
    file = folder / "pids"
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits for its end to be looked at does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Waits, and fails where it takes longer than that."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
