"""Profiles as Perfetto reads them: a track for each thread, spans within spans, memory."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intaglio import InferenceSession, SessionOptions

BERT = Path(__file__).parents[3] / "data" / "bert.onnx"
RUNS = 5
Event = dict[str, Any]


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    options = SessionOptions()
    options.intra_op_num_threads = 2
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path_factory.mktemp("profiles") / "p")
    session = InferenceSession(str(BERT), options)
    feeds = {each.name: np.ones((8, 64), np.int64) for each in session.get_inputs()}
    for _ in range(RUNS):
        session.run(None, feeds)
    found: list[Event] = json.loads(Path(session.end_profiling()).read_text())
    return found


def spans(events: list[Event]) -> dict[int, list[Event]]:
    """Of each track, by their begin, the longest first."""
    tracks: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            tracks[event["tid"]].append(event)
    return {track: sorted(found, key=lambda e: (e["ts"], -e["dur"])) for track, found in tracks.items()}


def test_spans_are_nested_or_apart(events: list[Event]) -> None:
    """Perfetto drops what overlaps."""
    for found in spans(events).values():
        open_until: list[float] = []
        for event in found:
            while open_until and open_until[-1] <= event["ts"] + 0.002:  # a rounding of microseconds
                open_until.pop()
            assert not open_until or event["ts"] + event["dur"] <= open_until[-1] + 0.002, event
            open_until.append(event["ts"] + event["dur"])


def test_runs_have_steps_and_steps_have_waits(events: list[Event]) -> None:
    (caller,) = {e["tid"] for e in events if e["name"] == "model_run"}
    found = spans(events)[caller]
    runs = [e for e in found if e["name"] == "SequentialExecutor::Execute"]
    assert len(runs) == RUNS
    steps, waits = ([e for e in found if e["cat"] == category] for category in ("Node", "Wait"))
    assert len(steps) % RUNS == 0 and waits
    for run in runs:
        inside = [e for e in steps if run["ts"] <= e["ts"] <= run["ts"] + run["dur"]]
        assert len(inside) == len(steps) // RUNS
        assert 0.5 * run["dur"] < sum(e["dur"] for e in inside) <= run["dur"] * 1.001
        assert all(a["ts"] + a["dur"] <= b["ts"] + 0.002 for a, b in pairwise(inside))


def test_workers_have_tracks_with_names(events: list[Event]) -> None:
    (caller,) = {e["tid"] for e in events if e["name"] == "model_run"}
    work = [e for e in events if e["cat"] == "Work"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
    assert {e["tid"] for e in work} == names.keys() and caller not in names and names
    assert all(e["args"]["claims"] >= 1 and e["args"]["busy_us"] <= e["dur"] + 0.002 for e in work)
    helped = {tid for e in events if e["cat"] == "Node" for tid in e["args"]["thread_scheduling_stats"]["sub_threads"]}
    assert helped == {str(tid) for tid in names}


def test_memory_is_counted(events: list[Event]) -> None:
    counted = [e for e in events if e["ph"] == "C"]
    assert len(counted) == RUNS + sum(e["cat"] == "Node" for e in events)
    assert max(e["args"]["bytes"] for e in counted) > 0 and counted[-1]["args"]["bytes"] == 0
