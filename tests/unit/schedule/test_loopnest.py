"""What schedules make of loop nests, as text: which loops are outer, and what lies in a block."""

from __future__ import annotations

from dataclasses import fields, replace
from textwrap import dedent

import pytest
from unit.schedule.bodies import N, launch_of, nest, tensor

from intaglio.compiler.graph.ir import Value
from intaglio.compiler.kernel.text import print_kernel
from intaglio.compiler.schedule.loopnest import LoopNestSchedule, arranged, default, legal, space
from intaglio.compiler.target import target

V3 = target("x86-64-v3")
BODY = nest(tensor(N, 8) * 2.0)


def check(text: str, output: Value, **how: int) -> None:
    """The loops of the kernel that computes an output, by a schedule with these numbers."""
    kernel = launch_of(output).kernel
    made = print_kernel(replace(kernel, body=arranged(nest(output), LoopNestSchedule(**how))))
    assert dedent("\n".join(made.split("\n")[1:])) == dedent(text).strip("\n")


def scan(x: Value, axis: int) -> Value:
    return x.emit("scan", [x], kind="add", axis=axis, exclusive=False, reverse=False)[0]


def test_neighbours_in_memory_are_one_loop_in_blocks() -> None:
    check("""
        outer (o0o1b<2)
        stage 0: for (o0o1i<64) mul(b0[64*o0o1b + o0o1i], 2.0) -> b1[64*o0o1b + o0o1i]
        """, tensor(16, 8) * 2.0, points=64)  # fmt: skip


def test_the_last_block_is_as_long_as_what_is_left() -> None:
    check("""
        outer (o0b<(n + 63)//64)
        stage 0: for (o0i<min(n - 64*o0b, 64)) mul(b0[64*o0b + o0i], 2.0) -> b1[64*o0b + o0i]
        """, tensor(N) * 2.0, points=64)  # fmt: skip


def test_what_fits_a_block_is_one() -> None:
    check("""
        outer ()
        stage 0: for (o0o1i<32) mul(b0[o0o1i], 2.0) -> b1[o0o1i]
        """, tensor(4, 8) * 2.0, points=64)  # fmt: skip


def test_a_short_axis_takes_the_next_one_in() -> None:
    output = tensor(100, 4) * tensor(4, name="b")
    check("""
        outer (o0b<25)
        stage 0: for (o0i<4, o1i<4) mul(b0[16*o0b + 4*o0i + o1i], b1[o1i]) -> b2[16*o0b + 4*o0i + o1i]
        """, output, points=64, short=16)  # fmt: skip
    check("""
        outer (o0<100)
        stage 0: for (o1i<4) mul(b0[4*o0 + o1i], b1[o1i]) -> b2[4*o0 + o1i]
        """, output, points=64, short=3)  # fmt: skip


def test_a_transpose_goes_in_squares() -> None:
    check("""
        outer (o0b<2, o1b<3)
        stage 0: for (o0i<32, o1i<32) b0[32*o0b + o0i + 2048*o1b + 64*o1i] -> b1[3072*o0b + 96*o0i + 32*o1b + o1i]
        """, tensor(96, 64).permute(1, 0), square=32)  # fmt: skip


def test_divisions_vanish_from_indices() -> None:
    """An axis that is divided is split."""
    check("""
        outer (o0<3)
        stage 0: for (o1h0i<4, o1l0i<8) mul(b0[8*o0 + 24*o1h0i + o1l0i], 2.0) -> b1[32*o0 + 8*o1h0i + o1l0i]
        """, tensor(4, 3, 8).permute(1, 0, 2).reshape(3, 32) * 2.0)  # fmt: skip


def test_loops_of_one_iteration_are_none() -> None:
    check("""
        outer (o1b<(n + 7)//8)
        stage 0: for (o1i<min(n - 8*o1b, 8)) mul(b0[8*o1b + o1i], 2.0) -> b1[8*o1b + o1i]
        """, tensor(1, N, 1) * 2.0, points=8)  # fmt: skip


def test_a_reduction_along_rows_stays_with_its_row() -> None:
    check("""
        outer (o0<n)
        stage 0: add over (r1<100) of b0[100*o0 + r1]
        stage 1: s0[0] -> b1[o0]
        """, tensor(N, 100).sum(1))  # fmt: skip


def test_a_reduction_across_rows_takes_neighbouring_columns_at_once() -> None:
    check("""
        outer (o0b<2)
        stage 0: for (o0i<64) add over (r1<100) of b0[64*o0b + o0i + 128*r1]
        stage 1: for (o0i<64) s0[o0i] -> b1[64*o0b + o0i]
        """, tensor(100, 128).sum(0), columns=64)  # fmt: skip


def test_a_scan_across_rows_goes_in_blocks_of_columns() -> None:
    check("""
        outer (o1b<2)
        stage 0: for (o1i<64, k1<8) scan add of b1[128*k1 + 64*o1b + o1i] -> b0[128*k1 + 64*o1b + o1i]
        """, scan(tensor(8, 128), 0), scanned=64)  # fmt: skip
    check("""
        outer (o1<128)
        stage 0: for (k1<8) scan add of b1[128*k1 + o1] -> b0[128*k1 + o1]
        """, scan(tensor(8, 128), 0), scanned=0)  # fmt: skip


def test_a_scan_along_rows_stays_as_it_is() -> None:
    check("""
        outer (o0<n)
        stage 0: for (k1<8) scan add of b1[k1 + 8*o0] -> b0[k1 + 8*o0]
        """, scan(tensor(N, 8), 1), scanned=64)  # fmt: skip


def test_the_default() -> None:
    """The same for all nests."""
    assert default(BODY, V3) == LoopNestSchedule() == default(nest(tensor(N, 8).sum(1)), V3)


def test_what_can_be_tried() -> None:
    found = list(space(BODY, V3))
    assert found[0] == default(BODY, V3)
    assert len(found) == len(set(found)) == 1 + 2 * len(fields(LoopNestSchedule))
    assert all(legal(BODY, each, V3) is None for each in found)


@pytest.mark.parametrize("name", [f.name for f in fields(LoopNestSchedule)])
def test_no_number_is_less_than_one(name: str) -> None:
    """But that of columns that are scanned side by side: 0 for none."""
    least = 0 if name == "scanned" else 1
    for number in (least, least + 1, 7):
        assert legal(BODY, LoopNestSchedule(**{name: number}), V3) is None
    assert legal(BODY, LoopNestSchedule(**{name: least - 1}), V3) == "all numbers are at least 1"
