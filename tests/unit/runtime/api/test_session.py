"""InferenceSession on hand-written artifacts: results, memory, options; errors are in tests/errors/test_run.py."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import threading
import weakref
from collections import OrderedDict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import handmade
import numpy as np
import pytest

from intaglio import InferenceSession, RunOptions, SessionOptions
from intaglio.compiler.package import writer as package


def x_of(batch: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal((batch, 3)).astype(np.float32)


@pytest.fixture
def affine(artifacts: dict[str, Path]) -> InferenceSession:
    return InferenceSession(artifacts["affine"])


@pytest.mark.parametrize("batch", [0, 1, 2, 7, 8, 50, 1000])
def test_results(affine: InferenceSession, batch: int) -> None:
    for seed in range(3):
        x = x_of(batch, seed)
        for got, expected in zip(affine.run(None, {"x": x}), handmade.affine(x), strict=True):
            assert got.dtype == np.float32 and got.flags.c_contiguous and got.flags.writeable
            assert np.array_equal(got, expected)


def test_metadata(affine: InferenceSession) -> None:
    (x,) = affine.get_inputs()
    assert str(x) == "NodeArg(name='x', type='tensor(float)', shape=['batch', 3])"
    assert [o.name for o in affine.get_outputs()] == ["y", "z"]
    assert affine.get_outputs()[1].shape == [3, "batch"]
    assert affine.get_inputs() is affine.get_inputs()
    assert affine.get_overridable_initializers() == []
    with pytest.raises(AttributeError):
        x.name = "other"  # type: ignore[misc]
    meta = affine.get_modelmeta()
    assert (meta.graph_name, meta.version, meta.custom_metadata_map) == ("affine", 3, {"a": "b"})
    assert (meta.domain, meta.description, meta.graph_description, meta.producer_name) == ("", "", "", "")


def test_output_names(affine: InferenceSession) -> None:
    x = x_of(4)
    y, z = handmade.affine(x)
    for names, expected in [
        (["z"], [z]), (["z", "y"], [z, y]), (("y", "y"), [y, y]), ([], [y, z]), (["y", "z"], [y, z]),
        ((name for name in ["z"]), [z]),
    ]:  # fmt: skip
        for got, want in zip(affine.run(names, {"x": x}), expected, strict=True):  # type: ignore[arg-type]
            assert np.array_equal(got, want)


def test_mappings(affine: InferenceSession) -> None:
    x = x_of(4)
    for feed in (OrderedDict(x=x), MappingProxyType({"x": x})):
        assert np.array_equal(affine.run(["y"], feed)[0], handmade.affine(x)[0])


def test_layouts_are_copied(affine: InferenceSession) -> None:
    x = x_of(12)
    readonly = x.copy()
    readonly.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    assert not unaligned.flags.aligned
    for each in (
        np.asfortranarray(x), x[::-1], x[::2], np.broadcast_to(x[:1], (5, 3)), readonly, x.astype(">f4"), unaligned,
        np.ma.masked_array(x),
    ):  # fmt: skip
        plain = np.array(each, np.float32)
        for got, expected in zip(affine.run(None, {"x": each}), handmade.affine(plain), strict=True):
            assert np.array_equal(got, expected)


def test_values_that_are_no_arrays(affine: InferenceSession) -> None:
    class Arraylike:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return x_of(2)

    for value in ([[1, 2, 3]], [[1.5, 2, 3], [4, 5, 6]], ((1, 2, 3),), memoryview(x_of(2)), Arraylike()):
        expected = handmade.affine(np.asarray(value, np.float32))
        assert np.array_equal(affine.run(None, {"x": value})[0], expected[0])


def test_outputs_are_fresh_and_outlive_the_session(artifacts: dict[str, Path]) -> None:
    session = InferenceSession(artifacts["affine"])
    x = x_of(6)
    first = session.run(None, {"x": x})
    kept = [each.copy() for each in first]
    second = session.run(None, {"x": -x})
    assert all(np.array_equal(a, b) for a, b in zip(first, kept))
    assert not any(np.shares_memory(a, b) for a in first for b in second)
    alive = weakref.ref(session)
    del session
    gc.collect()
    assert alive() is None
    assert all(np.array_equal(a, b) for a, b in zip(first, kept))


def test_an_output_asked_for_twice_and_changed_input(affine: InferenceSession) -> None:
    x = x_of(3)
    before = handmade.affine(x)[0]
    y = affine.run(["y"], {"x": x})[0]
    x[:] = 0
    assert np.array_equal(y, before)


def test_shapes_that_depend_on_data(artifacts: dict[str, Path]) -> None:
    session = InferenceSession(artifacts["positive"])
    assert session.get_outputs()[0].shape == [None]
    for seed in range(5):
        x = np.random.default_rng(seed).standard_normal(seed * 10).astype(np.float32)
        positive, same = session.run(None, {"x": x})
        assert np.array_equal(positive, x[x > 0]) and np.array_equal(same, x)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_eight_threads(artifacts: dict[str, Path], threads: int) -> None:
    options = SessionOptions()
    options.intra_op_num_threads = threads
    session = InferenceSession(artifacts["affine"], options)
    wrong: list[int] = []

    def work(number: int) -> None:
        for i in range(100):
            x = x_of(number * 13 + i, i)
            if not all(np.array_equal(a, b) for a, b in zip(session.run(None, {"x": x}), handmade.affine(x))):
                wrong.append(number)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert wrong == []
    assert len(session._main.program._arenas) <= 8  # memory is bounded by the runs at one time, not by the shapes


def test_plans_are_bounded(affine: InferenceSession) -> None:
    for batch in range(200):
        affine.run(None, {"x": np.zeros((batch, 3), np.float32)})
    assert len(affine._main.plans) <= 64
    assert len(affine._main.program._arenas) == 1


def test_memory_is_given_back(affine: InferenceSession) -> None:
    options = RunOptions()
    affine.run(None, {"x": x_of(900)}, options)
    assert [arena.size >= 900 * 12 for arena in affine._main.program._arenas] == [True]
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    affine.run(None, {"x": x_of(900)}, options)
    assert affine._main.program._arenas == []


def test_terminate_is_reset(affine: InferenceSession) -> None:
    options = RunOptions()
    assert options.terminate is False
    options.terminate = True
    with pytest.raises(Exception, match="Exiting due to terminate flag"):
        affine.run(None, {"x": x_of(2)}, options)
    options.terminate = False
    assert len(affine.run(None, {"x": x_of(2)}, options)) == 2


def test_terminate_from_another_thread(artifacts: dict[str, Path]) -> None:
    options = SessionOptions()
    options.intra_op_num_threads = 2
    session = InferenceSession(artifacts["relay"], options)
    run_options = RunOptions()
    feed = {"x": np.arange(1000), "rounds": np.zeros(1 << 28, bool), "steps": np.zeros(1, bool)}
    caught: list[Exception] = []

    def work() -> None:
        try:
            session.run(None, feed, run_options)
        except Exception as error:
            caught.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    worker.join(0.1)
    assert worker.is_alive()
    run_options.terminate = True
    worker.join(30)
    assert not worker.is_alive() and "terminate flag" in str(caught[0])


def test_denormals(artifacts: dict[str, Path]) -> None:
    """Kept, unless the session was told otherwise; the mode of the caller's own arithmetic stays as it was."""
    tiny = np.full(100, 1e-40, np.float32)
    kept = InferenceSession(artifacts["positive"]).run(["positive"], {"x": tiny})[0]
    options = SessionOptions()
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    flushed = InferenceSession(artifacts["positive"], options).run(["positive"], {"x": tiny})[0]
    assert len(kept) == 100 and len(flushed) == 0
    assert (tiny * 2 > 0).all()


