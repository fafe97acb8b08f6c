"""The kernel IR's interpreter, in numpy, which defines what a kernel means: slow, and meant to be read.

In: a Kernel, its buffers as flat arrays (one per parameter) and its sizes. Out: the written buffers, changed in place;
ValueError where a `Require` does not hold.
Every outer point is a step of a Python loop; inner axes are axes of arrays, evaluated at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..graph.ops.attention import scores_of, softmax
from ..graph.ops.linear import convolved
from ..graph.ops.nms import apart
from ..graph.ops.recurrent import OPTIONAL, layer, operand_shapes
from ..graph.ops.trees import combined
from ..scalar import prims
from ..scalar.dim import FloorDiv, Max, Min, Mod, Size, Symbol, extent
from ..scalar.dtype import I64, DType, from_numpy
from ..scalar.expr import Acc, Call, Const, Expr, Index, Load, Local, Require, Var, rewrite, walk
from .ir import Attention, Conv, Kernel, LoopNest, Matmul, Nms, Nonzero, Recurrent, Sort, Stage, Trees
from .operands import packed_operands

Array = npt.NDArray[Any]
Env = dict[Symbol, Array]


def run(kernel: Kernel, buffers: Sequence[Array], sizes: Sequence[int]) -> None:
    """Runs the kernel on flat buffers."""
    env: Env = {s: np.asarray(v, np.int64) for s, v in zip(kernel.sizes, sizes, strict=True)}
    with np.errstate(all="ignore"):  # overflow and NaN are results as others are
        BODIES[type(kernel.body)](kernel.body, buffers, env)


def _run_loop_nest(body: LoopNest, buffers: Sequence[Array], env: Env) -> None:
    for point in _points(body.outer, env):
        run_stages(body.stages, buffers, point)


def _run_matmul(body: Matmul, buffers: Sequence[Array], env: Env) -> None:
    """The product in the accumulator's type; then the epilogue, at all points at once."""
    plain, b = _unpacked(body, buffers, env), body.b
    if body.packing is not None:  # b names the buffer, but has no index
        at = body.k * extent(body.n) + body.n
        b = rewrite(b, lambda e: Load(e.buffer, at, e.dtype) if isinstance(e, Load) else None)
    for point in _points(body.batch, env):
        rows = _over((body.m, body.k), body.a, point, buffers, body.acc)
        columns = _over((body.k, body.n), b, point, plain, body.acc)
        if body.blocks is not None:
            depth, width = columns.shape
            block = np.arange(depth) // body.blocks.size
            scale, zero = (plain[p].reshape(-1, width)[block] for p in (body.blocks.scale, body.blocks.zero))
            columns = (columns - zero.astype(columns.dtype)) * scale
        run_stages(body.epilogue, buffers, point | _grid((body.m, body.n), point), rows @ columns)


