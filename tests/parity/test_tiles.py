"""Whole models on the tiles of a CPU's matrix unit (AMX), whose instructions are emulated: against onnxruntime, and the
same bits for any number of threads.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import intaglio
from bench.inputs import session_inputs
from parity import zoo

DIMS = {"batch": 3, "sequence": 23}
TILES = "native+amx-tile+amx-bf16+amx-int8+vector_bytes=64+registers=32"


@pytest.fixture(autouse=True)
def emulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("INTAGLIO_CC", "gcc -DINTAGLIO_EMULATE -Wno-psabi")


def session(path: Path, threads: int = 0, precision: str = "exact") -> intaglio.InferenceSession:
    options = intaglio.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("intaglio.precision", precision)
    options.add_session_config_entry("session.intaglio.target", TILES)
    return intaglio.InferenceSession(path, options)


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", zoo.NAMES)
def test_models_agree_with_onnxruntime(name: str) -> None:
    path = zoo.small(name)
    zoo.compare(session(path), zoo.theirs(path), DIMS, seed=1)


@pytest.mark.parametrize("precision", ["exact", "bf16"])
def test_the_same_bits_for_any_number_of_threads(precision: str) -> None:
    path = zoo.small("bert")
    sessions = [session(path, threads, precision) for threads in (1, 2, 3, 4)]
    feeds = session_inputs(sessions[0], DIMS, seed=5)
    first, *others = (each.run(None, feeds) for each in sessions)
    assert all(a.tobytes() == b.tobytes() for other in others for a, b in zip(first, other))