def test_the_session_copies_its_options(artifacts: dict[str, Path]) -> None:
    options = SessionOptions()
    options.intra_op_num_threads = 3
    session = InferenceSession(artifacts["affine"], options)
    options.intra_op_num_threads = 7
    assert session.get_session_options().intra_op_num_threads == 3
    assert session.get_session_options() is not options


def test_pickle_and_context(artifacts: dict[str, Path]) -> None:
    x = x_of(9)
    with InferenceSession(str(artifacts["affine"])) as session:
        other = pickle.loads(pickle.dumps(session))
        assert np.array_equal(other.run(None, {"x": x})[0], session.run(None, {"x": x})[0])
        assert other.get_providers() == session.get_providers()


@pytest.mark.parametrize("kind", ["path", "pathlib", "bytes"])
def test_single_file(artifacts: dict[str, Path], tmp_path: Path, kind: str) -> None:
    file = tmp_path / "model.intaglio"
    package.pack(artifacts["affine"], file)
    source: Any = {"path": str(file), "pathlib": file, "bytes": file.read_bytes()}[kind]
    session = InferenceSession(source)
    x = x_of(20)
    assert np.array_equal(session.run(None, {"x": x})[0], handmade.affine(x)[0])
    assert session._artifact.notes() == {"steps": ["affine"]}


def test_import_is_light() -> None:
    """`import intaglio` brings numpy and nothing heavy, a session neither."""
    heavy = "onnx, jinja2, triton, torch, ml_dtypes, onnxruntime, google.protobuf, hashlib, tempfile, subprocess"
    code = f"""
import sys, numpy
before = set(sys.modules)
import intaglio
new = set(sys.modules) - before
bad = [m for m in {heavy.split(", ")!r} if m in new]
bad += [m for m in sys.modules if m.startswith("intaglio.compiler")]
assert not bad, bad
"""
    subprocess.run([sys.executable, "-c", code], check=True)
