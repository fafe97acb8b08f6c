"""Which nodes share a kernel, and of each reason against it the smallest graph that has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import pytest

from intaglio.compiler.graph.ir import Graph, Value, constant, input_value, make, reachable
from intaglio.compiler.lower.fuse import COLUMNS, CONCAT_INLINE, NODES, PLACES, Group, distinct_outputs, run
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import F32, I64

N = Symbol("n")


def tensor(*shape: int | Symbol, name: str = "x") -> Value:
    return input_value(name, shape, F32)


def graph(*outputs: Value) -> Graph:
    inputs = [node.outputs[0] for node in reachable(outputs) if node.op.name == "input"]
    return Graph(inputs, list(outputs), [f"y{i}" for i in range(len(outputs))])


def fused(*outputs: Value) -> list[list[str]]:
    """Of each kernel, in the order of their launches, what it computes, producers first."""
    return [[n.attrs.get("prim", n.op.name) for n in reversed(g.nodes)] for g in run(graph(*outputs))]


def concat(pieces: Sequence[Value]) -> Value:
    return make("concat", pieces, axis=0)[0]


def convolution(x: Value, taps: int, channels: int = 16, groups: int = 1) -> Value:
    """Without padding."""
    w = tensor(taps, taps, int(x.shape[-1]) // groups, channels, name="w")  # type: ignore[arg-type]
    ones = (1, 1)
    return make(
        "conv", [x, w], strides=ones, dilations=ones, pads_low=(0, 0), pads_high=(0, 0), groups=groups, acc=F32
    )[0]


def products(*shape: int) -> Value:
    return tensor(*shape).matmul(tensor(shape[-1], 8, name="w"))


# -- what is fused ---------------------------------------------------------------------------------------------------


def test_a_softmax_is_one_kernel() -> None:
    x = tensor(N, 100)
    e = (x - x.max(1, keepdims=True)).exp()
    assert fused(e / e.sum(1, keepdims=True)) == [["reduce", "reshape", "sub", "exp", "reduce", "reshape", "div"]]


def test_what_follows_a_product_is_its_epilogue() -> None:
    y = products(N, 16)
    assert fused((y + tensor(8, name="bias")).exp()) == [["matmul", "add", "exp"]]
    (group,) = run(graph((y + 1.0).exp()))
    assert group.anchor is y.node


def test_what_is_made_for_a_product_is_its_prologue() -> None:
    x, w = tensor(N, 16), tensor(16, 8, name="w")
    assert fused((x * 2.0 + 1.0).matmul(w)) == [["mul", "add", "matmul"]]
    assert fused((x * 2.0).permute(1, 0).matmul(tensor(N, 8, name="v"))) == [
        ["mul", "matmul"]
    ]  # views: where it is read
    (group,) = run(graph((x * x.exp()).matmul(w) + 1.0))
    assert [n.attrs.get("prim", n.op.name) for n in group.nodes] == ["add", "matmul", "mul", "exp"]


def test_the_prologue_of_a_convolution() -> None:
    x = tensor(1, 8, 8, 16)
    assert fused(convolution(x * 2.0, 3)) == [["mul", "conv"]]
    assert fused(convolution(x.exp(), 1)) == [["exp", "conv"]]


def test_views_are_computed_by_all_their_readers() -> None:
    flipped = tensor(4, 8).permute(1, 0)
    assert fused(flipped.exp(), flipped.sum(1)) == [["permute", "exp"], ["permute", "reduce"]]


def test_a_short_concat_is_read_in_place() -> None:
    x = tensor(3)
    assert fused(concat([x] * CONCAT_INLINE) * 2.0) == [["concat", "mul"]]


def test_the_pieces_of_a_concat_are_written_in_place() -> None:
    x = tensor(3)
    joined = concat([x.exp(), x * 2.0])
    groups = run(graph(joined))
    assert [g.offset for g in groups] == [(0, 0), (0, 3)]
    assert all(g.writes is joined for g in groups)


def test_what_depends_on_a_row_alone_is_computed_in_its_kernel() -> None:
    """Along the columns it is the same: it is taken out of their loop."""
    x = tensor(N, 8)
    assert fused(x * tensor(N, 1, name="scale").exp()) == [["exp", "mul"]]


def test_distinct_outputs() -> None:
    x = tensor(3)
    y = x.exp()
    made = distinct_outputs(Graph([x], [y, y, x, constant(y.const(1).data)], ["a", "b", "c", "d"]))  # type: ignore[arg-type]
    assert made.outputs[0] is y and len(set(made.outputs)) == 4
    assert [v.op for v in made.outputs] == ["map", "broadcast", "broadcast", "broadcast"]


# -- what is not, and why --------------------------------------------------------------------------------------------


def reasons(groups: Sequence[Group]) -> list[str]:
    return [reason.text for group in groups for reason in group.reasons]


def read_by_two_kernels() -> list[Value]:
    e = tensor(8, 8).exp()
    return [e.sum(1), e + 1.0]


def read_at_two_places() -> list[Value]:
    total = tensor(8, 8).sum(1)
    return [total.reshape(8, 1) + total]


def read_in_another_reduction() -> list[Value]:
    x = tensor(8, 8)
    return [(x * x.sum(1)).sum(1)]


def read_at_a_computed_place() -> list[Value]:
    return [tensor(8, 8).sum(1).reshape(2, 4) + 1.0]


def other_rows() -> list[Value]:
    x = tensor(6, 8, 8)
    return [x.sum(2) + x.sum((1, 2)).reshape(6, 1)]


def too_many_nodes() -> list[Value]:
    return [reduce(lambda v, _: v * 2.0, range(NODES + 1), tensor(8))]


def too_many_places() -> list[Value]:
    """A sum of all shifts of a value that is cheap, but computed."""
    x, n = tensor(16) * 2.0, PLACES + 1
    return [reduce(Value.__add__, [x.slice((i,), (8,)) for i in range(n)])]  # type: ignore[arg-type]


def one_row() -> list[Value]:
    return [tensor(8, 8).sum() * 2.0]


def long_concat() -> list[Value]:
    return [concat([tensor(3)] * (CONCAT_INLINE + 1)) * 2.0]


def expensive_at_two_places() -> list[Value]:
    e = tensor(8, 8).exp()
    return [e + e.permute(1, 0)]


def expensive_along_an_axis() -> list[Value]:
    return [tensor(8, 8) * tensor(8, name="b").exp()]


def expensive_in_a_window() -> list[Value]:
    return [tensor(10).exp().window((0,), (3,), (1,), (1,)).sum(1)]


def product_with_other_readers() -> list[Value]:
    y = products(8, 16)
    return [y, y + 1.0]


def product_that_a_product_reads() -> list[Value]:
    y = products(8, 16)
    return [y.matmul(tensor(8, 8, name="v")), y + 1.0]


def product_at_two_places() -> list[Value]:
    y = products(8, 16)
    return [y + y.permute(1, 0)]


def rows_of_a_product() -> list[Value]:
    return [products(8, 16).sum(1)]


def part_of_a_product() -> list[Value]:
    return [products(8, 16).slice((0, 0), (4, 8)) + 1.0]


def operand_with_other_readers() -> list[Value]:
    x = tensor(8, 8) * 2.0
    return [x.matmul(tensor(8, 8, name="w")), x]


def operand_that_is_both() -> list[Value]:
    x = tensor(8, 8) * 2.0
    return [x.matmul(x)]


def operand_at_several_places() -> list[Value]:
    return [(tensor(1, 8, 8) * 2.0).matmul(tensor(4, 8, 8, name="w"))]


def operand_for_many_columns() -> list[Value]:
    return [(tensor(N, 8) * 2.0).matmul(tensor(8, COLUMNS + 1, name="w"))]


def operand_of_few_rows_that_is_expensive() -> list[Value]:
    return [tensor(1, 8).exp().matmul(tensor(8, COLUMNS + 1, name="w"))]


def operand_of_taps() -> list[Value]:
    return [convolution(tensor(1, 8, 8, 16) * 2.0, 3, groups=16)]


def operand_of_taps_that_is_expensive() -> list[Value]:
    return [convolution(tensor(1, 8, 8, 16).exp(), 3)]


def operand_that_is_an_epilogue() -> list[Value]:
    return [(products(8, 16) * 2.0).matmul(tensor(8, 8, name="v"))]


def operand_of_rows() -> list[Value]:
    x = tensor(8, 8)
    return [(x - x.sum(1, keepdims=True)).matmul(tensor(8, 8, name="w"))]


def operand_that_is_looked_up() -> list[Value]:
    rows = tensor(100, 8).take(input_value("i", (4,), I64), 0)
    return [(rows * 2.0).matmul(tensor(8, 8, name="w"))]


@pytest.mark.parametrize(("build", "text"), [
    (read_by_two_kernels, "<map f32[8, 8]> is read by 2 kernels"),
    (read_at_two_places, "the reduction is read at different places of one row"),
    (read_in_another_reduction, "the reduction is read inside another reduction"),
    (read_at_a_computed_place, "the reduction is read through an index that is not a plain loop variable"),
    (other_rows, "its rows are not the rows of the kernel's other reductions"),
    (too_many_nodes, f"the kernel computes {NODES} nodes already"),
    (too_many_places, f"it would be computed {PLACES + 1} times for each element"),
    (one_row, "one row alone would make the kernel serial"),
    (long_concat, f"a concat of {CONCAT_INLINE + 1} pieces"),
    (expensive_at_two_places, "it would be computed 2 times for each element"),
    (expensive_along_an_axis, "it would be computed again along axis 0"),
    (expensive_in_a_window, "it would be computed again along a window"),
    (product_with_other_readers, "<matmul f32[8, 8]> has other readers"),
    (product_that_a_product_reads, "<matmul f32[8, 8]> has other readers"),
    (product_at_two_places, "<matmul f32[8, 8]> is read at several places"),
    (rows_of_a_product, "a row is reduced as a whole"),
    (part_of_a_product, "<matmul f32[8, 8]> is not read one-to-one"),
    (operand_with_other_readers, "<map f32[8, 8]> has other readers"),
    (operand_that_is_both, "<map f32[8, 8]> has other readers"),
    (operand_at_several_places, "<map f32[1, 8, 8]> is read at several places"),
    (operand_for_many_columns, f"it would be computed again for every {COLUMNS} columns"),
    (operand_of_few_rows_that_is_expensive, f"it would be computed again for every {COLUMNS} columns"),
    (operand_of_taps, "it would be computed again for every tap"),
    (operand_of_taps_that_is_expensive, "it would be computed again for every tap"),
    (operand_that_is_an_epilogue, "it is computed where <matmul f32[8, 8]> is made"),
    (operand_of_rows, "it is computed together with <reduce f32[8]>"),
    (operand_that_is_looked_up, "it is computed together with <gather f32[4, 8]>"),
])  # fmt: skip
def test_refusals(build: Callable[[], list[Value]], text: str) -> None:
    """Every kernel that is told a reason is told this one, and what it is about has a kernel of its own."""
    groups = run(graph(*build()))
    assert set(reasons(groups)) == {text}
    refused = {reason.value for group in groups for reason in group.reasons}
    assert refused <= {g.writes for g in groups}


def test_the_same_without_the_reason() -> None:
    """What each refusal turns on: read at one place, in rows of its own, once."""
    x, y = tensor(8, 8), tensor(8, name="b")
    for outputs in (
        [x.exp() + 1.0], [x.sum(1) + 1.0], [x.sum(1).reshape(8, 1) * x], [x.exp().permute(1, 0) + 1.0],
        [x * y.reshape(8, 1).exp()], [x * (y * 2.0)], [tensor(10).window((0,), (3,), (1,), (1,)).sum(1)],
        [products(8, 16) + 1.0],
    ):  # fmt: skip
        groups = run(graph(*outputs))
        assert len(groups) == 1 and not reasons(groups)


def test_an_index_is_no_reason() -> None:
    """Gathers read wherever data says."""
    x, where = tensor(8, 8), input_value("i", (4,), I64)
    assert fused((x * 2.0).take(where, 0) + 1.0) == [["mul", "gather", "add"]]
