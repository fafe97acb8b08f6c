"""Schedules of attention on an accelerator: blocks by the type of products and the width of rows."""

from __future__ import annotations

import pytest
from unit.schedule.bodies import N, launch_of, tensor

from intaglio.compiler.precision import Rounding
from intaglio.compiler.scalar.dim import Size
from intaglio.compiler.scalar.dtype import BF16, F16, F32, F64, DType
from intaglio.compiler.schedule.device.attention import AttentionSchedule, default
from intaglio.compiler.schedule.device.tile import MIN_DOT, PROGRAMS


def scheduled(
    dtype: DType = F16, batch: int = 64, m: Size = 1024, d: int = 64, rounding: Rounding = "ieee"
) -> AttentionSchedule:
    q, k, v = (tensor(batch, m, d, name=name, dtype=dtype) for name in "qkv")
    output = q.emit("attention", [q, k, v], scale=1.0, causal=None, zero_rows=False)[0]
    return default(launch_of(output).kernel, rounding)


@pytest.mark.parametrize(("dtype", "rounding", "kind"), [
    (F16, "ieee", "16 bits"), (BF16, "tf32", "16 bits"), (F32, "ieee", "f32"), (F32, "tf32", "tf32"),
    (F32, "bf16x3", "tf32"), (F64, "tf32", "f64"),
])  # fmt: skip
def test_kinds_of_products(dtype: DType, rounding: Rounding, kind: str) -> None:
    assert scheduled(dtype, rounding=rounding).kind == kind


def test_wider_rows_have_smaller_blocks() -> None:
    sizes = [made.m * made.n for made in (scheduled(F32, d=d) for d in (64, 128, 256))]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[-1]


def test_rows_too_wide_for_a_tile_go_in_parts() -> None:
    assert scheduled(d=512).d == scheduled(d=512).dv == 64
    assert scheduled(d=80).d == 128


def test_few_queries_are_cut_into_more_blocks() -> None:
    few, many = scheduled(batch=2), scheduled(batch=64)
    assert few.m < many.m
    assert 64 * 1024 // many.m >= PROGRAMS


def test_blocks_are_no_longer_than_the_rows() -> None:
    made = scheduled(m=5)
    assert (made.m, made.n) == (MIN_DOT, MIN_DOT)
    assert scheduled(m=N).m == 128


def test_the_number_of_queries_is_the_same_with_tf32() -> None:
    for d in (64, 128, 256):
        assert scheduled(F32, d=d).m == scheduled(F32, d=d, rounding="tf32").m
