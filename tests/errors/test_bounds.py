"""INTAGLIO_VERIFY=2: a kernel that goes out of bounds makes the run fail with a text that names the kernel, its ONNX
nodes, the buffer and the index; on one thread and on several, and nothing outside is touched."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx.parser
import pytest

import intaglio
from intaglio.capi.onnxruntime_pybind11_state import RuntimeException
from intaglio.compiler import driver
from intaglio.compiler.kernel.ir import Launch, LoopNest
from intaglio.compiler.kernel.program import Program

TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
agraph (float[n, 40] x) => (float[n, 24] y)
<float[24] bias = {BIAS}>
{
    [sums] s = CumSum (x, axis)
    [halves] h = Slice (s, from, to, axis)
    [adds] y = Add (h, bias)
}
"""


def model() -> bytes:
    text = TEXT.replace("{BIAS}", "{" + ", ".join(str(i) for i in range(24)) + "}")
    made = onnx.parser.parse_model(text)
    for name, value in (("axis", [1]), ("from", [16]), ("to", [40])):
        made.graph.initializer.append(onnx.numpy_helper.from_array(np.array(value, np.int64), name))
    return made.SerializeToString()


def matmul() -> bytes:
    made = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> agraph (float[n, 40] x) => (float[n, 24] y)
        { [product] p = MatMul (x, w) [curve] c = Softmax (p) [again] y = CumSum (c, axis) }"""
    )
    w = np.random.default_rng(1).standard_normal((40, 24)).astype(np.float32)
    made.graph.initializer.append(onnx.numpy_helper.from_array(w, "w"))
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1, np.int64), "axis"))
    return made.SerializeToString()


def changed(monkeypatch: pytest.MonkeyPatch, change: Callable[[Program], None]) -> None:
    """Makes the compiler go wrong once it has decided what runs, and how."""
    schedule = driver.schedule

    def wrong(*args: Any) -> Program:
        program = schedule(*args)
        change(program)
        return program

    monkeypatch.setattr(driver, "schedule", wrong)


def run(data: bytes, threads: int, rows: int = 70) -> list[Any]:
    options = intaglio.SessionOptions()
    options.intra_op_num_threads = threads
    session = intaglio.InferenceSession(data, options)
    x = np.random.default_rng(0).standard_normal((rows, 40)).astype(np.float32)
    return session.run(None, {"x": x})


@pytest.fixture(autouse=True)
def checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("INTAGLIO_VERIFY", "2")
    monkeypatch.setenv("INTAGLIO_CACHE_DIR", str(tmp_path))


@pytest.mark.sample(8)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", ["input", "weight", "arena", "output"])
@pytest.mark.parametrize("which", [model, matmul])
def test_every_kind_of_buffer(
    kind: str, threads: int, which: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is said to have an element less than it is read or written to have."""
    names = {}

    def shrink(program: Program) -> None:
        number = next(i for i, b in enumerate(program.buffers) if b.kind == kind)
        names["it"] = program.buffers[number].name
        program.buffers[number] = replace(program.buffers[number], size=program.buffers[number].size - 1)

    data = which()
    changed(monkeypatch, shrink)
    monkeypatch.setattr(driver, "verify_program", lambda program: None)
    with pytest.raises(RuntimeException) as raised:
        run(data, threads)
    word = "an intermediate value" if kind == "arena" else kind
    pattern = r"Out of bounds: kernel k\w{16} \((.*)\) accesses element (\d+) of (\d+) of " + word + r" '(.*)' \(b\d\)"
    found = re.search(pattern, str(raised.value))
    assert found is not None, str(raised.value)
    nodes, index, size, name = found.groups()
    assert int(index) >= int(size)
    expected = {"input": "x", "output": "y"}
    if which is matmul:
        expected["weight"] = "w"
    assert name == expected.get(kind, name) == names["it"] != ""
    origin = {"sums", "halves", "adds"} if which is model else {"product", "curve", "again"}
    assert nodes and set(nodes.split(", ")) <= origin


@pytest.mark.parametrize("threads", [1, 3])
def test_nothing_outside_is_written(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def shift(program: Program) -> None:
        """Writes all of the output ten elements further on."""
        last = program.steps[-1]
        assert isinstance(last, Launch) and isinstance(last.kernel.body, LoopNest)
        *stages, end = last.kernel.body.stages
        assert end.store is not None
        end = replace(end, store=replace(end.store, index=end.store.index + 10))
        body = replace(last.kernel.body, stages=(*stages, end))
        program.steps[-1] = replace(last, kernel=replace(last.kernel, body=body))

    data = model()
    changed(monkeypatch, shift)
    monkeypatch.setattr(driver, "verify_program", lambda program: None)
    options = intaglio.SessionOptions()
    options.intra_op_num_threads = threads
    session = intaglio.InferenceSession(data, options)
    x = np.ones((70, 40), np.float32)
    whole = np.full((80, 24), 7, np.float32)
    binding = session.io_binding()
    binding.bind_cpu_input("x", x)
    binding.bind_output("y", "cpu", 0, np.float32, (70, 24), whole.ctypes.data)
    with pytest.raises(RuntimeError, match=r"accesses element 16\d\d of 1680 of output 'y'"):
        session.run_with_iobinding(binding)
    assert (whole[70:] == 7).all()


def test_a_right_model_runs_with_checks_and_after_a_failure_too() -> None:
    x = np.random.default_rng(0).standard_normal((70, 40)).astype(np.float32)
    session = intaglio.InferenceSession(model())
    (y,) = session.run(None, {"x": x})
    np.testing.assert_allclose(y, np.cumsum(x, 1)[:, 16:] + np.arange(24), rtol=1e-5, atol=1e-5)


def test_checked_code_is_another_cache_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    data = model()
    intaglio.InferenceSession(data)
    monkeypatch.delenv("INTAGLIO_VERIFY")
    intaglio.InferenceSession(data)
    first, second = ((entry / "model.so").read_bytes() for entry in (tmp_path / "models").iterdir())
    assert first != second
