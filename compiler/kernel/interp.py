"""What a kernel means, in numpy: the living definition of the kernel IR. Slow, and meant to be read.

In: a Kernel, its buffers as flat arrays (one per parameter) and its sizes. Out: the written buffers, changed in place;
ValueError where a `Require` does not hold.
Every outer point is a step of a Python loop; inner axes are axes of arrays, evaluated at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..graph.ops.nms import apart
from ..graph.ops.trees import combined
from ..scalar import prims
from ..scalar.dim import FloorDiv, Max, Min, Mod, Size, Symbol, extent
from ..scalar.dtype import I64, DType, from_numpy
from ..scalar.expr import Acc, Call, Const, Expr, Index, Load, Local, Require, Var, walk
from .ir import Kernel, LoopNest, Matmul, Nms, Nonzero, Sort, Stage, Trees
from .packing import Packing

Array = npt.NDArray[Any]
Env = dict[Symbol, Array]


def run(kernel: Kernel, buffers: Sequence[Array], sizes: Sequence[int]) -> None:
    """Runs the kernel on flat buffers. Raises NotImplementedError for bodies that have no definition here."""
    env: Env = {s: np.asarray(v, np.int64) for s, v in zip(kernel.sizes, sizes, strict=True)}
    body = kernel.body
    if isinstance(body, LoopNest):
        for point in _points(body.outer, env):
            run_stages(body.stages, buffers, point)
    elif isinstance(body, Matmul):
        _run_matmul(body, buffers, env)
    elif isinstance(body, Sort):
        for point in _points(body.outer, env):
            _run_sort(body, buffers, point)
    elif isinstance(body, Nonzero):
        _run_nonzero(body, buffers, env)
    elif isinstance(body, Nms):
        for point in _points(body.outer, env):
            _run_nms(body, buffers, point)
    elif isinstance(body, Trees):
        for point in _points((body.part,), env):
            _run_trees(body, buffers, point)
    else:
        raise NotImplementedError(type(body).__name__)


def _run_matmul(body: Matmul, buffers: Sequence[Array], env: Env) -> None:
    """Products of all (m, n, k) at once, summed in the accumulator's type; then the epilogue, all of it at once."""
    for point in _points(body.batch, env):
        for axis, s in enumerate((body.m, body.n, body.k)):
            count = int(evaluate_size(extent(s), point))
            point[s] = np.arange(count, dtype=np.int64).reshape([-1 if i == axis else 1 for i in range(3)])
        b = body.b if body.packing is None else _packed_element(body, body.packing)
        product = evaluate(body.a, point, buffers) * evaluate(b, point, buffers)
        shape = [int(evaluate_size(extent(s), point)) for s in (body.m, body.n, body.k)]
        total = np.broadcast_to(product, shape).sum(-1, dtype=body.acc.to_numpy(), keepdims=True)
        run_stages(body.epilogue, buffers, {s: np.asarray(v) for s, v in point.items() if s != body.k}, total)