def _run_conv(body: Conv, buffers: Sequence[Array], env: Env) -> None:
    """The graph's operation, on an input that is padded as far as the output reaches."""
    *out, out_c = _lengths((*body.out, body.c), env)
    pads = [_number(pad, env) for pad in body.pads]
    x = _over((body.n, *body.spatial, body.channel), body.x, env, buffers, body.acc)
    w = _unpacked(body, buffers, env)[body.w].reshape(*body.taps, x.shape[-1] // body.groups, out_c)
    w = prims.evaluate("cast", [w], body.acc)
    around = [(0, 0)]
    for axis, length in enumerate(x.shape[1:-1]):
        reach = (max(out[axis], 1) - 1) * body.strides[axis] + (body.taps[axis] - 1) * body.dilations[axis] + 1
        around.append((pads[axis], max(reach - pads[axis] - length, 0)))
    fill = 0 if body.fill is None else evaluate(body.fill, env, buffers)
    x = np.pad(x, [*around, (0, 0)], constant_values=fill)
    inside = (slice(None), *map(slice, out))
    total = convolved(x, w, body.strides, body.dilations, body.groups)[inside]
    run_stages(body.epilogue, buffers, env | _grid((body.n, *body.out, body.c), env), total)


def _run_attention(body: Attention, buffers: Sequence[Array], env: Env) -> None:
    """Softmax by its definition, all queries and keys of a batch point at once."""
    for point in _points(body.batch, env):
        q = _over((body.m, body.d), body.q, point, buffers, body.acc)
        k = _over((body.n, body.d), body.k, point, buffers, body.acc)
        v = _over((body.n, body.dv), body.v, point, buffers, body.acc)
        mask = None if body.mask is None else _over((body.m, body.n), body.mask, point, buffers, body.acc)
        causal = None if body.causal is None else _number(body.causal, point)
        scores = scores_of(q, k, mask, body.scale, causal)
        weights = softmax(scores)
        if body.zero_rows:
            weights = np.where((scores == -np.inf).all(-1, keepdims=True), 0, weights)
        run_stages(body.epilogue, buffers, point | _grid((body.m, body.dv), point), weights.astype(q.dtype) @ v)


def _run_recurrent(body: Recurrent, buffers: Sequence[Array], env: Env) -> None:
    """The graph's operation; results without a buffer are dropped."""
    time, batch, hidden = (_number(size, env) for size in (body.time, body.batch, body.hidden))
    shapes = operand_shapes(body.kind, body.direction, time, batch, hidden)
    has = tuple(name for name in OPTIONAL if getattr(body, name) >= 0)
    arrays = [buffers[getattr(body, name)].reshape(shapes[name]) for name in ("xw", "r", *has)]
    attrs = {name: getattr(body, name) for name in ("kind", "direction", "activations", "clip", "input_forget")}
    for name, result in zip(("y", "yh", "yc"), layer(arrays, attrs | {"has": has})):
        if getattr(body, name) >= 0:
            buffers[getattr(body, name)][:] = result.reshape(-1)


def _run_sort(body: Sort, buffers: Sequence[Array], env: Env) -> None:
    """Sorts elements, or tuples, by the ranks of their values; equal ones keep their order."""
    tuples = (body.i,) if body.column is None else (body.i, body.column)
    for point in _points(body.outer, env):
        n, k = _lengths((body.i, body.j), point)
        values = _over(tuples, body.x, point, buffers, body.x.dtype.compute).reshape(n, -1 if n else 1)
        ranks = np.zeros(values.shape, np.int64)
        for column in range(values.shape[1]):
            ranks[:, column] = np.unique(values[:, column], return_inverse=True)[1] * (-1 if body.descending else 1)
        order = np.array(sorted(range(n), key=lambda i: tuple(ranks[i])), np.int64)[:k]
        begins = np.array([at == 0 or (ranks[order[at]] != ranks[order[at - 1]]).any() for at in range(k)], np.bool_)
        run_stages(body.stores, buffers, point | _grid((body.j,), point) | {body.i: order}, begins)


def _run_nonzero(body: Nonzero, buffers: Sequence[Array], env: Env) -> None:
    (places,) = np.nonzero(_over((body.i,), body.mask, env, buffers))
    at_places = env | {body.i: places, body.j: np.arange(len(places))}
    run_stages([Stage(Index(body.i), body.places)], buffers, at_places)
    run_stages([Stage(Acc(I64), body.count)], buffers, env, np.asarray(len(places), np.int64))


def _run_nms(body: Nms, buffers: Sequence[Array], env: Env) -> None:
    """The selected boxes, in the order of their selection, and their number."""
    for point in _points(body.outer, env):
        most = _number(extent(body.j), point)
        limits = [evaluate(limit, point, buffers) for limit in (body.overlap, body.least) if limit is not None]
        corners = body.top, body.left, body.bottom, body.right
        score, *boxes = (_over((body.i,), e, point, buffers) for e in (body.score, *corners))
        places = np.array(apart(np.stack(boxes, 1), score, *limits, most=most), np.int64)
        at_places = point | {body.i: places, body.j: np.arange(len(places))}
        run_stages([Stage(Index(body.i), body.places)], buffers, at_places)
        run_stages([Stage(Acc(I64), body.counts)], buffers, point, np.asarray(len(places), np.int64))


def _run_trees(body: Trees, buffers: Sequence[Array], env: Env) -> None:
    """The sums of each part's trees, all rows at once."""
    parts, rows, targets = _lengths((body.part, body.row, body.target), env)
    trees, columns = _number(body.trees, env), _number(body.columns, env)
    for point in _points((body.part,), env):
        part = int(point[body.part])
        place = np.arange(rows * columns)
        x = evaluate(body.x, point | {body.place: place}, buffers).reshape(rows, columns)
        roots = buffers[body.roots][trees * part // parts : trees * (part + 1) // parts]
        rest = (buffers[number] for number in (body.weights, body.owners) if number >= 0)
        acc = combined(x, roots, buffers[body.nodes].reshape(-1, 2), *rest, kind=body.kind, targets=targets)
        run_stages(body.epilogue, buffers, point | _grid((body.row, body.target), point), acc)


BODIES: dict[type, Callable[[Any, Sequence[Array], Env], None]] = {
    LoopNest: _run_loop_nest,
    Matmul: _run_matmul,
    Conv: _run_conv,
    Attention: _run_attention,
    Recurrent: _run_recurrent,
    Sort: _run_sort,
    Nonzero: _run_nonzero,
    Nms: _run_nms,
    Trees: _run_trees,
}


def _unpacked(body: Matmul | Conv, buffers: Sequence[Array], env: Env) -> list[Array]:
    """The buffers, with the packed weights as the graph has them."""
    plain = list(buffers)
    for operand in packed_operands(body):
        shape = [_number(size, env) for size in operand.shape]
        plain[operand.param] = operand.packing.unpack(buffers[operand.param], shape).reshape(-1)
    return plain


def run_stages(stages: Sequence[Stage], buffers: Sequence[Array], env: Env, acc: Array | None = None) -> None:
    """Runs stages in order at one outer point."""
    results: list[Array] = []
    for stage in stages:
        results.append(_run_stage(stage, buffers, dict(env), results, acc))


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


def _number(x: Size, env: Mapping[Symbol, Array]) -> int:
    return int(evaluate_size(x, env))


def _lengths(axes: Sequence[Symbol], env: Env) -> tuple[int, ...]:
    return tuple(_number(extent(s), env) for s in axes)


def _points(axes: Sequence[Symbol], env: Env) -> Iterator[Env]:
    """Every point of a domain, in row-major order."""
    for point in itertools.product(*map(range, _lengths(axes, env))):
        yield env | {s: np.asarray(i, np.int64) for s, i in zip(axes, point)}


def _grid(axes: Sequence[Symbol], env: Env) -> Env:
    """All points of a domain at once: symbols are axes of arrays, in this order."""
    return dict(zip(axes, np.ogrid[tuple(slice(n) for n in _lengths(axes, env))]))


def _over(axes: Sequence[Symbol], e: Expr, env: Env, buffers: Sequence[Array], dtype: DType | None = None) -> Array:
    """An expression at all points of a domain, cast to `dtype`."""
    value = evaluate(e, env | _grid(axes, env), buffers)
    value = value if dtype is None else prims.evaluate("cast", [value], dtype)
    return np.broadcast_to(value, _lengths(axes, env))


def _run_stage(stage: Stage, buffers: Sequence[Array], env: Env, kept: Sequence[Array], acc: Array | None) -> Array:
    axes = (*stage.axes, *stage.reduce_axes)
    shape, rank = _lengths(axes, env), len(stage.axes)
    env |= _grid(axes, env)
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
    env |= _grid(stage.axes, env)
    index, value = np.broadcast_arrays(evaluate_size(stage.store.index, env), value)
    dtype = from_numpy(buffer.dtype)
    if stage.store.combine is None:
        buffer[index.reshape(-1)] = prims.evaluate("cast", [value], dtype).reshape(-1)
    else:  # one after the other, as several points may write to one element
        for i, v in zip(index.reshape(-1), value.reshape(-1)):
            old = prims.evaluate("cast", [buffer[i]], stage.value.dtype)
            result = prims.evaluate(stage.store.combine, [old, np.asarray(v)])
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
        value = kept[e.slot]  # a row; of a stage without axes a scalar, in an epilogue the scalars of all points
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
