"""The kernels that graphs become, as text: which loops there are, and what is read and written where."""

from __future__ import annotations

from textwrap import dedent

import numpy as np

from intaglio.compiler.graph.ir import OPS, Graph, Trait, Value, constant, input_value, make, reachable
from intaglio.compiler.kernel.program import Program
from intaglio.compiler.kernel.text import print_kernel
from intaglio.compiler.lower import bodies, fuse
from intaglio.compiler.lower.elements import Elements
from intaglio.compiler.lower.fuse import EPILOGUE, PROLOGUE
from intaglio.compiler.lower.groups import lower
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import F16, F32, I64, DType

N = Symbol("n")


def tensor(*shape: int | Symbol, name: str = "x", dtype: DType = F32) -> Value:
    return input_value(name, shape, dtype)


def lowered(*outputs: Value) -> Program:
    inputs = [node.outputs[0] for node in reachable(outputs) if node.op.name == "input"]
    return lower(Graph(inputs, list(outputs), [f"y{i}" for i in range(len(outputs))]))


def check(text: str, *outputs: Value) -> None:
    """The kernels of these outputs, one after the other, are those of the text."""
    made = "\n".join(print_kernel(launch.kernel) for launch in lowered(*outputs).launches)
    assert dedent(made) == dedent(text).strip("\n")


# -- loop nests ------------------------------------------------------------------------------------------------------


def test_pointwise() -> None:
    """Neighbours are one expression at one index."""
    check("""
        LoopNest params (f32[8*n], out f32[8*n]) sizes (n)
          outer (o0<n, o1<8)
          stage 0: exp(mul(b0[8*o0 + o1], 2.0)) -> b1[8*o0 + o1]
        """, (tensor(N, 8) * 2.0).exp())  # fmt: skip


def test_narrow_floats_are_computed_in_wider_ones() -> None:
    x = tensor(N, dtype=F16)
    check("""
        LoopNest params (f16[n], out f16[n]) sizes (n)
          outer (o0<n)
          stage 0: cast.f16(add(cast.f32(b0[o0]), cast.f32(b0[o0]))) -> b1[o0]
        """, x + x)  # fmt: skip


def test_views_are_indices() -> None:
    check("""
        LoopNest params (f32[8*n], out f32[8*n]) sizes (n)
          outer (o0<8, o1<n)
          stage 0: add(b0[o0 + 8*o1], 1.0) -> b1[n*o0 + o1]
        """, tensor(N, 8).permute(1, 0) + 1.0)  # fmt: skip


def test_outside_a_padded_tensor_no_memory_is_read() -> None:
    check("""
        LoopNest params (f32[8*n], out f32[10*n]) sizes (n)
          outer (o0<n, o1<10)
          stage 0: b0[8*o0 + o1 - 1] if and(le((1), (o1)), lt((o1), (9))) else 0.0 -> b1[10*o0 + o1]
        """, tensor(N, 8).pad((0, 1), (0, 1)))  # fmt: skip


def test_reductions_are_stages_before_what_reads_them() -> None:
    """Of a softmax: the exponentials of a row are kept, since two stages read them."""
    x = tensor(N, 8)
    e = (x - x.max(1, keepdims=True)).exp()
    check("""
        LoopNest params (f32[8*n], out f32[8*n]) sizes (n)
          outer (o0<n)
          stage 0: max over (r2<8) of b0[8*o0 + r2]
          stage 1: for (k1<8) exp(sub(b0[k1 + 8*o0], s0[0]))
          stage 2: add over (r3<8) of s1[r3]
          stage 3: for (o1<8) div(s1[o1], s2[0]) -> b1[8*o0 + o1]
        """, e / e.sum(1, keepdims=True))  # fmt: skip


def test_a_place_that_data_says_is_clamped() -> None:
    check("""
        LoopNest params (i64[4], f32[8*n], out f32[32]) sizes (n)
          outer (o0<4, o1<8)
          stage 0: let g1 = min(max(b0[o0], 0), (n - 1)); b1[8*g1 + o1] -> b2[8*o0 + o1]
        """, tensor(N, 8).take(tensor(4, name="i", dtype=I64), 0))  # fmt: skip


def test_a_scatter_is_a_copy_and_updates_in_order() -> None:
    x, updates, where = tensor(N, 8), tensor(4, 8, name="u"), tensor(4, name="i", dtype=I64)
    check("""
        LoopNest params (out f32[8*n], f32[8*n], i64[4], f32[32]) sizes (n)
          outer ()
          stage 0: for (k1<n, k2<8) b1[8*k1 + k2] -> b0[8*k1 + k2]
          stage 1: let g5 = min(max(b2[u3], 0), (n - 1)); for (u3<4, u4<8) b3[8*u3 + u4] -> add b0[8*g5 + u4]
        """, x.emit("scatter", [x, updates, where], axes=(0,), combine="add")[0])  # fmt: skip


