"""What is decided while a model runs, against onnxruntime: sizes that depend on data, branches, loops and scans."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import GraphProto, NodeProto, TensorProto, helper

import intaglio
from intaglio.runtime.errors import Fail, InvalidArgument

F, I64, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
Info = tuple[str, int, Any]
Feeds = Mapping[str, Any]
node = helper.make_node


def graph(nodes: Sequence[NodeProto], inputs: Sequence[Info], outputs: Sequence[Info]) -> GraphProto:
    infos = [[helper.make_tensor_value_info(*i) for i in each] for each in (inputs, outputs)]
    return helper.make_graph(nodes, "g", *infos)


def model(nodes: Sequence[NodeProto], inputs: Sequence[Info], outputs: Mapping[str, int]) -> bytes:
    made = graph(nodes, inputs, [(name, kind, None) for name, kind in outputs.items()])
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString())


def session(data: bytes, threads: int = 2) -> intaglio.InferenceSession:
    options = intaglio.SessionOptions()
    options.intra_op_num_threads = threads
    return intaglio.InferenceSession(data, options)


def compare(data: bytes, runs: Sequence[Feeds]) -> None:
    """The same shapes, types and numbers as onnxruntime's; the same bits for one thread and for several."""
    reference = onnxruntime.InferenceSession(data)
    sessions = [session(data, threads) for threads in (1, 2, 4)]
    for feeds in runs:
        wanted = reference.run(None, dict(feeds))
        first, *others = ([np.asarray(v) for v in s.run(None, dict(feeds))] for s in sessions)
        for a, b in zip(first, wanted, strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        for other in others:
            assert [a.tobytes() for a in other] == [a.tobytes() for a in first]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def sparse(share: float, *shape: int) -> np.ndarray[Any, Any]:
    return (rng().random(shape) < share).astype(np.float32)


X: Info = ("x", F, ["a", "b"])
LOOP: tuple[Info, ...] = (("i", I64, []), ("go", B, []), ("s", F, ["a", "b"]))
STEPS = [{"x": rng().random((3, 4)).astype(np.float32) * 0.5, "n": np.array(n)} for n in (0, 1, 7)]


# -- sizes that depend on data ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 7), (40, 50), (0, 3)])
def test_nonzero(shape: tuple[int, ...]) -> None:
    data = model([node("NonZero", ["x"], ["y"])], [X], {"y": I64})
    compare(data, [{"x": sparse(share, *shape)} for share in (0, 0.3, 1)])


def test_what_follows_a_size_that_depends_on_data() -> None:
    """Elementwise and reducing kernels, a product of matrices, and values in between, all as long as the data says."""
    nodes = [
        node("NonZero", ["x"], ["p"]),
        node("Cast", ["p"], ["f"], to=F),
        node("Transpose", ["f"], ["t"]),
        node("MatMul", ["t", "f"], ["m"]),
        node("Softmax", ["m"], ["y"]),
        node("ReduceSum", ["f"], ["s"]),
        node("Shape", ["m"], ["k"]),
    ]
    data = model(nodes, [X], {"y": F, "s": F, "k": I64})
    compare(data, [{"x": sparse(share, 9, 7)} for share in (0.1, 0.5, 1)])


@pytest.mark.parametrize("axis", [0, 1, None])
def test_compress(axis: int | None) -> None:
    attrs = {} if axis is None else {"axis": axis}
    data = model([node("Compress", ["x", "c"], ["y"], **attrs)], [X, ("c", B, ["k"])], {"y": F})
    x = rng().random((6, 6)).astype(np.float32)
    compare(data, [{"x": x, "c": rng().random(k) < share} for k in (3, 6) for share in (0.0, 0.5, 1.0)])


@pytest.mark.parametrize("attrs", [{}, {"sorted": 0}, {"axis": 0}, {"axis": 1, "sorted": 0}])
def test_unique(attrs: dict[str, int]) -> None:
    data = model([node("Unique", ["x"], ["y", "i", "j", "c"], **attrs)], [X], {"y": F, "i": I64, "j": I64, "c": I64})
    compare(data, [{"x": rng().integers(0, high, (7, 2)).astype(np.float32)} for high in (1, 2, 5)])


def test_range_whose_limit_is_computed() -> None:
    nodes = [
        node("ReduceMax", ["k"], ["m"], keepdims=0),
        node("Constant", [], ["zero"], value=helper.make_tensor("v", I64, [], [0])),
        node("Constant", [], ["one"], value=helper.make_tensor("v", I64, [], [1])),
        node("Range", ["zero", "m", "one"], ["y"]),
    ]
    compare(model(nodes, [("k", I64, ["a"])], {"y": I64}), [{"k": np.array(k)} for k in ([3, 900, 2], [0], [1])])


def test_a_shape_that_does_not_fit_is_refused_when_it_is_known() -> None:
    nodes = [node("Add", ["k", "k"], ["s"]), node("Cast", ["s"], ["c"], to=F), node("Cast", ["c"], ["t"], to=I64),
             node("Reshape", ["x", "t"], ["y"])]  # fmt: skip
    data = model(nodes, [X, ("k", I64, [2])], {"y": F})
    x = np.ones((2, 6), np.float32)
    mine = session(data)
    assert mine.run(None, {"x": x, "k": np.array([1, 3])})[0].shape == (2, 6)
    for wrong in ([1, 4], [1, 1], [1 << 50, 1]):
        with pytest.raises((Fail, InvalidArgument)):
            mine.run(None, {"x": x, "k": np.array(wrong)})


# -- branches --------------------------------------------------------------------------------------------------------


def _if(then: Sequence[NodeProto], otherwise: Sequence[NodeProto]) -> NodeProto:
    """Both lists end with the result."""
    sides = [graph(nodes, [], [(nodes[-1].output[0], F, None)]) for nodes in (then, otherwise)]
    return node("If", ["c"], ["r"], then_branch=sides[0], else_branch=sides[1])


OTHERWISE = {
    "of one shape": [node("Neg", ["x"], ["n"]), node("Abs", ["n"], ["e"])],
    "captured": [node("Identity", ["w"], ["e"])],
    "of another shape": [node("Concat", ["x", "x"], ["e"], axis=0)],
    "whose size depends on data": [node("NonZero", ["x"], ["p"]), node("Cast", ["p"], ["e"], to=F)],
}


@pytest.mark.parametrize("otherwise", OTHERWISE)
def test_if(otherwise: str) -> None:
    nodes = [
        node("Sin", ["x"], ["w"]),
        _if([node("Add", ["w", "x"], ["t"])], OTHERWISE[otherwise]),
        node("Exp", ["r"], ["y"]),
        node("ReduceSum", ["y"], ["s"]),
    ]
    data = model(nodes, [X, ("c", B, [])], {"y": F, "s": F})
    compare(data, [{"x": sparse(0.5, 3, 4), "c": np.array(c)} for c in (True, False)])


def test_if_in_an_if() -> None:
    """The size of the inner result depends on the data as well."""
    inner = _if([node("Exp", ["x"], ["t"])], OTHERWISE["whose size depends on data"])
    outer = [inner, node("Abs", ["r"], ["t2"])]
    choice = node("If", ["k"], ["y"], then_branch=graph(outer, [], [("t2", F, None)]),
                  else_branch=graph([node("Neg", ["x"], ["e2"])], [], [("e2", F, None)]))  # fmt: skip
    data = model([choice], [X, ("c", B, []), ("k", B, [])], {"y": F})
    both = (True, False)
    compare(data, [{"x": sparse(0.5, 3, 4), "c": np.array(c), "k": np.array(k)} for c in both for k in both])


# -- branches whose results differ in rank -----------------------------------------------------------------------------


def constant(name: str, value: Any, dtype: type = np.int64) -> NodeProto:
    return node("Constant", [], [name], value=onnx.numpy_helper.from_array(np.array(value, dtype), name))


def squeezed(x: str, axis: int, y: str, condition: str = "") -> list[NodeProto]:
    """y: x, without an axis where that is 1, as torch.jit exports `x.squeeze(axis)`; or where `condition` holds."""
    asked = [
        constant(f"{y}_at", axis), constant(f"{y}_one", 1), node("Shape", [x], [f"{y}_shape"]),
        node("Gather", [f"{y}_shape", f"{y}_at"], [f"{y}_size"]),
        node("Equal", [f"{y}_size", f"{y}_one"], [f"{y}_c"]),
    ]  # fmt: skip
    then = [constant(f"{y}_axes", [axis]), node("Squeeze", [x, f"{y}_axes"], [f"{y}_t"])]
    sides = [
        graph(nodes, [], [(nodes[-1].output[0], F, None)]) for nodes in (then, [node("Identity", [x], [f"{y}_e"])])
    ]
    choice = node("If", [condition or f"{y}_c"], [y], then_branch=sides[0], else_branch=sides[1])
    return [choice] if condition else [*asked, choice]


def sized(*shapes: Sequence[int]) -> list[dict[str, Any]]:
    fresh = np.random.default_rng(0)
    return [{"x": fresh.standard_normal(shape).astype(np.float32)} for shape in shapes]


AFTER = {
    "nothing": [node("Identity", ["r"], ["y"])],
    "values": [node("Exp", ["r"], ["e"]), node("Neg", ["e"], ["y"])],
    "a sum": [node("ReduceSum", ["r"], ["y"], keepdims=0)],
    "a size": [node("Shape", ["r"], ["s"]), node("Cast", ["s"], ["y"], to=F)],
    "a captured value": [node("Mul", ["r", "w"], ["y"])],
    "a product": [node("Transpose", ["x"], ["t"]), node("MatMul", ["r", "t"], ["y"])],
}


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("after", AFTER)
def test_a_rank_that_sizes_decide(after: str, axis: int) -> None:
    """The rest of the model depends on it, and so may the rank of its output."""
    kept = {"x": F, "q": F}
    nodes = [node("Sin", ["x"], ["w0"]), node("ReduceMax", ["w0"], ["w"], keepdims=0), node("Abs", ["x"], ["q"]),
             *squeezed("x", axis, "r"), *AFTER[after]]  # fmt: skip
    data = model(nodes, [("x", F, ["a", "a" if after == "a product" else "b"])], {"y": F, **{"q": kept["q"]}})
    runs = [(1, 1), (3, 3)] if after == "a product" else [(1, 4), (4, 1), (3, 4), (1, 1), (4, 1)]
    compare(data, sized(*runs))


@pytest.mark.parametrize("after", [*AFTER])
def test_squeeze_without_axes(after: str) -> None:
    """Which axes are 1 is known when the model runs: of inputs, and of what data decides the size of."""
    nodes = [node("ReduceMax", ["x"], ["w"], keepdims=0), node("Squeeze", ["x"], ["r"]), *AFTER[after]]
    product = after == "a product"
    compare(model(nodes, [("x", F, ["a", "a"])], {"y": F}), sized(*([(3, 3)] if product else [(3, 3), (1, 1)])))
    if not product:
        compare(model(nodes, [("x", F, ["a", 3, "b"])], {"y": F}), sized((1, 3, 2), (2, 3, 1), (1, 3, 1), (4, 3, 5)))
    found = [node("NonZero", ["x"], ["p"]), node("Cast", ["p"], ["f"], to=F), node("Squeeze", ["f"], ["y"])]
    compare(model(found, [X], {"y": F}), [{"x": sparse(share, 1, 5)} for share in (0, 0.2, 1)])


@pytest.mark.parametrize("by", ["sizes", "data"])
def test_a_rank_that_nothing_can_follow(by: str) -> None:
    """Where the rest of the model fits one side alone, that is what has to run."""
    nodes = [*squeezed("x", 1, "r", "c" if by == "data" else ""), constant("kernel", np.ones((2, 3, 1)), np.float32),
             node("Conv", ["r", "kernel"], ["y"]), node("ReduceSum", ["y"], ["z"], keepdims=0)]  # fmt: skip
    inputs: list[Info] = [("x", F, ["a", "b", "c"])] + ([("c", B, [])] if by == "data" else [])
    data = model(nodes, inputs, {"y": F, "z": F})
    compare(data, [{**f, **({"c": np.array(False)} if by == "data" else {})} for f in sized((2, 3, 4), (1, 3, 1))])
    wrong = {"x": np.ones((2, 1, 4), np.float32), **({"c": np.array(True)} if by == "data" else {})}
    for engine in (session(data), onnxruntime.InferenceSession(data)):
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            engine.run(None, wrong)


def test_ranks_in_a_row() -> None:
    """Several sizes, each with two ways on: the second asks for what the first has left."""
    nodes = [*squeezed("x", 0, "r"), node("Relu", ["r"], ["p"]), *squeezed("p", -1, "s"), *squeezed("s", -1, "t"),
             node("Neg", ["t"], ["y"]), node("ReduceSum", ["p"], ["z"])]  # fmt: skip
    data = model(nodes, [("x", F, ["a", "b", "c", "d"])], {"y": F, "z": F})
    compare(data, sized((1, 2, 3, 4), (2, 3, 4, 1), (2, 3, 1, 1), (1, 3, 1, 1), (3, 2, 1, 5)))


def test_the_same_question_again() -> None:
    """About the same size, or of the same data, it is answered once: many in a row are no problem."""
    many = [n for i in range(12) for n in squeezed("x", 0, f"r{i}")]
    total = node("Sum", [f"r{i}" for i in range(12)], ["y"])
    compare(model([*many, total], [("x", F, ["a", "b"])], {"y": F}), sized((1, 5), (3, 5)))
    many = [n for i in range(12) for n in squeezed("x", 0, f"r{i}", "c")]
    data = model([*many, total], [("x", F, ["a", "b"]), ("c", B, [])], {"y": F})
    compare(data, [{**feeds, "c": np.array(c)} for feeds in sized((1, 5)) for c in (True, False)])


def test_too_many_ranks_in_a_row() -> None:
    nodes = [n for i in range(4) for n in squeezed("x" if i == 0 else f"r{i - 1}", -1, f"r{i}")]
    data = model(nodes, [("x", F, ["a", "b", "c", "d", "e"])], {"r3": F})
    compare(data, sized((2, 3, 4, 1, 1)))
    nodes = [n for i in range(4) for n in squeezed("x", i, f"r{i}")]
    data = model([*nodes, *(node("Identity", [f"r{i}"], [f"y{i}"]) for i in range(4))],
                 [("x", F, ["a", "b", "c", "d"])], {f"y{i}": F for i in range(4)})  # fmt: skip
    with pytest.raises(intaglio.runtime.errors.NotImplemented, match="more than 8 combinations"):
        session(data)


@pytest.mark.parametrize("by", ["sizes", "data"])
def test_a_rank_within_branches(by: str) -> None:
    """In an outer branch, whose own rest depends on it."""
    inner = [*squeezed("w", 0, "r", "k" if by == "data" else ""), node("Abs", ["r"], ["t2"])]
    choice = node("If", ["c"], ["m"], then_branch=graph(inner, [], [("t2", F, None)]),
                  else_branch=graph([node("Neg", ["w"], ["e2"])], [], [("e2", F, None)]))  # fmt: skip
    nodes = [node("Sin", ["x"], ["w"]), node("ReduceMax", ["w"], ["v"], keepdims=0), choice,
             node("Mul", ["m", "v"], ["y"]), node("ReduceSum", ["y"], ["s"])]  # fmt: skip
    data = model(nodes, [X, ("c", B, []), ("k", B, [])], {"y": F, "s": F})
    both = (True, False)
    if by == "sizes":
        compare(data, [{**f, "c": np.array(c), "k": np.array(c)} for f in sized((1, 4), (3, 4)) for c in both])
    else:
        compare(data, [{**f, "c": np.array(c), "k": np.array(k)} for f in sized((1, 4)) for c in both for k in both])


def test_a_rank_within_a_decided_branch_and_a_function() -> None:
    branch = graph([*squeezed("w", 0, "r"), node("Abs", ["r"], ["t2"])], [], [("t2", F, None)])
    choice = node("If", ["yes"], ["m"], then_branch=branch,
                  else_branch=graph([node("Neg", ["w"], ["e2"])], [], [("e2", F, None)]))  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    inside = [*squeezed("v", -1, "r"), constant("two", 2, np.float32), node("Mul", ["r", "two"], ["u"])]
    function = helper.make_function("own", "F", ["v"], ["u"], inside, opsets[:1])
    nodes = [node("Sin", ["x"], ["w"]), constant("yes", True, bool), choice, node("F", ["m"], ["f"], domain="own"),
             node("Exp", ["f"], ["y"])]  # fmt: skip
    whole = helper.make_model(graph(nodes, [X], [("y", F, None)]), opset_imports=opsets, ir_version=8,
                              functions=[function])  # fmt: skip
    compare(whole.SerializeToString(), sized((1, 4), (4, 1), (2, 3), (1, 1)))


def test_a_rank_within_a_loop() -> None:
    """What follows brings both back to one shape."""
    body = graph(
        [*squeezed("s", 0, "r"), node("Mul", ["r", "r"], ["q"]), node("Shape", ["s"], ["k"]),
         node("Reshape", ["q", "k"], ["t"]), node("Identity", ["go"], ["more"])],
        LOOP, [("more", B, []), ("t", F, ["a", "b"])],
    )  # fmt: skip
    data = model([node("Loop", ["n", "", "x"], ["y"], body=body)], [X, ("n", I64, [])], {"y": F})
    compare(data, [{**f, "n": np.array(2)} for f in sized((1, 4), (3, 4))])


def test_a_rank_that_data_decides() -> None:
    nodes = [*squeezed("x", 0, "r", "c"), node("Relu", ["r"], ["y"]), node("Softmax", ["r"], ["z"])]
    data = model(nodes, [X, ("c", B, [])], {"y": F, "z": F})
    compare(data, [{**f, "c": np.array(c)} for f in sized((1, 4), (1, 2)) for c in (True, False)])
    mine = session(data)
    assert mine.run(None, {"x": np.ones((3, 4), np.float32), "c": np.array(False)})[0].shape == (3, 4)
    with pytest.raises((Fail, InvalidArgument)):
        mine.run(None, {"x": np.ones((3, 4), np.float32), "c": np.array(True)})


GIVEN = {
    "sizes of the input": [node("Transpose", ["x"], ["e"])],
    "a shape of data": [node("Reshape", ["x", "k"], ["e"])],
    "a shape that is computed": [node("Add", ["k", "k"], ["kk"]), node("Cast", ["kk"], ["f"], to=F),
                                 node("Cast", ["f"], ["i"], to=I64), node("Expand", ["x", "i"], ["e"])],
}  # fmt: skip


@pytest.mark.parametrize("otherwise", GIVEN)
@pytest.mark.parametrize("by", ["sizes", "data"])
def test_if_whose_sizes_differ(otherwise: str, by: str) -> None:
    """Also where nothing limits them before the run."""
    asked = [constant("i0", 0), constant("three", 3), node("Shape", ["x"], ["s"]), node("Gather", ["s", "i0"], ["d"]),
             node("Less", ["d", "three"], ["c"])]  # fmt: skip
    nodes = [node("Sin", ["x"], ["w"]), _if([node("Exp", ["w"], ["t"])], GIVEN[otherwise]), node("Neg", ["r"], ["y"]),
             node("ReduceSum", ["y"], ["z"], keepdims=0)]  # fmt: skip
    inputs: list[Info] = [X, ("k", I64, [2])] + ([("c", B, [])] if by == "data" else [])
    data = model([*(asked if by == "sizes" else []), *nodes], inputs, {"y": F, "z": F})
    feeds: list[dict[str, Any]] = [{**f, "k": np.array([4, 3])} for f in sized((3, 4), (12, 1), (2, 6), (4, 3))]
    if "computed" in otherwise:
        feeds = [{**f, "k": np.array([2, 3])} for f in sized((4, 6), (1, 1), (4, 1), (1, 6))]
    if by == "data":
        feeds = [{**f, "c": np.array(c)} for f in feeds for c in (True, False)]
    compare(data, feeds)


# -- loops -----------------------------------------------------------------------------------------------------------


def _grow(condition: Sequence[NodeProto]) -> GraphProto:
    """s * x + x, and the sum of that as a row; `condition` makes `more`."""
    nodes = [
        node("Mul", ["s", "x"], ["sx"]),
        node("Add", ["sx", "x"], ["t"]),
        node("ReduceSum", ["t"], ["row"], keepdims=0),
        *condition,
    ]
    return graph(nodes, LOOP, [("more", B, []), ("t", F, ["a", "b"]), ("row", F, [])])


def _below(limit: float) -> list[NodeProto]:
    value = helper.make_tensor("v", F, [], [limit])
    return [node("Constant", [], ["limit"], value=value), node("Less", ["row", "limit"], ["more"])]


def test_loop_with_a_trip_count() -> None:
    body = _grow([node("Identity", ["go"], ["more"])])
    data = model([node("Loop", ["n", "", "x"], ["y", "rows"], body=body)], [X, ("n", I64, [])], {"y": F, "rows": F})
    compare(data, STEPS)


def test_loop_with_a_condition() -> None:
    body = _grow(_below(5.0))
    inputs = [X, ("n", I64, []), ("c", B, [])]
    data = model([node("Loop", ["n", "c", "x"], ["y", "rows"], body=body)], inputs, {"y": F, "rows": F})
    compare(data, [{**feeds, "c": np.array(c)} for feeds in STEPS for c in (True, False)])


def _while(by: str) -> tuple[GraphProto, list[str]]:
    """A body that collects rows of x, and what its states begin with; it goes on by a counter that is compared as
    floats, as TensorFlow's loops are; by the sum of what it has; or by where it is alone, in an index of its own."""
    below = {
        "counter": [node("Cast", ["k2"], ["kf"], to=F), node("Cast", ["n"], ["nf"], to=F),
                    node("Less", ["kf", "nf"], ["more"])],
        "sum": _below(5.0),
        "number": [node("Add", ["i", "one"], ["next"]), node("Less", ["next", "n"], ["more"])],
    }[by]  # fmt: skip
    nodes = [
        node("Constant", [], ["one"], value=helper.make_tensor("v", I64, [], [1])),
        node("Add", ["k", "one"], ["k2"]),
        node("Mul", ["s", "x"], ["sx"]),
        node("Add", ["sx", "x"], ["t"]),
        node("ReduceSum", ["t"], ["row"], keepdims=0),
        *below,
    ]
    rows = [("t2", F, ["a", "b"]), ("row2", F, []), ("k3", I64, [])]
    copies = [node("Identity", [a], [b]) for a, b in (("t", "t2"), ("row", "row2"), ("k2", "k3"))]
    body = graph(
        [*nodes, *copies], [*LOOP, ("k", I64, [])], [("more", B, []), ("t", F, ["a", "b"]), ("k2", I64, []), *rows]
    )
    return body, ["x", "start"]


@pytest.mark.parametrize("limit", ["", "most"])
@pytest.mark.parametrize("by", ["counter", "sum", "number"])
def test_loop_that_collects_without_a_limit(by: str, limit: str) -> None:
    """Neither a trip count, or one that means for ever: how long it runs its condition alone tells."""
    body, states = _while(by)
    nodes = [
        node("Constant", [], ["start"], value=helper.make_tensor("v", I64, [], [0])),
        node("Constant", [], ["most"], value=helper.make_tensor("v", I64, [], [2**63 - 1])),
        node("Loop", [limit, "c", *states], ["y", "k", "rows", "sums", "numbers"], body=body),
        node("ReduceSum", ["rows"], ["total"], keepdims=0),
    ]
    inputs: list[Info] = [X, ("n", I64, []), ("c", B, [])]
    outputs = {"y": F, "k": I64, "sums": F, "numbers": I64}
    rows = {"rows": F, "total": F}  # of no iterations onnxruntime makes rows of the shape [0, 0]
    for c, more in ((True, rows), (False, {})):
        compare(model(nodes, inputs, {**outputs, **more}), [{**feeds, "c": np.array(c)} for feeds in STEPS])


def test_states_that_change_places() -> None:
    nodes = [node("Identity", ["go"], ["more"]), node("Identity", ["s"], ["p"]), node("Identity", ["t"], ["q"])]
    body = graph(nodes, [*LOOP, ("t", F, ["a", "b"])], [("more", B, []), ("q", F, ["a", "b"]), ("p", F, ["a", "b"])])
    data = model([node("Loop", ["n", "", "x", "z"], ["y", "w"], body=body)], [X, ("z", F, ["a", "b"]), ("n", I64, [])],
                 {"y": F, "w": F})  # fmt: skip
    compare(data, [{**feeds, "z": -feeds["x"]} for feeds in STEPS])


def test_loop_in_a_loop() -> None:
    inner = graph(
        [node("Mul", ["q", "x"], ["r"]), node("Identity", ["ok"], ["more"])],
        [("j", I64, []), ("ok", B, []), ("q", F, ["a", "b"])],
        [("more", B, []), ("r", F, ["a", "b"])],
    )
    nodes = [node("Loop", ["i", "", "s"], ["t"], body=inner), node("Identity", ["go"], ["more2"])]
    body = graph(nodes, LOOP, [("more2", B, []), ("t", F, ["a", "b"])])
    compare(model([node("Loop", ["n", "", "x"], ["y"], body=body)], [X, ("n", I64, [])], {"y": F}), STEPS)


def test_sizes_that_differ_from_one_iteration_to_the_next() -> None:
    nodes = [
        node("Constant", [], ["zero"], value=helper.make_tensor("v", I64, [1], [0])),
        node("Unsqueeze", ["i", "zero"], ["end"]),
        node("Slice", ["x", "zero", "end"], ["part"]),
        node("ReduceSum", ["part"], ["sum"], keepdims=0),
        node("NonZero", ["part"], ["p"]),
        node("Cast", ["p"], ["f"], to=F),
        node("ReduceSum", ["f"], ["places"], keepdims=0),
        node("Add", ["sum", "places"], ["both"]),
        node("Add", ["s", "both"], ["t"]),
        node("Identity", ["go"], ["more"]),
    ]
    body = graph(nodes, LOOP, [("more", B, []), ("t", F, ["a", "b"])])
    compare(model([node("Loop", ["n", "", "x"], ["y"], body=body)], [X, ("n", I64, [])], {"y": F}), STEPS)


def test_if_in_a_loop() -> None:
    choice = _if([node("Exp", ["s"], ["t"])], [node("Sub", ["s", "x"], ["e"])])
    nodes = [
        node("Constant", [], ["two"], value=helper.make_tensor("v", I64, [], [2])),
        node("Mod", ["i", "two"], ["m"]),
        node("Cast", ["m"], ["c"], to=B),
        choice,
        node("Identity", ["go"], ["more"]),
    ]
    body = graph(nodes, LOOP, [("more", B, []), ("r", F, ["a", "b"])])
    compare(model([node("Loop", ["n", "", "x"], ["y"], body=body)], [X, ("n", I64, [])], {"y": F}), STEPS[:2])


@pytest.mark.parametrize("attrs", [{}, {"scan_input_directions": [1], "scan_output_directions": [1]}])
def test_scan_of_any_length(attrs: dict[str, Any]) -> None:
    body = graph(
        [node("Add", ["s", "v"], ["t"]), node("Mul", ["t", "v"], ["row"])],
        [("s", F, ["b"]), ("v", F, ["b"])],
        [("t", F, ["b"]), ("row", F, ["b"])],
    )
    scan = node("Scan", ["s0", "x"], ["y", "rows"], body=body, num_scan_inputs=1, **attrs)
    data = model([scan], [X, ("s0", F, ["b"])], {"y": F, "rows": F})
    compare(data, [{"x": sparse(0.5, n, 4), "s0": np.ones(4, np.float32)} for n in (1, 5, 60)])


def test_a_loop_without_end_is_terminated() -> None:
    body = graph([node("Identity", ["go"], ["more"]), node("Cos", ["s"], ["t"])], LOOP,
                 [("more", B, []), ("t", F, ["a", "b"])])  # fmt: skip
    mine = session(model([node("Loop", ["", "c", "x"], ["y"], body=body)], [X, ("c", B, [])], {"y": F}))
    options = intaglio.RunOptions()
    timer = threading.Timer(0.3, lambda: setattr(options, "terminate", True))
    timer.start()
    start = time.monotonic()
    with pytest.raises(Fail, match="terminate"):
        mine.run(None, {"x": np.ones((2, 2), np.float32), "c": np.array(True)}, options)
    assert 0.2 < time.monotonic() - start < 10
    assert mine.run(None, {"x": np.ones((2, 2), np.float32), "c": np.array(False)})[0].shape == (2, 2)


@pytest.mark.parametrize("consumer", [
    node("NonZero", ["s"], ["y"]),
    node("Reshape", ["x", "s"], ["y"]),
    node("Expand", ["x", "s"], ["y"]),
    node("Tile", ["x", "s"], ["y"]),
    node("ConstantOfShape", ["s"], ["y"]),
    node("Gather", ["x", "s"], ["y"]),
], ids=lambda n: n.op_type)  # fmt: skip
@pytest.mark.parametrize("fed", ["m", "s0", ""], ids=["trips", "state", "nothing"])
def test_sizes_that_a_loop_computes(consumer: NodeProto, fed: str) -> None:
    """Of constants, of an input, for a number of trips that is given or that data decides."""
    body = graph(
        [node("Less", ["i", "limit"], ["go"]), node("Neg", ["s_in"], ["n"]), node("Neg", ["n"], ["s_out"])],
        [("i", I64, []), ("c", B, []), ("s_in", I64, [1])], [("go", B, []), ("s_out", I64, [1])],
    )  # fmt: skip
    arrays = {"m": np.asarray(3), "s0": np.array([consumer.op_type != "Gather"], np.int64), "limit": np.asarray(5)}
    constants = [
        node("Constant", [], [name], value=onnx.numpy_helper.from_array(np.asarray(value), name))
        for name, value in arrays.items() if name != fed
    ]  # fmt: skip
    inputs: list[Info] = [("x", F, [1, 1])] + ([(fed, I64, list(arrays[fed].shape))] if fed else [])
    if consumer.op_type == "Tile":
        inputs[0] = ("x", F, [1])
    kind = I64 if consumer.op_type == "NonZero" else F
    data = model([*constants, node("Loop", ["m", "", "s0"], ["s"], body=body), consumer], inputs, {"y": kind})
    feeds = {"x": np.ones([1] * len(inputs[0][2]), np.float32)}
    compare(data, [{**feeds, **({fed: arrays[fed]} if fed else {})}])


@pytest.mark.sample(12)
@pytest.mark.parametrize("rows", [5, 10, 64, 65, 200])
@pytest.mark.parametrize("last", [
    node("ReduceSum", ["s", "zero"], ["y"]), node("ReduceSum", ["s"], ["y"]), node("ReduceMax", ["s"], ["y"], axes=[0]),
    node("CumSum", ["s", "at"], ["y"]), node("Softmax", ["s"], ["y"], axis=0), node("Transpose", ["s"], ["y"]),
    node("Relu", ["s"], ["y"]), node("ReduceLogSumExp", ["s"], ["y"], axes=[0]),
    node("ReduceMean", ["s"], ["y"], axes=[1]),
    node("TopK", ["s", "one"], ["y", "place"], axis=0),
], ids=lambda n: n.op_type if isinstance(n, NodeProto) else n)  # fmt: skip
def test_parts_whose_size_is_bounded(rows: int, last: NodeProto) -> None:
    """By the tensor that they are of; where they begin is an input. Sums of narrow floats, too, whose rounding is a
    step of its own; of small integers, so that they are the same in any order."""
    constants = {"end": [rows - 1, rows - 1], "zero": [0], "at": 0, "one": [1]}
    given = [
        node("Constant", [], [name], value=onnx.numpy_helper.from_array(np.array(value, np.int64), name))
        for name, value in constants.items()
    ]
    x = rng().integers(-1, 2, (rows, rows)).astype(np.float32)
    feeds = [{"x": x, "start": np.array(start)} for start in ([0, 0], [2, 3], [-2, -4], [1, -2])]
    inputs: list[Info] = [("x", F, [rows, rows]), ("start", I64, [2])]
    plain = model([*given, node("Slice", ["x", "start", "end"], ["s"]), last], inputs, {"y": F})
    compare(plain, feeds)
    for narrow in (np.float16, ml_dtypes.bfloat16) if last.op_type in ("ReduceSum", "ReduceMax") else ():
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(narrow))
        cut = node("Slice", ["x", "start", "end"], ["s"])
        ours = session(model([*given, cut, last], [("x", kind, [rows, rows]), inputs[1]], {"y": kind}))
        for feed in feeds:
            (wanted,) = onnxruntime.InferenceSession(plain).run(None, feed)
            (got,) = ours.run(None, {**feed, "x": x.astype(narrow)})
            np.testing.assert_array_equal(got.astype(np.float32), wanted)
