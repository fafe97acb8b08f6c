"""The same feeds to onnxruntime and to us: equal results, or the same class of error with the same text.

Where onnxruntime refuses a feed and we do not (or misreads it), the case is in the second half, with what we do.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import intaglio
from parity.test_session import reduced

A = np.arange(6, dtype=np.float32).reshape(2, 3)
B = np.array([[10, 20, 30], [40, 50, 60]], np.float32)
N = np.array([1, -2], np.int64)


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """sum = a + b and neg = -n, with a, b: [rows, 3] and n: [2], in both engines."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Neg", ["n"], ["neg"])],
        "pair",
        [
            helper.make_tensor_value_info("a", TensorProto.FLOAT, ["rows", 3]),
            helper.make_tensor_value_info("b", TensorProto.FLOAT, ["rows", 3]),
            helper.make_tensor_value_info("n", TensorProto.INT64, [2]),
        ],
        [
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["rows", 3]),
            helper.make_tensor_value_info("neg", TensorProto.INT64, [2]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.doc_string, model.domain, model.model_version, graph.doc_string = "words", "a.b", 7, "more"
    onnx.helper.set_model_props(model, {"key": "value"})
    path = tmp_path_factory.mktemp("model") / "pair.onnx"
    onnx.save(model, path)
    return onnxruntime.InferenceSession(path), intaglio.InferenceSession(path)


def outcome(session: Any, names: Any, feed: Any) -> Any:
    try:
        return session.run(names, feed)
    except Exception as error:
        return type(error).__name__, reduced(str(error))


GOOD = {"a": A, "b": B, "n": N}
CASES: dict[str, Any] = {
    "plain": GOOD,
    "ordered": OrderedDict(n=N, b=B, a=A),
    "proxy": MappingProxyType(GOOD),
    "extra none": {**GOOD, "c": None},
    "fortran": {**GOOD, "a": np.asfortranarray(A)},
    "negative strides": {**GOOD, "a": A[::-1], "n": N[::-1]},
    "broadcast": {**GOOD, "a": np.broadcast_to(A[:1], (2, 3))},
    "empty": {"a": A[:0], "b": B[:0], "n": N},
    "lists": {"a": [[1, 2, 3]], "b": [[1.5, 2, 3]], "n": [3, 4]},
    "list of floats for integers": {**GOOD, "n": [1.7, 2.2]},
    "list of arrays": {**GOOD, "a": [A[0], A[1]]},
    "masked": {**GOOD, "a": np.ma.masked_array(A, A > 3)},
    "missing": {"a": A},
    "all missing": {},
    "extra": {**GOOD, "c": A},
    "double": {**GOOD, "a": A.astype(np.float64)},
    "int32": {**GOOD, "n": N.astype(np.int32)},
    "bool": {**GOOD, "n": N.astype(bool)},
    "text array": {**GOOD, "n": np.array(["a", "b"])},
    "objects": {**GOOD, "n": np.array([{}, {}])},
    "rank 1": {**GOOD, "a": A[0]},
    "rank 3": {**GOOD, "a": A[None]},
    "scalar array": {**GOOD, "a": np.array(1, np.float32)},
    "columns": {**GOOD, "a": np.zeros((2, 4), np.float32)},
    "fixed": {**GOOD, "n": np.zeros(3, np.int64)},
    "text": {**GOOD, "a": "text"},
    "bytes": {**GOOD, "a": b"text"},
    "read-only": {**GOOD, "a": np.frombuffer(A.tobytes(), np.float32).reshape(2, 3)},
    "unaligned": {**GOOD, "a": np.frombuffer(b"x" + A.tobytes(), np.uint8)[1:].view(np.float32).reshape(2, 3)},
    "matrix": {**GOOD, "a": np.matrix(A)},
    "steps": {**GOOD, "a": np.repeat(A, 2, axis=1)[:, ::2]},
    "nested scalars": {**GOOD, "a": [[np.float32(1), 2, 3], [4, 5, 6]]},
    "no elements": {**GOOD, "n": []},
    "ragged": {**GOOD, "a": [[1], [1, 2]]},
    "list of text": {**GOOD, "a": [["a", "b", "c"]]},
    "none": {**GOOD, "a": None},
    "map of names": {**GOOD, "a": {"x": 1}},
    "map of numbers": {**GOOD, "a": {5: 1}},
    "empty map": {**GOOD, "a": {}},
    "ranges": {**GOOD, "a": [range(3)] * 2},
    "set": {**GOOD, "a": {1, 2}},
    "object": {**GOOD, "a": object()},
    "complex": {**GOOD, "a": A.astype(complex)},
    "dates": {**GOOD, "a": A.astype("M8[s]")},
    "durations": {**GOOD, "a": A.astype("m8[s]")},
    "records": {**GOOD, "a": np.zeros(2, [("f", "f4")])},
    "half": {**GOOD, "a": A.astype(np.float16)},
    "long double": {**GOOD, "a": A.astype(np.longdouble)},
    "wrong in all": {"a": A[0].astype(int), "b": A.astype(int), "n": N, "c": N},
    "unknown first": {"c": N, "a": A[0].astype(int), "b": B, "n": N},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("names", [None, ["sum"], ["neg", "sum", "neg"], ["zz"], ["a"]], ids=str)
def test_same(sessions: tuple[Any, Any], case: str, names: list[str] | None) -> None:
    theirs, ours = (outcome(session, names, CASES[case]) for session in sessions)
    if isinstance(theirs, tuple):
        assert ours == theirs
    else:
        assert [y.dtype for y in ours] == [y.dtype for y in theirs]
        assert all(np.array_equal(x, y) for x, y in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("names", [[], (), ("sum",)], ids=str)
def test_output_names(sessions: tuple[Any, Any], names: Any) -> None:
    theirs, ours = (outcome(session, names, GOOD) for session in sessions)
    assert all(np.array_equal(x, y) for x, y in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("names", ["sum", 3, [3]], ids=str)
def test_wrong_output_names(sessions: tuple[Any, Any], names: Any) -> None:
    theirs, ours = (outcome(session, names, GOOD) for session in sessions)
    assert ours[0] == theirs[0] == "TypeError"


@pytest.mark.parametrize("feed", [None, [A], 3], ids=str)
def test_no_mapping(sessions: tuple[Any, Any], feed: Any) -> None:
    theirs, ours = (outcome(session, None, feed) for session in sessions)
    assert ours == theirs


def test_metadata(sessions: tuple[Any, Any]) -> None:
    theirs, ours = sessions
    for get in ("get_inputs", "get_outputs", "get_overridable_initializers"):
        assert [str(x) for x in getattr(ours, get)()] == [str(x) for x in getattr(theirs, get)()]
    fields = ["custom_metadata_map", "description", "domain", "graph_description", "graph_name", "producer_name"]
    for name in (*fields, "version"):
        assert getattr(ours.get_modelmeta(), name) == getattr(theirs.get_modelmeta(), name), name
    assert ours.get_providers() == theirs.get_providers()
    assert ours.get_provider_options() == theirs.get_provider_options()


# ---- Where we take more ------------------------------------------------------------------------------------------


class Arraylike:
    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return A


@pytest.mark.parametrize(
    "value",
    [((1, 2, 3), (4, 5, 6)), memoryview(A), Arraylike(), A.astype(">f4")],
    ids=["tuple", "memoryview", "arraylike", "swapped"],
)
def test_more_is_accepted(sessions: tuple[Any, Any], value: Any) -> None:
    theirs, ours = (outcome(session, ["sum"], {**GOOD, "a": value}) for session in sessions)
    expected = np.asarray(value, np.float32) + B
    assert np.array_equal(ours[0], expected)
    assert isinstance(theirs, tuple) or not np.array_equal(theirs[0], expected)


def test_dimensions_that_disagree(sessions: tuple[Any, Any]) -> None:
    """onnxruntime broadcasts a row count of 1 silently, and fails in the kernel for others."""
    feed = {**GOOD, "b": np.zeros((5, 3), np.float32)}
    theirs, ours = (outcome(session, None, feed) for session in sessions)
    assert theirs[0] == "Fail" and ours[0] == "InvalidArgument"
    assert "input: b" in ours[1] and "dimension 'rows' is 2 in input a" in ours[1]


@pytest.mark.parametrize("suffix", ["onnx", "bin"])
def test_loading_errors(tmp_path: Path, suffix: str) -> None:
    garbage = tmp_path / f"garbage.{suffix}"
    garbage.write_bytes(b"\xff\xfe garbage")
    empty = tmp_path / f"empty.{suffix}"
    empty.write_bytes(b"")
    paths = [str(path) for path in (garbage, empty, tmp_path, tmp_path / "no")]
    for source in (*paths, b"\xff\xfe", b"", None, 3, ["x"]):
        told = []
        for engine in (onnxruntime, intaglio):
            with pytest.raises(Exception) as caught:
                engine.InferenceSession(source)
            told.append((caught.type.__name__, str(caught.value)))
        assert told[0] == told[1]


@pytest.mark.parametrize("op", ["Add", "MatMul", "Where", "Expand"])
@pytest.mark.parametrize("sizes", [(0, 1), (1, 0), (0, 0), (1, 5), (5, 1), (5, 5)])
def test_dimensions_that_broadcast_whatever_they_are(op: str, sizes: tuple[int, int]) -> None:
    """1 meets any size, 0 among them, where the names of dimensions tell nothing."""
    x, y = (np.full((n, 3, 3), 2, np.float32) for n in sizes)
    nodes = {
        "Add": [helper.make_node("Add", ["x", "y"], ["z"])],
        "MatMul": [helper.make_node("MatMul", ["x", "y"], ["z"])],
        "Where": [helper.make_node("Less", ["x", "y"], ["c"]), helper.make_node("Where", ["c", "x", "y"], ["z"])],
        "Expand": [helper.make_node("Shape", ["y"], ["s"]), helper.make_node("Expand", ["x", "s"], ["z"])],
    }[op]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [n, 3, 3]) for n in "xy"]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    (z,) = intaglio.InferenceSession(model).run(None, {"x": x, "y": y})
    want = {"Add": x + y, "MatMul": x @ y, "Where": np.where(x < y, x, y), "Expand": x + 0 * y}[op]
    np.testing.assert_array_equal(z, want)
