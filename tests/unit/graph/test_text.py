"""Graphs as text: they read back as they were, and malformed text is refused with the place."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.compiler.graph.ir import Graph, constant, input_value, make
from intaglio.compiler.graph.text import INLINE, constants_of, parse_graph, print_graph
from intaglio.compiler.graph.verify import verify
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import BF16, F32
from intaglio.compiler.scalar.expr import Call, Const, Var

B, S = Symbol("batch"), Symbol("seq len", 1)


def sample() -> Graph:
    x = input_value("it's x", (B, S, 4), F32)
    weights = constant(np.arange(4 * INLINE, dtype=np.float32).reshape(4, -1))
    y = (x.matmul(weights) - 0.1).map("cast", dtype=BF16)
    y.node.origin = ("node 'a'", "node_b")
    padded = y.reshape(B * S, INLINE).pad((0, S), (1, 0), float("-inf"))
    values, indices = make("sort", [padded], axis=1, descending=True, k=3)
    return Graph([x], [values, indices], ["values", "in,dices"])


EXPECTED = """\
symbols `seq len` >= 1, batch
%0 : f32[batch, `seq len`, 4] = input(; name="it's x", shape=({batch}, {`seq len`}, 4), dtype=f32)
%1 : f32[4, 16] = constant(; data=f32[4, 16]@1b5a1b0f2b9d6f6d1e6e0b0e)
%2 : f32[batch, `seq len`, 16] = matmul(%0, %1; acc=f32)
%3 : f32[] = constant(; data=f32[](0.10000000149011612))
%4 : f32[batch, `seq len`, 16] = map(%2, %3; prim='sub')
%5 : bf16[batch, `seq len`, 16] = map(%4; prim='cast', dtype=bf16)  # "node 'a'", 'node_b'
"""


def test_round_trip() -> None:
    graph = sample()
    text = print_graph(graph)
    digest = next(iter(constants_of(graph)))
    assert text.startswith(EXPECTED.replace("1b5a1b0f2b9d6f6d1e6e0b0e", digest))
    again = parse_graph(text, constants_of(graph))
    verify(again)
    assert print_graph(again) == text
    assert [v.name for v in again.inputs] == ["it's x"] and again.output_names == graph.output_names


def test_constants_of_all_kinds() -> None:
    arrays = [
        np.array([np.inf, -np.inf, 1e-45, -0.0], np.float32),
        np.array([[True, False]]),
        np.array(-(2**63)),
        np.array(["a, 'b'", "c)"], object),
        np.array([1.5, 2.25], BF16.to_numpy()),
        np.zeros((0, 3), np.uint8),
        np.arange(100, dtype=np.int32),
        np.array([1 + 2j], np.complex64),
    ]
    graph = Graph([], [constant(a) for a in arrays], [str(i) for i in range(len(arrays))])
    for value, array in zip(parse_graph(print_graph(graph), constants_of(graph)).outputs, arrays):
        assert value.data is not None
        assert value.data.dtype == array.dtype and value.data.shape == array.shape
        assert value.data.tolist() == array.tolist()


def test_expressions_in_attributes() -> None:
    x, r = input_value("x", (3, B, 1, 1, 4), F32), input_value("r", (1, 4, 1, 4), F32)
    relu = Call("max", (Var("x", F32), Const(0.0, F32)), F32)
    attrs = {"kind": "rnn", "direction": "forward", "clip": 3.5, "input_forget": False, "has": ()}
    y = make("recurrent", [x, r], activations=((relu,),), **attrs)[0]
    text = print_graph(Graph([x, r], [y], ["y"]))
    again = parse_graph(text)
    assert again.outputs[0].node.attrs["activations"][0][0] is relu
    assert print_graph(again) == text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%1 : f32[5] = map(%0; prim='exp')", r"map gives %1 : f32\[4\]"),
        ("%1 : f32[4] = map(%0; prim=exp)", "'exp' is not a value, at character 14"),
        ("%1 : f32[4] = map(%0 prim='exp')", "% is wanted at character 7"),
        ("%1 map(%0)", "not a node"),
    ],
)
def test_refusals(line: str, message: str) -> None:
    text = f"symbols\n%0 : f32[4] = input(; name='x', shape=(4,), dtype=f32)\n{line}\nreturn 'y'=%1\n"
    with pytest.raises(ValueError, match=message):
        parse_graph(text)