def test_a_scan_runs_along_its_last_loop() -> None:
    x = tensor(N, 8)
    check("""
        LoopNest params (out f32[8*n], f32[8*n]) sizes (n)
          outer (o0<n)
          stage 0: for (k1<8) scan add of b1[k1 + 8*o0] -> b0[k1 + 8*o0]
        """, x.emit("scan", [x], kind="add", axis=1, exclusive=False, reverse=False)[0])  # fmt: skip


def test_pieces_of_a_concat_are_written_where_they_belong() -> None:
    x = tensor(N, 8)
    check("""
        LoopNest params (f32[8*n], out f32[16*n]) sizes (n)
          outer (o0<n, o1<8)
          stage 0: exp(b0[8*o0 + o1]) -> b1[16*o0 + o1]
        LoopNest params (f32[8*n], out f32[16*n]) sizes (n)
          outer (o0<n, o1<8)
          stage 0: mul(b0[8*o0 + o1], 2.0) -> b1[16*o0 + o1 + 8]
        """, make("concat", [x.exp(), x * 2.0], axis=1)[0])  # fmt: skip


def test_what_is_demanded_of_data_is_a_fault_of_the_kernel() -> None:
    x = tensor(N)
    y = x.require(x > 0.0, "x is positive") + 1.0
    check("""
        LoopNest params (f32[n], out f32[n]) sizes (n)
          outer (o0<n)
          stage 0: add(require0(lt(0.0, b0[o0]), b0[o0]), 1.0) -> b1[o0]
        """, y)  # fmt: skip
    program = lowered(y)
    (launch,) = program.launches
    assert launch.kernel.faults == 1
    assert [program.checks[number].text for number in launch.faults] == ["x is positive"]


# -- kernels that are templates --------------------------------------------------------------------------------------


def test_a_product_with_its_epilogue() -> None:
    """Of constants only the buffer is named: how they lie there, their packing says."""
    w = constant(np.ones((8, 16), np.float32))
    check("""
        Matmul params (f32[8*n], f32[128], out f32[16*n]) sizes (n)
          batch = ()
          m = m<n
          n = n<16
          k = k<8
          a = b0[k + 8*m]
          b = b1[0]
          acc = f32
          epilogue: add(acc, 1.0) -> b2[16*m + n]
          packing = plain
          blocks = None
        """, tensor(N, 8).matmul(w) + 1.0)  # fmt: skip


def test_attention() -> None:
    q, k, v = (tensor(2, N, 8, name=name) for name in "qkv")
    check("""
        Attention params (f32[16*n], f32[16*n], f32[16*n], out f32[16*n]) sizes (n)
          batch = (b0<2)
          m = m<n
          n = n<n
          d = d<8
          dv = e<8
          q = b0[8*b0*n + d + 8*m]
          k = b1[8*b0*n + d + 8*n]
          v = b2[8*b0*n + e + 8*n]
          mask = None
          scale = 0.5
          causal = None
          epilogue: acc -> b3[8*b0*n + e + 8*m]
          zero_rows = False
        """, q.emit("attention", [q, k, v], scale=0.5, causal=None, zero_rows=False)[0])  # fmt: skip


def test_the_first_of_sorted_rows() -> None:
    """Only what is read gets a buffer among the outputs; the indices are written all the same."""
    x = tensor(N, 8)
    check("""
        Sort params (f32[8*n], out f32[3*n], out i64[3*n]) sizes (n)
          outer = (o0<n)
          i = i<8
          j = j<3
          x = b0[i + 8*o0]
          descending = True
          values = Store(buffer=1, index=j + 3*o0, combine=None)
          indices = Store(buffer=2, index=j + 3*o0, combine=None)
          index_dtype = i64
          begins = None
          column = None
        """, x.emit("sort", [x], axis=1, descending=True, k=3)[0])  # fmt: skip


# -- programs --------------------------------------------------------------------------------------------------------


def test_what_lies_between_kernels_is_in_the_arena() -> None:
    x = tensor(N, 8)
    e = x.exp()
    program = lowered(e.sum(1), e + 1.0)
    assert [(b.kind, b.size) for b in program.buffers] == [
        ("input", 8 * N), ("output", N), ("output", 8 * N), ("arena", 8 * N)
    ]  # fmt: skip
    assert [launch.buffers for launch in program.launches] == [(0, 3), (3, 1), (3, 2)]


def test_what_depends_on_constants_alone_is_a_weight() -> None:
    """It is computed when the artifact is written."""
    w = constant(np.arange(4, dtype=np.float32))
    program = lowered(tensor(N, 4) + (w * 2.0).exp())
    assert len(program.launches) == 1
    assert [weight.value.op for weight in program.weights] == ["map"]