def _packed_element(body: Matmul, packing: Packing) -> Expr:
    """The load of element (k, n) of weights that are plain, or in panels."""
    assert isinstance(body.b, Load) and packing.form in ("plain", "panels")
    nr = extent(body.n) if packing.form == "plain" else packing.nr  # one panel of all columns, without any padding
    index = (body.n // nr * extent(body.k) + body.k) * nr + body.n % nr
    return Load(body.b.buffer, index, body.b.dtype)


def _run_sort(body: Sort, buffers: Sequence[Array], env: Env) -> None:
    """Elements, or tuples, by the ranks of their values among all that there are, equal ones as they come."""
    n, k = (int(evaluate_size(extent(s), env)) for s in (body.i, body.j))
    env[body.i], env[body.j] = np.arange(n, dtype=np.int64), np.arange(k, dtype=np.int64)
    columns = [*_points([body.column], env)] if body.column is not None else [env]
    ranks = np.zeros((n, len(columns)), np.int64)
    for column, point in enumerate(columns):
        value = prims.evaluate("cast", [evaluate(body.x, point, buffers)], body.x.dtype.compute)
        ranks[:, column] = np.unique(np.broadcast_to(value, n), return_inverse=True)[1] * (-1 if body.descending else 1)
    order = np.array(sorted(range(n), key=lambda i: tuple(ranks[i])), np.int64)[:k]
    begins = np.array([at == 0 or (ranks[order[at]] != ranks[order[at - 1]]).any() for at in range(k)], np.bool_)
    env[body.i] = order
    run_stages(body.stores, buffers, env, begins)


def _run_nonzero(body: Nonzero, buffers: Sequence[Array], env: Env) -> None:
    every = np.arange(int(evaluate_size(extent(body.i), env)), dtype=np.int64)
    mask = evaluate(body.mask, env | {body.i: every}, buffers)
    places = every[np.broadcast_to(mask, every.shape)]
    found = env | {body.i: places, body.j: every[: len(places)]}
    run_stages([Stage(Index(body.i), body.places)], buffers, found)
    run_stages([Stage(Acc(I64), body.count)], buffers, env, np.asarray(len(places), np.int64))


def _run_nms(body: Nms, buffers: Sequence[Array], env: Env) -> None:
    """The places that are taken, in their order, and their number."""
    n, most = (int(evaluate_size(extent(s), env)) for s in (body.i, body.j))
    limits = [evaluate(limit, env, buffers) for limit in (body.overlap, body.least) if limit is not None]
    every = env | {body.i: np.arange(n, dtype=np.int64)}
    score, *corners = (evaluate(e, every, buffers) for e in (body.score, body.top, body.left, body.bottom, body.right))
    places = np.array(apart(np.stack(corners, 1), score, *limits, most=most), np.int64)
    found = env | {body.i: places, body.j: np.arange(len(places), dtype=np.int64)}
    run_stages([Stage(Index(body.i), body.places)], buffers, found)
    run_stages([Stage(Acc(I64), body.counts)], buffers, env, np.asarray(len(places), np.int64))


def _run_trees(body: Trees, buffers: Sequence[Array], env: Env) -> None:
    """What the trees of one part give, all rows at once."""
    part, parts, trees, rows, columns, targets = (
        int(evaluate_size(size, env))
        for size in (body.part, extent(body.part), body.trees, extent(body.row), body.columns, extent(body.target))
    )
    place = np.arange(rows * columns, dtype=np.int64)
    x = evaluate(body.x, env | {body.place: place}, buffers).reshape(rows, columns)
    roots = buffers[body.roots][trees * part // parts : trees * (part + 1) // parts]
    rest = (buffers[number] for number in (body.weights, body.owners) if number >= 0)
    acc = combined(x, roots, buffers[body.nodes].reshape(-1, 2), *rest, kind=body.kind, targets=targets)
    env[body.row], env[body.target] = (np.arange(n, dtype=np.int64) for n in acc.shape)
    env[body.row] = env[body.row][:, None]
    run_stages(body.epilogue, buffers, env, acc)


def run_stages(stages: Sequence[Stage], buffers: Sequence[Array], env: Env, acc: Array | None = None) -> None:
    """Runs stages in order at one outer point."""
    kept: list[Array] = []
    for stage in stages:
        kept.append(_run_stage(stage, buffers, dict(env), kept, acc))


def evaluate(
    root: Expr,
    env: Mapping[Symbol, Array],
    buffers: Sequence[Array] = (),
    kept: Sequence[Array] = (),
    acc: Array | None = None,
    variables: Mapping[str, Array] | None = None,
) -> Array:
    """The value of an expression; arrays in `env` and `variables` broadcast."""
    values: dict[Expr, Array] = {}
    for e in walk(root):
        values[e] = _node(e, [values[c] for c in e.children], env, buffers, kept, acc, variables or {})
    return values[root]


def evaluate_size(x: Size, env: Mapping[Symbol, Array]) -> Array:
    """The value of a size, whose symbols may have arrays as values."""
    if isinstance(x, int):
        return np.asarray(x, np.int64)
    total = np.asarray(0, np.int64)
    for coefficient, atoms in x.terms:
        product = np.asarray(coefficient, np.int64)
        for atom in atoms:
            product = product * _atom(atom, env)
        total = total + product
    return total


def _atom(x: Any, env: Mapping[Symbol, Array]) -> Array:
    if isinstance(x, Symbol):
        return env[x]
    if isinstance(x, (FloorDiv, Mod)):
        name = "floordiv" if isinstance(x, FloorDiv) else "mod"
        return prims.evaluate(name, [evaluate_size(x.a, env), evaluate_size(x.b, env)])
    assert isinstance(x, (Min, Max))
    values = [evaluate_size(a, env) for a in x.args]
    result = values[0]
    for v in values[1:]:
        result = np.minimum(result, v) if isinstance(x, Min) else np.maximum(result, v)
    return result


def _points(axes: Sequence[Symbol], env: Env) -> Iterator[Env]:
    """Every point of a domain, in row-major order."""
    extents = [range(int(evaluate_size(extent(s), env))) for s in axes]
    for point in itertools.product(*extents):
        yield env | {s: np.asarray(i, np.int64) for s, i in zip(axes, point)}


def _run_stage(stage: Stage, buffers: Sequence[Array], env: Env, kept: Sequence[Array], acc: Array | None) -> Array:
    axes = (*stage.axes, *stage.reduce_axes)
    shape = tuple(int(evaluate_size(extent(s), env)) for s in axes)
    rank = len(stage.axes)
    for i, s in enumerate(axes):
        env[s] = np.arange(shape[i], dtype=np.int64).reshape([-1 if j == i else 1 for j in range(len(axes))])
    for let in stage.lets:
        env[let.symbol] = evaluate(let.value, env, buffers, kept, acc)
    value = evaluate(stage.value, env, buffers, kept, acc)
    if axes or value.ndim == 0:
        value = np.broadcast_to(value, shape)
    if stage.reduce is not None:
        value = _fold(stage.reduce, value.reshape(*shape[:rank], math.prod(shape[rank:])), stage.value.dtype)
    if stage.scan is not None:
        value = _running(stage.scan, value, stage.value.dtype)
    if stage.store is None:
        return value.reshape(-1) if stage.axes else value
    for s in stage.reduce_axes:
        del env[s]
    buffer = buffers[stage.store.buffer]
    for i, s in enumerate(stage.axes):
        env[s] = np.arange(shape[i], dtype=np.int64).reshape([-1 if j == i else 1 for j in range(rank)])
    index, value = np.broadcast_arrays(evaluate_size(stage.store.index, env), value)
    dtype = from_numpy(buffer.dtype)
    if stage.store.combine is None:
        buffer[index.reshape(-1)] = prims.evaluate("cast", [value], dtype).reshape(-1)
    else:  # one after the other, as several points may write to one element
        for i, v in zip(index.reshape(-1), value.reshape(-1)):
            there = prims.evaluate("cast", [buffer[i]], stage.value.dtype)
            result = prims.evaluate(stage.store.combine, [there, np.asarray(v)])
            buffer[i] = prims.evaluate("cast", [result], dtype)
    return value


def _fold(kind: str, value: Array, dtype: DType) -> Array:
    """Combines along the last axis, from first to last."""
    result = np.full(value.shape[:-1], _identity(kind, dtype))
    for i in range(value.shape[-1]):
        result = prims.evaluate(kind, [result, value[..., i]])
    return result


def _running(kind: str, value: Array, dtype: DType) -> Array:
    """All partial combinations along the last axis."""
    result, total = np.empty_like(value), np.full(value.shape[:-1], _identity(kind, dtype))
    for i in range(value.shape[-1]):
        total = result[..., i] = prims.evaluate(kind, [total, value[..., i]])
    return result


def _identity(kind: str, dtype: DType) -> Array:
    identity = prims.TABLE[kind].identity
    assert identity is not None
    return np.asarray(identity(dtype), dtype.to_numpy())


def _node(
    e: Expr,
    args: Sequence[Array],
    env: Mapping[Symbol, Array],
    buffers: Sequence[Array],
    kept: Sequence[Array],
    acc: Array | None,
    variables: Mapping[str, Array],
) -> Array:
    if isinstance(e, Const):
        return np.asarray(e.value).astype(e.dtype.to_numpy())
    if isinstance(e, Index):
        return evaluate_size(e.size, env)
    if isinstance(e, Var):
        return variables[e.name]
    if isinstance(e, Acc):
        assert acc is not None
        return acc
    if isinstance(e, Local):
        value = kept[e.slot]  # a row; or where the stage has no axes its value, in an epilogue at all points at once
        return value[evaluate_size(e.index, env)] if value.ndim == 1 else value
    if isinstance(e, Load):
        index = evaluate_size(e.index, env)
        if e.mask is None:
            return buffers[e.buffer][index]
        assert e.other is not None
        mask, index = np.broadcast_arrays(args[0], index)
        other = np.asarray(e.other.value).astype(e.dtype.to_numpy())
        result = np.full(mask.shape, other)
        result[mask] = buffers[e.buffer][index[mask]]
        return result
    if isinstance(e, Require):
        if not np.all(args[0]):
            raise ValueError(f"fault {e.number}")
        return np.broadcast_arrays(*args)[1]
    assert isinstance(e, Call)
    target = e.dtype if prims.TABLE[e.prim].result == "given" else None
    return prims.evaluate(e.prim, args, target)
