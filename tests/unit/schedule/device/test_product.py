"""Schedules of products on an accelerator: tiles fit the matrix, and there are enough of them."""

from __future__ import annotations

import pytest
from unit.schedule.bodies import N, launch_of, tensor

from intaglio.compiler.graph.ir import Value
from intaglio.compiler.kernel.ir import Matmul
from intaglio.compiler.scalar.dim import Size
from intaglio.compiler.scalar.dtype import BF16, F16, F32, F64, I8, I32, DType
from intaglio.compiler.schedule.device.product import ProductSchedule, default, factors, has_dot
from intaglio.compiler.schedule.device.tile import MIN_DOT, PROGRAMS


def scheduled(
    m: Size, n: int, k: int, dtype: DType = F16, acc: DType = F32, batch: tuple[int, ...] = ()
) -> ProductSchedule:
    return default(launch_of(product(m, n, k, dtype, acc, batch)).kernel, False)


def product(m: Size, n: int, k: int, dtype: DType, acc: DType, batch: tuple[int, ...] = ()) -> Value:
    return tensor(*batch, m, k, dtype=dtype).matmul(tensor(k, n, name="w", dtype=dtype), acc=acc)


@pytest.mark.parametrize(("dtype", "acc", "form"), [
    (F16, F32, "dot"), (BF16, F32, "dot"), (F32, F32, "dot"), (I8, I32, "dot"), (F64, F64, "outer"),
    (I32, I32, "outer"),
])  # fmt: skip
def test_matrix_units_where_there_are_any(dtype: DType, acc: DType, form: str) -> None:
    made = scheduled(512, 512, 512, dtype, acc)
    assert made.form == form
    assert made.depth == 1 if form == "outer" else made.depth >= MIN_DOT


def test_one_row_reads_the_matrix() -> None:
    made = scheduled(1, 4096, 512)
    assert (made.form, made.rows) == ("inner", 1)
    assert made.programs(1, 4096) >= PROGRAMS  # type: ignore[operator]


def test_large_products_have_large_tiles_and_small_ones_many() -> None:
    large, small = scheduled(8192, 8192, 512), scheduled(256, 256, 512)
    assert (large.rows, large.columns) == (128, 128)
    assert small.rows * small.columns < large.rows * large.columns


def test_tiles_are_no_longer_than_the_matrix() -> None:
    made = scheduled(20, 30, 40)
    assert (made.rows, made.columns) == (32, 32)
    assert made.depth <= 64


def test_unknown_rows_are_taken_for_some() -> None:
    assert scheduled(N, 4096, 512) == scheduled(1024, 4096, 512)


def test_a_batch_makes_programs() -> None:
    assert scheduled(256, 256, 64, batch=(64,)).rows == 128


@pytest.mark.parametrize("k", [16, 48, 64, 100, 1000])
def test_blocks_of_k_waste_little(k: int) -> None:
    made = scheduled(512, 512, k)
    assert -(-k // made.depth) * made.depth - k < max(32, made.depth // 2)


@pytest.mark.parametrize("dtype", [F16, F32, I8], ids=str)
def test_blocks_on_their_way_fit_shared_memory(dtype: DType) -> None:
    made = scheduled(8192, 8192, 4096, dtype, I32 if dtype == I8 else F32)
    assert made.stages * (made.rows + made.columns) * made.depth * dtype.itemsize <= 96 << 10


def test_factors_are_narrow_where_both_are() -> None:
    body = launch_of(product(64, 64, 64, F16, F32)).kernel.body
    assert isinstance(body, Matmul)
    assert [e.dtype for e in factors(body.a, body.b, F32)] == [F16, F16]
    assert [e.dtype for e in factors(body.a, body.b * 2.0, F32)] == [F32, F32]
    assert has_dot(F16) and not has_dot(F64)
