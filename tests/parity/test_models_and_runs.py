# ruff: noqa: E501  (rows of a table)
"""Models in all their details, on both: what their arguments look like, what their outputs are, how their runs fail.

Every case is a model, a feed and what is asked of the session. Values, dtypes, classes and texts of exceptions are
compared; the reason behind "Status Message:" is in other words, as differences.py says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto as T
from onnx import helper, numpy_helper

import intaglio
from parity.test_session import class_of, outcome

A = np.arange(6, dtype=np.float32).reshape(2, 3)
N = np.int64
ENGINES = (onnxruntime, intaglio)


def info(name: str, element: int = T.FLOAT, shape: Any = ("n", 3)) -> Any:
    return helper.make_tensor_value_info(name, element, shape)


def model(nodes: Any, inputs: Any, outputs: Any = None, weights: Any = (), opset: int = 17, ir: int = 8) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs or [onnx.ValueInfoProto(name="y")], list(weights))
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    return bytes(made.SerializeToString())


def one(op: str, inputs: dict[str, Any], **attributes: Any) -> bytes:
    """A model of one node, named `node`; inputs: shape, or type and shape, of each."""
    infos = [info(n, *(s if isinstance(s, tuple) else (T.FLOAT, s))) for n, s in inputs.items()]
    return model([helper.make_node(op, list(inputs), ["y"], name="node", **attributes)], infos)


def weight(name: str, *values: float) -> onnx.TensorProto:
    return numpy_helper.from_array(np.float32(values), name)


# ---- Failing runs ----------------------------------------------------------------------------------------------------

INDICES = (T.INT64, ["k"])
FAILING: dict[str, tuple[bytes, dict[str, Any]]] = {
    "Add": (one("Add", {"a": ["n"], "b": ["m"]}), {"a": A[0], "b": np.zeros(5, np.float32)}),
    "Where": (one("Where", {"c": (T.BOOL, ["k"]), "a": ["n"], "b": ["m"]}), {"c": np.ones(2, bool), "a": A[0], "b": A[0]}),
    "MatMul": (one("MatMul", {"a": ["n", "k"], "b": ["j", "m"]}), {"a": A, "b": A}),
    "Concat": (one("Concat", {"a": ["n", "k"], "b": ["j", "m"]}, axis=0), {"a": A, "b": A[:, :2]}),
    "Reshape": (one("Reshape", {"x": ["n", "m"], "s": (T.INT64, [2])}), {"x": A, "s": N([4, 4])}),
    "Reshape twice -1": (one("Reshape", {"x": ["n", "m"], "s": (T.INT64, [2])}), {"x": A, "s": N([-1, -1])}),
    "Squeeze": (one("Squeeze", {"x": ["n", "k"], "a": (T.INT64, [1])}), {"x": A, "a": N([0])}),
    "Expand": (one("Expand", {"x": ["n", 3], "s": (T.INT64, [2])}), {"x": A, "s": N([5, 3])}),
    "Conv": (one("Conv", {"x": ["n", "c", 4, 4], "w": [2, 3, 3, 3]}), {"x": np.zeros((1, 2, 4, 4), np.float32), "w": np.zeros((2, 3, 3, 3), np.float32)}),
}  # fmt: skip


def told(data: bytes, feed: Any) -> list[tuple[str, str]]:
    """Class and text from each engine, up to the reason."""
    found = []
    for engine in ENGINES:
        with pytest.raises(Exception) as caught:
            engine.InferenceSession(data).run(None, feed)
        found.append((caught.type.__name__, str(caught.value).partition("Status Message:")[0]))
    return found


@pytest.mark.parametrize("name", FAILING)
def test_failing_runs(name: str) -> None:
    theirs, ours = told(*FAILING[name])
    assert ours == theirs and "Non-zero status code returned while running" in ours[1]


def test_nodes_without_a_name_and_inside_of_functions() -> None:
    data = model(
        [helper.make_node("MatMul", ["a", "b"], ["y"])],
        [info("a", T.FLOAT, ["n", "k"]), info("b", T.FLOAT, ["j", "m"])],
    )
    theirs, ours = told(data, {"a": A, "b": A})
    assert ours == theirs and "running MatMul node. Name:''" in ours[1]


def test_a_range_without_an_end() -> None:
    data = one("Range", {"s": [], "e": [], "d": []})
    theirs, ours = told(data, {"s": np.float32(1)[...], "e": np.array(2, np.float32), "d": np.array(0, np.float32)})
    assert ours[0] == theirs[0] == "InvalidArgument"


def test_a_failed_run_changes_nothing() -> None:
    session = intaglio.InferenceSession(FAILING["Add"][0])
    for _ in range(3):
        assert class_of(session.run, None, FAILING["Add"][1]) == "Fail"
        assert session.run(None, {"a": A[0], "b": A[1]})[0].tolist() == (A[0] + A[1]).tolist()


# ---- Dimensions that have a name -------------------------------------------------------------------------------------

PAIR = model([helper.make_node("Mul", ["a", "b"], ["y"], name="node")], [info("a"), info("b")], [info("y")])
SELF = model([helper.make_node("Add", ["a", "b"], ["y"])], [info("a", T.FLOAT, ["n", "n"]), info("b", T.FLOAT, ["n"])])
BROADCAST: dict[str, tuple[bytes, dict[str, Any]]] = {
    "second": (PAIR, {"a": A, "b": A[:1]}), "first": (PAIR, {"a": A[:1], "b": A}), "equal": (PAIR, {"a": A, "b": A}),
    "within": (SELF, {"a": A[:1], "b": A[0]}), "both": (SELF, {"a": A[:, :1], "b": A[0, :1]}),
}  # fmt: skip


@pytest.mark.parametrize("name", BROADCAST)
def test_what_broadcasts_runs(name: str) -> None:
    """onnxruntime does not look at the names of dimensions."""
    data, feed = BROADCAST[name]
    sessions = [engine.InferenceSession(data) for engine in ENGINES]
    for _ in range(2):
        theirs, ours = (session.run(None, feed)[0] for session in sessions)
        assert ours.shape == theirs.shape and np.array_equal(ours, theirs)


def test_what_does_not_broadcast_is_told_by_name() -> None:
    feed = {"a": A, "b": np.zeros((5, 3), np.float32)}
    assert class_of(onnxruntime.InferenceSession(PAIR).run, None, feed) == "Fail"
    session = intaglio.InferenceSession(PAIR)
    for _ in range(2):
        with pytest.raises(Exception, match="2 : INVALID_ARGUMENT : Got invalid dimensions for input: b") as caught:
            session.run(None, feed)
        assert "index: 0 Got: 5 Expected: 2\n (dimension 'n' is 2 in input a)" in str(caught.value)
    assert np.array_equal(session.run(None, {"a": A, "b": A})[0], A * A)


# ---- What arguments look like ----------------------------------------------------------------------------------------

RELU = [helper.make_node("Relu", ["x"], ["y"])]
SHAPES: dict[str, tuple[Any, Any]] = {
    "all kinds": (["batch", 3, None], ["batch", 3, None]), "scalar": ([], []), "none": ([0, 3], [0, 3]),
    "no name": (["", 2], None), "negative": ([-2, 3], None), "inferred": (["n", 3], None), "another name": (["n", 3], ["m", 3]),
    "no name for a name": (["n", 3], [None, 3]), "a name for none": ([None, 3], ["m", 3]), "other sizes": (["n", 3], [5, 3]),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_arguments(name: str) -> None:
    given, stated = SHAPES[name]
    output = onnx.ValueInfoProto(name="y") if stated is None else info("y", T.FLOAT, stated)
    data = model(RELU, [info("x", T.FLOAT, given)], [output])
    theirs, ours = (
        [str(a) for a in s.get_inputs() + s.get_outputs()] for s in (e.InferenceSession(data) for e in ENGINES)
    )
    assert ours == theirs


@pytest.mark.parametrize("element", ["FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16",
                                     "UINT32", "UINT64", "BOOL", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ"])  # fmt: skip
def test_types(element: str) -> None:
    kind = getattr(T, element)
    data = model([helper.make_node("Identity", ["x"], ["y"])], [info("x", kind)], [info("y", kind)], opset=21, ir=10)
    theirs, ours = (str(engine.InferenceSession(data).get_inputs()[0]) for engine in ENGINES)
    assert ours == theirs


def test_an_argument_outlives_its_session_and_is_read_only() -> None:
    for engine in ENGINES:
        argument = engine.InferenceSession(PAIR).get_inputs()[0]
        assert str(argument) == "NodeArg(name='a', type='tensor(float)', shape=['n', 3])"
        assert repr(argument).startswith("<") and class_of(setattr, argument, "type", 1) == "AttributeError"
        argument.shape.append(5)
        assert argument.shape == ["n", 3]


# ---- Initializers, options -------------------------------------------------------------------------------------------

SUM = [helper.make_node("Add", ["x", "w"], ["y"])]


def added(ir: int, listed: bool) -> bytes:
    inputs = [info("x"), info("w", T.FLOAT, [3])] if listed else [info("x")]
    return model(SUM, inputs, [info("y")], [weight("w", 1, 2, 3)], ir=ir)


def configured(ort: Any, **entries: str) -> Any:
    options = ort.SessionOptions()
    for key, value in entries.items():
        options.add_session_config_entry(f"session.{key}", value)
    return options


def given(ort: Any, name: str, *values: float) -> Any:
    options = ort.SessionOptions()
    value = ort.OrtValue.ortvalue_from_numpy(np.float32(values))  # has to live as long as onnxruntime's options
    options.add_initializer(name, value)
    return ort.InferenceSession(added(8, False), options).run(None, {"x": A})


def pinned(text: str, threads: int = 2) -> Callable[[Any], Any]:
    def script(ort: Any) -> Any:
        options = configured(ort, intra_op_thread_affinities=text)
        options.intra_op_num_threads = threads
        return ort.InferenceSession(PAIR, options, enable_fallback=0).run(None, {"a": A, "b": A})

    return script


def negative(ort: Any) -> Any:
    options = ort.SessionOptions()
    options.add_free_dimension_override_by_name("n", -3)
    session = ort.InferenceSession(PAIR, options)
    return [str(a) for a in session.get_inputs() + session.get_outputs()], session.run(None, {"a": A, "b": A[:1]})


def first_wins(ort: Any) -> Any:
    options = ort.SessionOptions()
    for size in (2, 5):
        options.add_free_dimension_override_by_name("n", size)
    session = ort.InferenceSession(PAIR, options)
    return [str(a) for a in session.get_inputs() + session.get_outputs()], session.run(None, {"a": A, "b": A})


CONTRADICTION = model(RELU, [info("x")], [info("y", T.FLOAT, ("n", 4))])
SCRIPTS: dict[str, Callable[[Any], Any]] = {
    "overridable": lambda ort: (lambda s: ([str(a) for a in s.get_inputs() + s.get_overridable_initializers()], s.run(None, {"x": A, "w": A[1]})))(ort.InferenceSession(added(8, True))),
    "of an old model": lambda ort: [str(a) for a in ort.InferenceSession(added(3, True)).get_overridable_initializers()],
    "of an old model, fed": lambda ort: ort.InferenceSession(added(3, True)).run(None, {"x": A, "w": A[1]}),
    "constant, fed": lambda ort: ort.InferenceSession(added(8, False)).run(None, {"x": A, "w": A[1]}),
    "given": lambda ort: given(ort, "w", 7, 8, 9),
    "given in another shape": lambda ort: given(ort, "w", 7),
    "given for nothing": lambda ort: given(ort, "what", 7),
    "negative override": negative, "two overrides": first_wins,
    "contradiction": lambda ort: ort.InferenceSession(CONTRADICTION).run(None, {"x": A}),
    "contradiction, strict": lambda ort: ort.InferenceSession(CONTRADICTION, configured(ort, strict_shape_type_inference="1")),
    "without the CPU": lambda ort: ort.InferenceSession(PAIR, configured(ort, disable_cpu_ep_fallback="1")),
    "without the CPU, by name": lambda ort: ort.InferenceSession(PAIR, configured(ort, disable_cpu_ep_fallback="1"), ["CPUExecutionProvider"]),
    "assignments": lambda ort: [(g.ep_name, [(n.name, n.domain, n.op_type) for n in g.get_nodes()]) for g in
                                ort.InferenceSession(PAIR, configured(ort, record_ep_graph_assignment_info="1")).get_provider_graph_assignment_info()],
    "unknown entry": lambda ort: ort.InferenceSession(PAIR, configured(ort, whatever="1")).run(None, {"a": A, "b": A}),
    **{f"affinities {text!r}, {n}": pinned(text, n) for text, n in (("1", 2), ("1,2", 2), ("1-2", 2), ("1;", 2), ("1", 1), ("1;2", 3),
       ("9999", 2), ("x", 2), ("0", 2), ("", 2), ("2-1", 2), ("1-2-3", 2), ("1;2", 2), (";", 2))},
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_options(name: str) -> None:
    theirs, ours = (outcome(lambda ort, _: SCRIPTS[name](ort), engine, "") for engine in ENGINES)
    assert ours == theirs


# ---- Outputs ---------------------------------------------------------------------------------------------------------


def test_outputs_are_the_callers_own() -> None:
    """Inputs that are outputs, and initializers that are, are copies; arrays outlive the session."""
    nodes = [helper.make_node("Identity", ["x"], ["same"]), helper.make_node("Relu", ["x"], ["y"])]
    data = model(nodes, [info("x")], [info("same"), info("y"), info("w", T.FLOAT, [3])], [weight("w", 1, 2, 3)])
    for engine in ENGINES:
        session, x = engine.InferenceSession(data), A.copy()
        for _ in range(2):
            results = session.run(None, {"x": x})
            assert [r.tolist() for r in results] == [A.tolist(), A.tolist(), [1, 2, 3]]
            for result in results:
                assert result.flags.writeable and result.flags.c_contiguous and not np.shares_memory(result, x)
                result[:] = 9
        del session
        assert np.array_equal(x, A) and (results[1] == 9).all()


@pytest.mark.parametrize("shape", [[], [0, 3], [2, 0]])
def test_scalars_and_empty_outputs(shape: list[int]) -> None:
    data = model(RELU, [info("x", T.FLOAT, shape)])
    theirs, ours = (engine.InferenceSession(data).run(None, {"x": np.ones(shape, np.float32)})[0] for engine in ENGINES)
    assert type(ours) is type(theirs) is np.ndarray and ours.shape == theirs.shape and ours.dtype == theirs.dtype


def test_denormals() -> None:
    """Flushed to zero where the options say so, in every thread of a run, and in that run only; onnxruntime leaves the
    caller's thread so for good."""
    data = model(
        [helper.make_node("Mul", ["x", "half"], ["y"])], [info("x", T.FLOAT, ["n"])], None, [weight("half", 0.5)]
    )
    x, options = np.full(1 << 20, 2e-38, np.float32), configured(intaglio, set_denormal_as_zero="1")
    plain, flushed = intaglio.InferenceSession(data), intaglio.InferenceSession(data, options)
    for _ in range(2):
        assert (plain.run(None, {"x": x})[0] == np.float32(1e-38)).all()
        assert (flushed.run(None, {"x": x})[0] == 0).all()


