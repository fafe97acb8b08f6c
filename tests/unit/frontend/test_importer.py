"""From model to graph: names, dims, scopes, functions, and what is resolved on the way."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest

from intaglio.compiler.frontend.importer import import_model
from intaglio.compiler.frontend.load import load_model
from intaglio.compiler.graph import interp
from intaglio.compiler.graph.ir import Graph
from intaglio.compiler.graph.verify import verify
from intaglio.compiler.scalar.dim import Dim, Symbol
from intaglio.runtime import errors

HEADER = '<ir_version: 10, opset_import: ["" : 21, "my.dom" : 1]>\n'


def imported(text: str, dims: Mapping[str, int] | None = None) -> Graph:
    model = onnx.parser.parse_model(HEADER + text)
    return import_model(load_model(model.SerializeToString()), dims)


def run(graph: Graph, *feeds: Any) -> list[Any]:
    return interp.evaluate(graph, [np.asarray(f) for f in feeds])


def test_equal_names_of_dims_are_one_symbol() -> None:
    graph = imported("m (float[n,2,?] x, float[n] y) => (float[n,2,?] z) { z = Identity(x) }")
    x, y = graph.inputs
    assert x.shape[0] == y.shape[0] == Symbol("n")
    assert isinstance(x.shape[2], Symbol) and x.shape[2] != Symbol("n")
    assert graph.output_names == ["z"]


def test_free_dims_may_be_fixed() -> None:
    graph = imported("m (float[n,s] x) => (float[n,s] z) { z = Identity(x) }", {"n": 3})
    assert graph.inputs[0].shape == (3, Symbol("s"))


def test_shapes_are_computed_at_import() -> None:
    graph = imported("""m (float[n,s,6] x) => (float[a,b,c,d] z) {
        h = Constant <value_ints: ints = [2]> ()
        ns = Shape <start: int = 0, end: int = 2> (x)
        rest = Constant <value_ints: ints = [-1]> ()
        shape = Concat <axis: int = 0> (ns, h, rest)
        z = Reshape (x, shape)
    }""")
    assert [n.op.name for n in graph.nodes()] == ["input", "reshape"]
    assert graph.outputs[0].shape == (Symbol("n"), Symbol("s"), 2, 3)


def test_a_range_over_a_symbolic_dim() -> None:
    graph = imported("""m (float[n] x) => (int64[n] z) {
        zero = Constant <value_int: int = 0> ()
        one = Constant <value_int: int = 1> ()
        n = Size (x)
        z = Range (zero, n, one)
    }""")
    assert graph.outputs[0].shape == (Symbol("n"),)
    np.testing.assert_array_equal(run(graph, np.zeros(4, np.float32))[0], range(4))


def test_initializers_that_are_inputs_are_constants() -> None:
    graph = imported("m (float[2] x, float[2] w) => (float[2] z) <float[2] w = {1, 2}> { z = Add (x, w) }")
    assert [v.name for v in graph.inputs] == ["x"]
    np.testing.assert_array_equal(run(graph, np.float32([1, 1]))[0], [2, 3])


def test_functions_of_the_model_are_inlined() -> None:
    graph = imported("""m (float[2] x) => (float[2] z) { z = my.dom.scale <factor: float = 3.0> (x) }
    <domain: "my.dom", opset_import: ["" : 21]>
    scale <factor> (x) => (y) {
        f = Constant <value_float: float = @factor> ()
        y = Mul (x, f)
    }""")
    np.testing.assert_array_equal(run(graph, np.float32([1, 2]))[0], [3, 6])
    assert {n.origin for n in graph.nodes() if n.op.name == "map"} == {("scale/Mul",)}


def test_operators_without_a_function_are_expanded_by_their_body() -> None:
    graph = imported("""m (float[3,4] x, int64[3] t) => (float loss) {
        loss = NegativeLogLikelihoodLoss <reduction: string = "sum"> (x, t)
    }""")
    x, t = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32), np.array([1, 0, 3])
    np.testing.assert_allclose(run(graph, x, t)[0], -x[np.arange(3), t].sum(), rtol=1e-6)
    assert all(n.origin == ("NegativeLogLikelihoodLoss",) for n in graph.nodes() if n.inputs)


IF = """m (float[n,2] x) => (float[n,2] z) {{
    {condition}
    z = If (c) <
        then_branch = t () => (float[n,2] a) {{ a = Relu (x) }},
        else_branch = e () => (float[n,2] b) {{ b = Neg (x) }}
    >
}}"""


def test_only_the_chosen_branch_of_a_constant_condition_is_imported() -> None:
    rank = "s = Shape (x)\n r = Size (s)\n two = Constant <value_int: int = 2> ()\n c = Equal (r, two)"
    graph = imported(IF.format(condition=rank))
    assert [n.attrs["prim"] for n in graph.nodes() if n.op.name == "map"] == ["max"]


def test_another_condition_is_decided_when_the_model_runs() -> None:
    graph = imported(IF.format(condition="s = ReduceSum <keepdims: int = 0> (x)\n c = Cast <to: int = 9> (s)"))
    verify(graph)
    (branch,) = (n for n in graph.nodes() if n.op.name == "branch")
    assert [v.name for v in branch.inputs[1:]] == ["x"]
    for x in (np.float32([[1, -2]]), np.float32([[2, -2]])):
        np.testing.assert_array_equal(run(graph, x)[0], np.maximum(x, 0) if x.sum() else -x)


def test_loops_of_constant_length_are_unrolled() -> None:
    graph = imported("""m (float[2] x) => (float[2] last, float[3,2] all) {
        trips = Constant <value_int: int = 3> ()
        go = Constant <value = bool {1}> ()
        last, all = Loop (trips, go, x) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] t, float[2] u) {
            d = Identity (c)
            f = CastLike (i, s)
            t = Add (s, f)
            u = Identity (t)
        }>
    }""")
    last, steps = run(graph, np.float32([0, 1]))
    np.testing.assert_array_equal(last, [3, 4])
    np.testing.assert_array_equal(steps, [[0, 1], [1, 2], [3, 4]])


WHILE = """m (float[2] x, float limit, float[2] step) => (float[2] last, float[n,2] all) {
    trips = Constant <value_int: int = 1000> ()
    start = ReduceSum <keepdims: int = 0> (x)
    go = Less (start, limit)
    last, all = Loop (trips, go, x) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] t, float[2] u) {
        t = Add (s, step)
        total = ReduceSum <keepdims: int = 0> (t)
        d = Less (total, limit)
        u = Mul (t, t)
    }>
}"""


def test_a_loop_that_runs_until_data_says_so() -> None:
    graph = imported(WHILE)
    verify(graph)
    for limit in (5.0, 20.0, -1.0):
        s, steps = np.float32([1, 1]), []
        while s.sum() < limit:
            s = s + np.float32([1, 2])
            steps.append(s * s)
        last, made = run(graph, np.float32([1, 1]), np.float32(limit), np.float32([1, 2]))
        np.testing.assert_array_equal(last, s)
        np.testing.assert_array_equal(made, np.array(steps, np.float32).reshape(-1, 2))


def test_a_scan_over_a_symbolic_length() -> None:
    graph = imported("""m (float[2] h, float[2,t] x, float[2] k) => (float[2] last, float[2,t] y) {
        last, y = Scan <
            num_scan_inputs: int = 1, scan_input_axes: ints = [1], scan_input_directions: ints = [1],
            scan_output_axes: ints = [1],
            body = b (float[2] s, float[2] e) => (float[2] o, float[2] p) {
                m = Mul (s, k)
                o = Add (m, e)
                p = Neg (o)
            }
        > (h, x)
    }""")
    verify(graph)
    h, x, k = np.float32([1, 2]), np.arange(8, dtype=np.float32).reshape(2, 4), np.float32([0.5, 2])
    rows = []
    for t in reversed(range(4)):
        h = h * k + x[:, t]
        rows.append(-h)
    last, y = run(graph, np.float32([1, 2]), x, k)
    np.testing.assert_array_equal(last, h)
    np.testing.assert_array_equal(y, np.stack(rows, 1))


def test_elements_of_an_input_that_is_a_shape_become_symbols() -> None:
    graph = imported("m (float[2,6] x, int64[2] s) => (float[a,b] z) { z = Reshape (x, s) }")
    content = graph.inputs[1].content
    assert content is not None and [str(c) for c in content] == ["`s[0]`", "`s[1]`"]
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    for shape in ([3, 4], [-1, 3], [4, -1], [0, 6], [12, 1]):
        want = x.reshape([d or x.shape[i] for i, d in enumerate(shape)])
        np.testing.assert_array_equal(run(graph, x, np.array(shape))[0], want)


def test_attributes_that_are_not_known_are_refused() -> None:
    with pytest.raises(errors.InvalidGraph, match="Unrecognized attribute: speed for operator Relu"):
        imported("m (float[2] x) => (float[2] z) { z = Relu <speed: int = 9> (x) }")


# What an element of a shape may come from, int64[1] each, and what is known of it before the run.
ELEMENTS = {
    "a constant": ("{0} = Constant <value_ints: ints = [2]> ()", "2"),
    "arithmetic on floats": ("f{0} = Constant <value_floats: floats = [4.0]> () r{0} = Sqrt (f{0})"
                             " {0} = Cast <to: int = 7> (r{0})", "2"),
    "a size": ("{0} = Shape <start: int = 1, end: int = 2> (x)", "2"),
    "a symbolic size": ("{0} = Shape <start: int = 0, end: int = 1> (x)", "n"),
    "data": ("m{0} = ReduceMax <keepdims: int = 1> (k) {0} = Cast <to: int = 7> (m{0})", "?"),
    "arithmetic on data": ("m{0} = ReduceMax <keepdims: int = 1> (k) c{0} = Cast <to: int = 7> (m{0})"
                           " t{0} = Constant <value_ints: ints = [1]> () {0} = Add (c{0}, t{0})", "?+1"),
}  # fmt: skip
# What is made of the vector of them, which changes none.
VECTORS = {
    "alone": "s = Identity (v)",
    "in int32": "w = Cast <to: int = 6> (v) s = Cast <to: int = 7> (w)",
    "times ones": "o = Constant <value_ints: ints = [1, 1, 1]> () s = Mul (v, o)",
    "where not -1": "m = Constant <value_int: int = -1> () e = Equal (v, m)"
                    " o = Constant <value_ints: ints = [1, 1, 1]> () s = Where (e, o, v)",
}  # fmt: skip


@pytest.mark.parametrize("vector", VECTORS)
@pytest.mark.parametrize("elements", list(itertools.combinations(ELEMENTS, 3)), ids=", ".join)
def test_elements_of_a_shape_are_known_one_by_one(elements: tuple[str, ...], vector: str) -> None:
    lines = " ".join(ELEMENTS[each][0].format(name) for each, name in zip(elements, "abc"))
    graph = imported(f"""m (float[n,2] x, int32[n] k, float one) => (float[s0,s1,s2] y) {{
        {lines} v = Concat <axis: int = 0> (a, b, c) {VECTORS[vector]} y = Expand (one, s)
    }}""")
    for size, each in zip(graph.outputs[0].shape, elements):
        said = ELEMENTS[each][1]
        assert str(size) == said if "?" not in said else isinstance(size, Dim), (size, said)
    assert len(graph.bindings) == sum("?" in ELEMENTS[each][1] for each in elements)
    k = np.array([1, 3, 2, 0], np.int32)
    values = {"2": 2, "n": 4, "?": 3, "?+1": 4}
    (y,) = run(graph, np.zeros((4, 2), np.float32), k, np.float32(5))
    np.testing.assert_array_equal(y, np.full([values[ELEMENTS[each][1]] for each in elements], 5, np.float32))
