"""The steps of graphs that decide something while they run, as text; `test_control_flow.py` follows them into C."""

from __future__ import annotations

from textwrap import dedent

import numpy as np

from intaglio.compiler.graph.ir import Graph, Value, constant, input_value, make
from intaglio.compiler.kernel.text import print_program
from intaglio.compiler.lower.groups import lower
from intaglio.compiler.scalar.dim import Symbol
from intaglio.compiler.scalar.dtype import BOOL, F32, I64

B, N, INDEX = Symbol("b"), Symbol("n"), Symbol("i", 0, 7)


def check(graph: Graph, text: str) -> None:
    """The steps, without their kernels."""
    lines = [line for line in print_program(lower(graph)).split("\n") if not _of_kernel(line)]
    assert "\n".join(line.split("  # ")[0].rstrip() for line in lines).strip() == dedent(text).strip()


def _of_kernel(line: str) -> bool:
    return line.strip().startswith(("LoopNest ", "outer ", "stage "))


def test_a_size_is_bound_and_checked_before_it_is_used() -> None:
    x = input_value("x", (B,), F32)
    check(Graph([x], [x.narrow(0, 0, N).exp()], ["y"], {N: (x > 0).cast(I64).sum()}), """
        %0 = input 0 f32[b]
        %1 = output 0 f32[n]
        %2 = arena 2 i64[1]
        step 0: kernel 0 (%0, %2) [b]
        bind n = %2
        check n - 1 <= b - 1 unless n <= 0
        step 1: kernel 1 (%0, %1) [n, b]
        """)  # fmt: skip


def test_both_sides_of_a_branch_write_its_result() -> None:
    """Also one that only passes on what it is given."""
    c, x, v = input_value("c", (), BOOL), input_value("x", (B,), F32), input_value("v", (B,), F32)
    (y,) = make("branch", [c, x], then=Graph([v], [v.exp()], ["r"]), otherwise=Graph([v], [v], ["r"]))
    check(Graph([c, x], [y], ["y"]), """
        %0 = input 0 bool[1]
        %1 = input 1 f32[b]
        %2 = output 0 f32[b]
        if %0
          step 0: kernel 0 (%1, %2) [b]
        else
          step 1: kernel 1 (%1, %2) [b]
        """)  # fmt: skip


def loop(asks: bool) -> Graph:
    """A state that is doubled seven times, and the rows of its sums; or as long as these are below 100."""
    x, s, index = input_value("x", (B,), F32), input_value("s", (B,), F32), input_value("i", (), I64)
    index.content = np.array(INDEX, object)
    doubled = s * 2.0
    total = doubled.sum()
    go_on: Value = total < 100 if asks else constant(np.array(True))
    body = Graph([index, s], [go_on, doubled, total], ["c", "t", "sum"])
    outputs = make("loop", [constant(np.array(True)), x], body=body, trips=7, states=1)
    return Graph([x], list(outputs), ["count", "s", "sums"])


def test_the_states_of_a_loop_are_its_results() -> None:
    """They are copied there before it, and anew at the end of each iteration; a row goes where the index says."""
    check(loop(asks=False), """
        %0 = input 0 f32[b]
        %1 = output 0 i64[1]
        %2 = output 1 f32[b]
        %3 = output 2 f32[7]
        %4 = arena 4 f32[b]
        %5 = arena 5 f32[1]
        step 0: kernel 0 (%0, %2) [b]
        loop i < 7, %1 = iterations
          step 1: kernel 1 (%2, %4) [b]
          step 2: kernel 2 (%4, %5) [b]
          step 3: kernel 0 (%4, %2) [b]
          step 4: kernel 3 (%5, %3) [i]
        """)  # fmt: skip


def test_a_loop_that_asks_has_its_condition_in_a_buffer() -> None:
    text = print_program(lower(loop(asks=True)))
    (head,) = (line for line in text.split("\n") if line.startswith("loop "))
    condition = head.split("while ")[1].split(",")[0]
    assert f"{condition} = arena" in text
    assert text.count(f", {condition}) ") == 2  # what is written there: before the loop, and in it


def test_an_output_of_constants_is_a_copy_of_a_weight() -> None:
    w = constant(np.zeros(3, np.float32))
    check(Graph([], [w * 2.0], ["y"]), """
        %0 = output 0 f32[3]
        %1 = weight 0 f32[3]
        step 0: kernel 0 (%1, %0) []
        """)  # fmt: skip