ZIP, INTS, WORDS = "ai.onnx.ml", {"classlabels_int64s": [5, 6, 7]}, {"classlabels_strings": ["a", "b", "c"]}


def with_maps(**labels: Any) -> bytes:
    """A classifier as scikit-learn's exporter writes them: labels, and a map for each row."""
    nodes = [
        helper.make_node("ArgMax", ["x"], ["label"], axis=1, keepdims=0),
        helper.make_node("Neg", ["x"], ["scores"]),
        helper.make_node("ZipMap", ["scores"], ["maps"], domain=ZIP, **labels),
    ]
    outputs = [info("label", T.INT64, ["n"]), onnx.ValueInfoProto(name="maps")]
    graph = helper.make_graph(nodes, "g", [info("x")], outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ZIP, 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def in_pieces() -> bytes:
    """A sequence of three pieces, and a tensor."""
    nodes = [helper.make_node("SplitToSequence", ["x"], ["pieces"], axis=1), helper.make_node("Neg", ["x"], ["y"])]
    return model(nodes, [info("x")], [onnx.ValueInfoProto(name="pieces"), info("y")])


def with_words() -> bytes:
    """A linear classifier whose labels are words, with a map for each row."""
    nodes = [
        helper.make_node("LinearClassifier", ["x"], ["label", "scores"], domain=ZIP, coefficients=[1.0, 0, 0, 0, -1, 0, 0, 0, 1],
                         intercepts=[0.5, 7, 0], **WORDS),
        helper.make_node("ZipMap", ["scores"], ["maps"], domain=ZIP, **WORDS),
    ]  # fmt: skip
    outputs = [info("label", T.STRING, ["n"]), onnx.ValueInfoProto(name="maps")]
    graph = helper.make_graph(nodes, "g", [info("x")], outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ZIP, 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def exact(value: Any) -> Any:
    """With the types of everything inside."""
    if isinstance(value, np.ndarray):
        return value.dtype.name, value.shape, value.tolist()
    if isinstance(value, list):
        return [exact(each) for each in value]
    if isinstance(value, dict):
        return {(type(k).__name__, k): (type(v).__name__, v) for k, v in value.items()}
    return type(value).__name__


def test_bound_sequences() -> None:
    """A sequence as a bound output, beside a tensor."""
    told = []
    for engine in (onnxruntime, intaglio):
        session = engine.InferenceSession(in_pieces())
        binding = session.io_binding()
        binding.bind_cpu_input("x", np.arange(12, dtype=np.float32).reshape(-1, 3))
        for name in ("pieces", "y"):
            binding.bind_output(name)
        session.run_with_iobinding(binding)
        kinds = [(v.data_type(), v.is_tensor_sequence()) for v in binding.get_outputs()]
        told.append((kinds, exact(binding.copy_outputs_to_cpu())))
    assert told[1] == told[0]


@pytest.mark.parametrize("rows", [2, 1, 0])
@pytest.mark.parametrize("name", ["integers", "words", "labels", "pieces"])
def test_outputs_that_are_no_tensors(name: str, rows: int) -> None:
    data = {"integers": with_maps(**INTS), "words": with_maps(**WORDS), "labels": with_words(), "pieces": in_pieces()}[
        name
    ]
    told = []
    for engine in ENGINES:
        session, feed = engine.InferenceSession(data), {"x": A[:rows]}
        names = [output.name for output in session.get_outputs()]
        values = session.run_with_ort_values(
            names[1:] if name == "pieces" else names[:1], {"x": engine.OrtValue.ortvalue_from_numpy(A[:rows])}
        )
        told.append((
            [str(output) for output in session.get_outputs()], exact(session.run(None, feed)), exact(session.run([], feed)),
            exact(session.run(names[::-1], feed)), exact(session.run(names[1:], feed)), [value.data_type() for value in values],
            outcome(lambda ort, _, session=session, feed=feed: session.run(["zz"], feed), engine, ""),
        ))  # fmt: skip
    assert told[1] == told[0]


# ---- Files beside a model --------------------------------------------------------------------------------------------


def external(folder: Path, location: str = "w.bin") -> Path:
    proto = onnx.load_from_string(added(8, False))
    onnx.save(proto, folder / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    moved = onnx.load(folder / "m.onnx", load_external_data=False)
    next(entry for entry in moved.graph.initializer[0].external_data if entry.key == "location").value = location
    (folder / "m.onnx").write_bytes(moved.SerializeToString())
    return folder / "m.onnx"


def gone(ort: Any, folder: Path) -> Any:
    path = external(folder)
    (folder / "w.bin").unlink()
    return ort.InferenceSession(path)


def short(ort: Any, folder: Path) -> Any:
    path = external(folder)
    (folder / "w.bin").write_bytes(b"1234")
    return ort.InferenceSession(path)


def elsewhere(ort: Any, folder: Path) -> Any:
    options = configured(ort, model_external_initializers_file_folder_path=str(folder))
    return ort.InferenceSession(external(folder).read_bytes(), options).run(None, {"x": A})


def linked(ort: Any, folder: Path) -> Any:
    """A content store: the model and its data are links to files of other names in one folder."""
    path, store, snapshot = external(folder), folder / "blobs", folder / "snapshot"
    store.mkdir(exist_ok=True)
    snapshot.mkdir(exist_ok=True)
    for name, blob in (("m.onnx", "1"), ("w.bin", "2")):
        (store / blob).write_bytes((folder / name).read_bytes())
        (snapshot / name).unlink(missing_ok=True)
        (snapshot / name).symlink_to(Path("..") / "blobs" / blob)
    return path.name, ort.InferenceSession(snapshot / "m.onnx").run(None, {"x": A})


FILES: dict[str, Callable[[Any, Path], Any]] = {
    "beside": lambda ort, folder: ort.InferenceSession(external(folder)).run(None, {"x": A}),
    "gone": gone, "short": short, "elsewhere": elsewhere, "linked": linked,
    "above": lambda ort, folder: ort.InferenceSession(external(folder, "../w.bin")),
    "absolute": lambda ort, folder: ort.InferenceSession(external(folder, str(folder / "w.bin"))),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_external_data(name: str, tmp_path: Path) -> None:
    told = []
    for engine in ENGINES:
        folder = tmp_path / engine.__name__
        folder.mkdir()
        result, warned = outcome(lambda ort, _, folder=folder: FILES[name](ort, folder), engine, "")
        if isinstance(result[1], str):
            text = re.sub(r"initialization: .*External", "initialization: External", result[1], flags=re.S)
            result = result[0], text.replace(str(folder), "FOLDER")
        told.append((result, warned))
    assert told[1] == told[0]


# ---- Attention whose mask has dimensions of its own ------------------------------------------------------------------


def attention() -> bytes:
    """softmax(q @ k.T + mask) @ v, which becomes one kernel; nothing in the model says that the mask fits."""
    nodes = [
        helper.make_node("Transpose", ["k"], ["t"], perm=[0, 1, 3, 2]), helper.make_node("MatMul", ["q", "t"], ["s"]),
        helper.make_node("Add", ["s", "mask"], ["a"]), helper.make_node("Softmax", ["a"], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "v"], ["y"]),
    ]  # fmt: skip
    shapes = {"q": ["b", 2, "l", 4], "k": ["b", 2, "s", 4], "v": ["b", 2, "s", 4], "mask": ["mb", 1, "ml", "ms"]}
    return model(nodes, [info(name, T.FLOAT, shape) for name, shape in shapes.items()])


@pytest.mark.parametrize(
    "shape", [(2, 1, 3, 5), (1, 1, 3, 5), (2, 1, 1, 5), (1, 1, 1, 1), (2, 1, 3, 4), (3, 1, 3, 5), (2, 1, 2, 5)], ids=str
)
def test_masks(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    feed = {
        n: random.standard_normal(s).astype(np.float32)
        for n, s in (("q", (2, 2, 3, 4)), ("k", (2, 2, 5, 4)), ("v", (2, 2, 5, 4)), ("mask", shape))
    }
    theirs, ours = (
        outcome(lambda ort, _: ort.InferenceSession(attention()).run(None, feed), engine, "")[0] for engine in ENGINES
    )
    if theirs[0] == "Fail":
        assert ours[0] == "Fail"
    else:
        theirs, ours = (engine.InferenceSession(attention()).run(None, feed)[0] for engine in ENGINES)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
