"""The database of measured schedules: nothing measured is lost, whatever happens to those who write it."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from intaglio.runtime.errors import Fail
from intaglio.runtime.store import tuning
from intaglio.runtime.store.tuning import Record

RECORD = Record(
    kernel="k", sizes=(1, 2), cpu="a CPU", target="x86_64", threads=2, toolchain="gcc 1", code="k1", kind="Matmul",
    schedule={"type": "MatmulSchedule", "block_rows": 96}, seconds=1e-3, default_seconds=2e-3, gain=2.0, gain_low=1.9,
    turns=25, refused="", nodes="MatMul", time=1.0,
)  # fmt: skip


def numbered(number: int) -> Record:
    return replace(RECORD, schedule={"type": "MatmulSchedule", "block_rows": number})


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "tuning.jsonl"
    tuning.append(path, [numbered(1)])
    tuning.append(path, [numbered(2), numbered(3)])
    assert tuning.read([path]) == [numbered(1), numbered(2), numbered(3)]
    assert tuning.read([tmp_path / "none", path]) == tuning.read([path])


def test_later_lines_and_earlier_files_count(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    tuning.append(first, [RECORD, replace(RECORD, gain=3.0)])
    tuning.append(second, [replace(RECORD, gain=4.0), replace(RECORD, threads=1)])
    assert sorted(r.gain for r in tuning.read([first, second])) == [2.0, 3.0]
    assert sorted(r.gain for r in tuning.read([second, first])) == [2.0, 4.0]


def test_merging_is_concatenation(tmp_path: Path) -> None:
    first, second, both = tmp_path / "a", tmp_path / "b", tmp_path / "both"
    tuning.append(first, [numbered(1), numbered(2)])
    tuning.append(second, [numbered(2), numbered(3)])
    both.write_bytes(first.read_bytes() + second.read_bytes())
    assert tuning.merge(first, second) == 1
    assert tuning.merge(first, second) == 0
    assert tuning.read([first]) == tuning.read([both])
    other = tmp_path / "other"
    other.write_text("no record\n")
    with pytest.raises(Fail, match="its first line is no record"):
        tuning.merge(first, other)
    with pytest.raises(Fail, match="there is no such file"):
        tuning.merge(first, tmp_path / "nowhere")


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_torn_last_line_is_ignored_and_then_removed(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "tuning.jsonl"
    tuning.append(path, [numbered(1), numbered(2)])
    path.write_bytes(path.read_bytes()[:-cut])
    assert tuning.read([path]) == [numbered(1)]
    tuning.append(path, [numbered(3)])
    assert tuning.read([path]) == [numbered(1), numbered(3)]


@pytest.mark.parametrize(("line", "reason"), [
    (b"{", "is no record"),
    (b"[]", "is no record"),
    (b"{}", "is no record"),
    (json.dumps({"version": 2}).encode(), "has version 2, and 1 is read"),
    (json.dumps({"version": 1, "kernel": "k"}).encode(), "has other fields"),
    (tuning.line(replace(RECORD, gain="2"))[:-1], "has other fields"),  # type: ignore[arg-type]
    (tuning.line(replace(RECORD, sizes=("1",)))[:-1], "has sizes that are no numbers"),  # type: ignore[arg-type]
])  # fmt: skip
def test_other_lines_are_ignored_with_a_reason(tmp_path: Path, line: bytes, reason: str) -> None:
    assert tuning.parsed(line) == reason
    path = tmp_path / "tuning.jsonl"
    path.write_bytes(tuning.line(numbered(1)) + line + b"\n" + tuning.line(numbered(2)))
    assert tuning.read([path]) == [numbered(1), numbered(2)]


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_tuning import numbered
from intaglio.runtime.store import tuning
first, path = int(sys.argv[1]), Path(sys.argv[2])
for number in range(first, first + int(sys.argv[4])):
    tuning.append(path, [numbered(number)])
    print(number, flush=True)
"""


def writer(first: int, path: Path, count: int) -> subprocess.Popen[str]:
    arguments = [str(first), str(path), str(Path(__file__).parent), str(count)]
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True)


def test_two_writers_at_once(tmp_path: Path) -> None:
    path = tmp_path / "tuning.jsonl"
    writers = [writer(first, path, 200) for first in (0, 1000)]
    assert [process.wait(60) for process in writers] == [0, 0]
    assert {r.schedule["block_rows"] for r in tuning.read([path])} == {*range(200), *range(1000, 1200)}
    assert all(isinstance(tuning.parsed(line), Record) for line in tuning.lines(path))


def test_a_killed_writer_loses_nothing(tmp_path: Path) -> None:
    """kill -9, twice; each run goes on where the one before it was ended."""
    path, told = tmp_path / "tuning.jsonl", set[int]()
    for first in (0, 100_000):
        process = writer(first, path, 100_000)
        assert process.stdout
        told.add(int(process.stdout.readline()))  # it has begun, however busy the machine is
        time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        told |= {int(number) for number in process.communicate(timeout=60)[0].split()}
    assert told <= {r.schedule["block_rows"] for r in tuning.read([path])}


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "tuning.jsonl"
    tuning.append(path, [numbered(1)])
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
    try:
        with pytest.raises(OSError):
            tuning.append(path, [numbered(2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_bytes() == before
    tuning.append(path, [numbered(3)])
    assert tuning.read([path]) == [numbered(1), numbered(3)]


def test_pruning_beside_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "tuning.jsonl"
    tuning.append(path, [numbered(-1)])
    process, removed = writer(0, path, 300), 0
    while process.poll() is None:
        tuning.append(path, [numbered(-1)])
        removed += tuning.prune(path)
    assert process.wait() == 0 and removed > 0
    assert {r.schedule["block_rows"] for r in tuning.read([path])} == {-1, *range(300)}


def test_files_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTAGLIO_TUNING", f"{tmp_path / 'a'}{os.pathsep}{tmp_path / 'b'}")
    assert tuning.files() == [tmp_path / "a", tmp_path / "b"]
    assert tuning.files("/models/m.onnx") == [tmp_path / "a", Path("/models/m.onnx.tuning.jsonl"), tmp_path / "b"]
    monkeypatch.delenv("INTAGLIO_TUNING")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_DIRS", f"{tmp_path / 'all'}{os.pathsep}relative")
    wanted = [tmp_path / "home" / "intaglio" / "tuning.jsonl", tmp_path / "all" / "intaglio" / "tuning.jsonl"]
    assert tuning.files()[:2] == wanted


def test_the_state_changes_with_the_records(tmp_path: Path) -> None:
    path = tmp_path / "tuning.jsonl"
    assert tuning.state([path]) == ()
    tuning.append(path, [numbered(1)])
    first = tuning.state([path])
    assert first == tuning.state([path]) and first[0][0] == str(path)
    tuning.append(path, [numbered(2)])
    assert tuning.state([path]) != first