def test_nothing_is_computed_that_nobody_reads() -> None:
    x = tensor(N)
    x.exp()
    assert len(lowered(x + 1.0).launches) == 1


def test_every_operation_has_a_lowering() -> None:
    """A body of its own where it is heavy, a rule for its elements elsewhere; sub-graphs and functions of the
    host are steps."""
    heavy = {name for name, op in OPS.items() if Trait.HEAVY in op.traits}
    assert heavy == {*bodies.ANCHORS, "branch", "loop", "host"}
    assert {*EPILOGUE, *PROLOGUE} <= heavy
    for name, op in OPS.items():
        if not op.traits & (Trait.HEAVY | Trait.LEAF | Trait.INDEX):
            assert hasattr(Elements, f"_{name}"), name


def test_traits_of_views() -> None:
    """What they promise, of some of each."""
    x = input_value("x", (3, 4), F32)
    views = {
        "reshape": x.reshape(2, 6), "permute": x.permute(1, 0), "broadcast": x.broadcast(2, 3, 4),
        "slice": x.slice((1, 0), (2, 4)), "pad": make("pad", [x], low=(1, 0), high=(0, 2), value=0)[0],
        "window": x.window((1,), (2,), (1,), (1,)), "ensure_shape": make("ensure_shape", [x], shape=(3, 4), text="")[0],
    }  # fmt: skip
    assert set(views) == {name for name, op in OPS.items() if Trait.VIEW in op.traits}
    data = np.arange(1, 13, dtype=np.float32).reshape(3, 4)
    for name, value in views.items():
        (got,) = OPS[name].evaluate([data], value.node.attrs)
        traits = OPS[name].traits
        assert set(got.flat) <= {0, *data.flat}
        assert (sorted(got.flat) == list(data.flat)) == (Trait.BIJECTIVE in traits), name
        assert (list(got.flat) == list(data.flat)) == (Trait.SAME_ORDER in traits), name


# -- watched values --------------------------------------------------------------------------------------------------


def watched(output: Value, *values: Value) -> str:
    inputs = [node.outputs[0] for node in reachable([output]) if node.op.name == "input"]
    program = lower(Graph(inputs, [output], ["y"]), watched=values)
    assert program.graph.outputs == [output, *values]
    return "\n".join(print_kernel(launch.kernel) for launch in program.launches)


def test_a_watched_value_inside_of_a_kernel_is_written_by_it_and_nothing_else_changes() -> None:
    x = tensor(N, 8)
    total = x.sum(1, keepdims=True)
    part = (x * 2.0).exp()
    y = part / total
    check("""
        LoopNest params (f32[8*n], out f32[8*n]) sizes (n)
          outer (o0<n)
          stage 0: add over (r1<8) of b0[8*o0 + r1]
          stage 1: for (o1<8) div(exp(mul(b0[8*o0 + o1], 2.0)), s0[0]) -> b1[8*o0 + o1]
        """, y)  # fmt: skip
    assert dedent(watched(y, part)) == dedent("""\
        LoopNest params (f32[8*n], out f32[8*n], out f32[8*n]) sizes (n)
          outer (o0<n)
          stage 0: for (w1<8) exp(mul(b0[8*o0 + w1], 2.0)) -> b1[8*o0 + w1]
          stage 1: add over (r2<8) of b0[8*o0 + r2]
          stage 2: for (o1<8) div(exp(mul(b0[8*o0 + o1], 2.0)), s1[0]) -> b2[8*o0 + o1]""")


def test_a_watched_accumulator_is_written_beside_what_the_epilogue_makes_of_it() -> None:
    product = tensor(N, 4, name="a").matmul(constant(np.ones((4, 6), np.float32)))
    text = watched((product + 1.0).exp(), product)
    assert "acc -> b" in text and "exp(add(acc, 1.0)) -> b" in text


def test_a_watched_value_that_has_a_buffer_changes_no_kernel() -> None:
    a = tensor(N, 4, name="a").matmul(constant(np.ones((4, 6), np.float32)))
    b = a.matmul(constant(np.ones((6, 3), np.float32)))
    assert watched(b, a) == "\n".join(print_kernel(launch.kernel) for launch in lowered(b).launches)


def test_what_is_read_at_other_places_is_not_watched() -> None:
    """Of a slice, a part is computed alone; of what is gathered, any element, any number of times."""
    part = make("slice", [tensor(N, 8) * 2.0], starts=(0, 2), sizes=(N, 4), steps=(1, 1))[0].exp()
    (group,) = fuse.run(Graph([], [part], ["y"]))
    assert fuse.stored(group) == [part] and fuse.inside(group) == []
