"""The eleven architectures, narrow ones, against onnxruntime: numbers, shapes, error texts; the same bits for any
threads.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime.capi.onnxruntime_pybind11_state as ort_errors
import pytest

from bench.inputs import session_inputs
from intaglio.compiler import driver
from intaglio.runtime.errors import InvalidArgument
from parity import zoo


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An empty cache; the models compiled since."""
    seen: list[str] = []
    compile_model: Callable[..., Any] = driver.compile_model

    def spy(model: str, *args: Any) -> Any:
        seen.append(Path(model).stem)
        return compile_model(model, *args)

    monkeypatch.setattr(driver, "compile_model", spy)
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(tmp_path / "cache"))
    return seen


@pytest.mark.sample(4)
@pytest.mark.parametrize("name", zoo.NAMES)
@pytest.mark.parametrize("batch", [1, 3])
def test_agrees_with_onnxruntime(name: str, batch: int) -> None:
    path = zoo.small(name)
    mine, reference = zoo.ours(path), zoo.theirs(path)
    for seed, sequence in enumerate((1, 7, 32) if name in zoo.TEXT else (0,)):
        zoo.compare(mine, reference, {"batch": batch, "sequence": sequence}, seed)


@pytest.mark.parametrize("name", zoo.TEXT)
def test_one_compilation_serves_all_sizes(name: str, compiled: list[str]) -> None:
    path = zoo.small(name)
    mine, reference = zoo.ours(path), zoo.theirs(path)
    for seed, (batch, sequence) in enumerate(zoo.PAIRS):
        zoo.compare(mine, reference, {"batch": batch, "sequence": sequence}, seed)
    zoo.compare(zoo.ours(path), reference, {"batch": 2, "sequence": 4}, 99)
    assert compiled == [name]


@pytest.fixture
def load() -> Iterator[None]:
    """Two processes that keep the CPUs busy: threads of a run are late."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    yield
    for process in busy:
        process.kill()
        process.wait()


def agree(name: str) -> None:
    """The outputs are the same for any number of threads, every time."""
    path = zoo.small(name)
    dims = {"batch": 3, "sequence": 23}
    feeds = session_inputs(zoo.ours(path), dims, seed=5)
    alone = zoo.ours(path, 1).run(None, feeds)
    for threads in (2, 3, 8):
        session = zoo.ours(path, threads)
        for _ in range(3):
            for a, b in zip(alone, session.run(None, feeds)):
                assert a.tobytes() == b.tobytes(), f"{threads} threads differ from one"


@pytest.mark.parametrize("name", zoo.NAMES)
def test_the_same_bits_for_any_number_of_threads(name: str) -> None:
    agree(name)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_the_same_bits_beside_busy_processes(name: str, load: None) -> None:
    agree(name)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_repeated_runs_agree(name: str) -> None:
    """Nothing is left over from runs of other sizes."""
    mine = zoo.ours(zoo.small(name))
    small, large = (session_inputs(mine, {"batch": b, "sequence": s}, seed=6) for b, s in ((1, 3), (4, 40)))
    first = [mine.run(None, feeds)[0] for feeds in (small, large)]
    again = [mine.run(None, feeds)[0] for feeds in (large, small)][::-1]
    for a, b in zip(first, again):
        np.testing.assert_array_equal(a, b)


def _refusal(session: Any, feeds: dict[str, zoo.Array], kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        session.run(None, feeds)
    return str(caught.value)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_shapes_that_do_not_fit_are_refused_in_the_same_words(name: str) -> None:
    mine, reference = zoo.ours(zoo.small(name)), zoo.theirs(zoo.small(name))
    good = session_inputs(reference, {"batch": 2, "sequence": 6}, seed=7)
    first = reference.get_inputs()[0].name
    wrong = [good | {first: good[first][0]}, good | {first: good[first][None]}]  # a dimension less, and one more
    if name not in zoo.TEXT:
        wrong.append(good | {first: good[first][..., :-1]})
    for feeds in wrong:
        feeds = {key: np.ascontiguousarray(value) for key, value in feeds.items()}
        expected = _refusal(reference, feeds, ort_errors.InvalidArgument)
        assert _words(_refusal(mine, feeds, InvalidArgument)) == _words(expected)


def _words(text: str) -> str:
    """onnxruntime wraps its lines here and there."""
    return re.sub(r"\s+", " ", text).strip()


def test_inputs_that_disagree_about_a_dimension() -> None:
    mine, reference = zoo.ours(zoo.small("bert")), zoo.theirs(zoo.small("bert"))
    feeds = session_inputs(reference, {"batch": 2, "sequence": 6}, seed=8)
    feeds["attention_mask"] = feeds["attention_mask"][:, :5].copy()
    with pytest.raises(Exception, match=r"."):  # onnxruntime notices, too, but only deep inside
        reference.run(None, feeds)
    text = _refusal(mine, feeds, InvalidArgument)
    assert "attention_mask" in text and "Got: 5 Expected: 6" in text and "sequence" in text


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_longer_than_its_table_of_positions(name: str) -> None:
    """The rotary table grows with the sequence; a learned one ends at 64 rows, and beyond it is an error, not a
    crash.
    """
    mine, reference = zoo.ours(zoo.small(name)), zoo.theirs(zoo.small(name))
    feeds = session_inputs(reference, {"batch": 1, "sequence": 65}, seed=9)
    if name == "llama":
        zoo.compare(mine, reference, {"batch": 1, "sequence": 65}, seed=9)
        return
    with pytest.raises(ort_errors.InvalidArgument):
        reference.run(None, feeds)
    with pytest.raises(InvalidArgument):
        mine.run(None, feeds)
