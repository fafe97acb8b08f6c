"""Determinants and inverses of matrices: ONNX's Det, and com.microsoft.Inverse.

In: values and attributes of a node, matrices [..., N, N]. Out: values. Gauss-Jordan elimination, in a loop over the
columns; determinants of small matrices of constant size are written out.
"""

from __future__ import annotations

from ...graph.ir import Value
from ...scalar.dim import Symbol, prod
from ..registry import Capture, in_compute_type, onnx_op
from ..values import concat
from .contrib import DOMAIN
from .control import repeated
from .index import iota

WRITTEN_OUT = 4  # rows up to which a determinant is Laplace's expansion


def _square(x: Value) -> Value:
    """x, with a check that its matrices are square."""
    if x.rank < 2:
        raise ValueError(f"matrices in a tensor of rank {x.rank}")
    size = next((d for d in x.shape[-2:] if isinstance(d, int)), x.shape[-1])
    return x.ensure_shape(*x.shape[:-2], size, size, text="a matrix that has a determinant, or an inverse, is square")


def _pivoted(rows: Value, i: Symbol, index: Value) -> tuple[Value, Value, Value]:
    """rows [B, N, M] with the one of the largest element of column i, from row i on, in place of row i.

    Returns them, that element [B, 1], and whether rows were exchanged [B, 1]."""
    place = iota((1, rows.shape[1]), 1, index)
    size = (place >= index).select(rows.narrow(2, i, 1).squeeze(2).map("abs"), -1.0)
    best = size.emit("argreduce", [size], kind="max", axis=1, last=False)[0]  # [B]
    top = rows.gather([iota(best.shape, 0, best), best], [0, 1]).unsqueeze(1)  # [B, 1, M]
    place, best = place.unsqueeze(2), best.reshape(-1, 1, 1)
    swapped = place.map("eq", best).select(rows.narrow(1, i, 1), rows)
    swapped = place.map("eq", index).select(top, swapped)
    return swapped, top.narrow(2, i, 1).squeeze(2), best.map("ne", index).squeeze(2)


def _eliminated(rows: Value, i: Symbol, index: Value, pivot: Value) -> Value:
    """rows [B, N, M] with row i divided by the pivot [B, 1], and column i removed from the others."""
    row = rows.narrow(1, i, 1) / pivot.unsqueeze(2)
    own = iota((1, rows.shape[1], 1), 1, index).map("eq", index)
    return own.select(row, rows - rows.narrow(2, i, 1) * row)


@onnx_op("Inverse", domain=DOMAIN)
@in_compute_type
def inverse(x: Value) -> Value:
    x = _square(x)
    *lead, size, _ = x.shape
    unit = iota((size, 1), 0, x).map("eq", iota((1, size), 1, x)).cast(x.dtype)
    both = concat([x.reshape(prod(lead), size, size), unit.broadcast(prod(lead), size, size)], 2)

    def step(i: Symbol, index: Value, capture: Capture, *states: Value) -> tuple[list[Value], list[Value]]:
        rows, pivot, _ = _pivoted(states[0], i, index)
        return [_eliminated(rows, i, index, pivot)], []

    (solved,), _ = repeated(size, [both], step)
    return solved.narrow(2, size, size).reshape(*x.shape)


@onnx_op("Det", since=11)
@in_compute_type
def det(x: Value) -> Value:
    x = _square(x)
    *lead, size, _ = x.shape
    if isinstance(size, int) and size <= WRITTEN_OUT:
        return _expanded(x, size)

    def step(i: Symbol, index: Value, capture: Capture, *states: Value) -> tuple[list[Value], list[Value]]:
        rows, pivot, exchanged = _pivoted(states[0], i, index)
        total = states[1] * exchanged.select(-pivot, pivot)
        divisor = pivot.map("eq", 0.0).select(1.0, pivot)  # the determinant is 0 whatever follows
        return [_eliminated(rows, i, index, divisor), total], []

    (_, total), _ = repeated(size, [x.reshape(prod(lead), size, size), x.const(1.0).broadcast(prod(lead), 1)], step)
    return total.reshape(*lead)


def _expanded(x: Value, size: int) -> Value:
    """The determinant by Laplace's expansion."""
    cells = [[x.narrow(-2, i, 1).narrow(-1, j, 1).squeeze(-1, -2) for j in range(size)] for i in range(size)]

    def minor(row: int, columns: tuple[int, ...]) -> Value:
        if not columns:
            return x.const(1.0)
        total: Value | None = None
        for n, j in enumerate(columns):
            part = cells[row][j] * minor(row + 1, columns[:n] + columns[n + 1 :])
            total = part if total is None else total - part if n % 2 else total + part
        assert total is not None
        return total

    return minor(0, tuple(range(size)))
