"""ONNX operators that are matrix products: MatMul, Gemm, Einsum.

In: values and attributes of a node. Out: values of the dtype of the operands.
"""

from __future__ import annotations

from ...errors import Unsupported
from ...graph.ir import Value
from ...scalar.dim import Size, known_eq, prod
from ...scalar.dtype import I64, DType
from ..registry import onnx_op


def product(a: Value, b: Value, dtype: DType | None = None) -> Value:
    """The product of numpy's matmul, also of vectors. dtype: of the result, by default that of the operands."""
    if not a.rank or not b.rank:
        raise ValueError("a matrix product of a scalar")
    x = a.unsqueeze(0) if a.rank == 1 else a
    y = b.unsqueeze(1) if b.rank == 1 else b
    out = x.matmul(y, acc=dtype)
    if a.rank == 1:
        out = out.squeeze(-2)
    return out.squeeze(-1) if b.rank == 1 else out


@onnx_op("MatMul")
def matmul(a: Value, b: Value) -> Value:
    return product(a, b)


@onnx_op("Gemm", since=7)
def gemm(
    a: Value, b: Value, c: Value | None = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,
    transB: int = 0,
) -> Value:  # fmt: skip
    if a.rank != 2 or b.rank != 2:
        raise ValueError(f"matrices of rank {a.rank} and {b.rank}")
    if not a.dtype.is_float and (alpha % 1 or beta % 1):
        raise Unsupported(f"alpha={alpha}, beta={beta} with elements of type {a.dtype}")
    wide = a.dtype.compute  # narrow floats are rounded once, after c is added
    y = product(a.permute(1, 0) if transA else a, b.permute(1, 0) if transB else b, wide)
    if alpha != 1.0:
        y = y * alpha
    if c is not None and beta != 0.0:
        c = c.cast(wide).broadcast(*y.shape)
        y = y + (c if beta == 1.0 else c * beta)
    return y.cast(a.dtype)


@onnx_op("Gemm")
def gemm_legacy(
    a: Value, b: Value, c: Value, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0,
    broadcast: int = 0,
) -> Value:  # fmt: skip
    return gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)


# -- einsum ----------------------------------------------------------------------------------------------------------


@onnx_op("Einsum", since=12)
def einsum(*operands: Value, equation: str) -> Value:
    """Multiplies the operands from left to right; an index is summed as soon as no later term needs it."""
    terms, result = _parse(equation, [v.rank for v in operands])
    values = [_diagonal(v, term) for v, term in zip(operands, terms)]
    left, names = values[0]
    for i in range(1, len(values)):
        needed = set(result).union(*(n for _, n in values[i + 1 :]))
        left, names = _join(left, names, *values[i], needed)
    summed = [a for a, n in enumerate(names) if n not in result]
    left, names = left.sum(summed), [n for n in names if n in result]
    return left.permute(*(names.index(n) for n in result))


def _parse(equation: str, ranks: list[int]) -> tuple[list[list[str]], list[str]]:
    """The index names of the operands and the result; axes of an ellipsis are named by their distance from its end."""
    text = equation.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(f"equation '{equation}' for {len(ranks)} operands")
    widest = 0

    def expand(term: str, rank: int | None) -> list[str]:
        nonlocal widest
        head, dots, tail = term.partition("...")
        if not (head + tail).isalpha() and head + tail:
            raise ValueError(f"equation '{equation}' is malformed")
        if rank is not None:
            count = rank - len(head) - len(tail)
            if count < 0 or (count and not dots):
                raise ValueError(f"term '{term}' does not fit rank {rank}")
            widest = max(widest, count)
        else:
            count = widest
        return [*head, *(f".{i}" for i in reversed(range(count))), *tail] if dots else [*head]

    names = [expand(term, rank) for term, rank in zip(terms, ranks)]
    if arrow:
        return names, expand(right, None)
    flat = [n for term in names for n in term]
    once = sorted(n for n in set(flat) if flat.count(n) == 1 and not n.startswith("."))
    return names, [*(f".{i}" for i in reversed(range(widest))), *once]


def _diagonal(x: Value, names: list[str]) -> tuple[Value, list[str]]:
    """An operand with each repeated index reduced to the diagonal of its axes."""
    for name in dict.fromkeys(names):
        axes = [i for i, n in enumerate(names) if n == name]
        if len(axes) > 1:
            dim = x.shape[axes[0]]
            same = [dim if i in axes else d for i, d in enumerate(x.shape)]
            x = x.ensure_shape(*same, text=f"the axes of index '{name}' differ")
            at = x.emit("iota", [], shape=(dim,), axis=0, dtype=I64)[0]
            x = x.gather([at] * len(axes), axes)
            names = [n for i, n in enumerate(names) if i not in axes[1:]]
    return x, names


def _join(a: Value, a_names: list[str], b: Value, b_names: list[str], needed: set[str]) -> tuple[Value, list[str]]:
    """The product of two operands, summed over the indices that are not `needed` afterwards."""
    a, a_names = _summed(a, a_names, needed | set(b_names))
    b, b_names = _summed(b, b_names, needed | set(a_names))
    shared = [n for n in a_names if n in b_names]
    batch = [n for n in shared if n in needed]
    inner = [n for n in shared if n not in needed]
    rows = [n for n in a_names if n not in shared]
    columns = [n for n in b_names if n not in shared]
    a_dims, b_dims = dict(zip(a_names, a.shape)), dict(zip(b_names, b.shape))
    dims: dict[str, Size] = {**a_dims, **b_dims}
    for n in shared:  # an axis of an ellipsis may be 1 in either operand, and broadcasts
        dims[n] = b_dims[n] if a_dims[n] == 1 else a_dims[n]
        if b_dims[n] != 1 and a_dims[n] != 1 and known_eq(a_dims[n], b_dims[n]) is False:
            raise ValueError(f"index '{n}' is {a_dims[n]} and {b_dims[n]}")
    a = a.permute(*(a_names.index(n) for n in (*batch, *rows, *inner)))
    b = b.permute(*(b_names.index(n) for n in (*batch, *inner, *columns)))
    a = a.broadcast(*(dims[n] for n in (*batch, *rows, *inner)))
    b = b.broadcast(*(dims[n] for n in (*batch, *inner, *columns)))
    kept = [*batch, *rows, *columns]
    if not inner:
        a = a.reshape(*(dims[n] for n in (*batch, *rows)), *[1] * len(columns))
        b = b.reshape(*(dims[n] for n in batch), *[1] * len(rows), *(dims[n] for n in columns))
        return a * b, kept

    def size(names: list[str]) -> Size:
        return prod(dims[n] for n in names)

    x = a.reshape(*(dims[n] for n in batch), size(rows), size(inner))
    y = b.reshape(*(dims[n] for n in batch), size(inner), size(columns))
    return product(x, y).reshape(*(dims[n] for n in kept)), kept


def _summed(x: Value, names: list[str], needed: set[str]) -> tuple[Value, list[str]]:
    axes = [i for i, n in enumerate(names) if n not in needed]
    return (x.sum(axes), [n for n in names if n in needed]) if axes else (x, names)
