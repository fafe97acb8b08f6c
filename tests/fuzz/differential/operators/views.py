"""Operators that move elements."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from ..world import BOOL, F32, FLOATS, I64, INTS, World, since
from .table import generator, named


@generator("Transpose")
def transpose(w: World) -> None:
    x = w.tensor(low=2 if w.chance(0.9) else 0)
    rank = w.array(x).ndim
    w.emit("Transpose", [x], **w.some(0.85 if rank else 0, perm=w.rng.sample(range(rank), rank)))


@generator("Reshape")
def reshape(w: World) -> None:
    """Merges, splits, adds and drops axes; with 0 and -1 in the shape, or with a shape that is computed."""
    x = w.tensor()
    a = w.array(x)
    dims = list(a.shape)
    for _ in range(w.rng.randrange(1, 4)):
        at = w.rng.randrange(len(dims) + 1)
        kind = w.rng.randrange(4)
        if kind == 0 and at + 1 < len(dims):
            dims[at : at + 2] = [dims[at] * dims[at + 1]]
        elif kind == 1 and at < len(dims):
            factor = w.rng.choice([f for f in range(1, dims[at] + 1) if dims[at] % f == 0] or [1])
            dims[at : at + 1] = [factor, dims[at] // factor]
        elif kind == 2 and len(dims) < 5:
            dims.insert(at, 1)
        elif 1 in dims:
            dims.remove(1)
    dims = dims[:6] if len(dims) <= 6 else list(a.shape)
    given = list(dims)
    if a.size:
        given = [0 if i < a.ndim and d == a.shape[i] and w.chance(0.3) else d for i, d in enumerate(dims)]
        if given and w.chance(0.5):
            given[w.rng.randrange(len(given))] = -1
    if w.chance(0.12) and a.ndim and since("Shape", w.opset) and w.opset >= 10:  # of sizes of its own, as exporters do
        sizes = w.emit("Shape", [x], keep=False)[0]
        axis = w.rng.randrange(a.ndim)
        one = w.emit("Slice", [sizes, w.ints([axis]), w.ints([axis + 1])], keep=False)[0]
        shape = w.emit("Concat", [one, w.ints([-1])], keep=False, axis=0)[0]
        w.emit("Reshape", [x, shape])
        return
    w.emit(
        "Reshape",
        [x, w.ints(given)],
        **({"allowzero": 1} if w.opset >= 14 and 0 not in given and w.chance(0.1) else {}),
    )


@generator("Flatten")
def flatten(w: World) -> None:
    x = w.tensor(w.types("Flatten"))
    rank = w.array(x).ndim
    w.emit("Flatten", [x], axis=w.rng.randint(-rank if w.opset >= 11 else 0, rank))


@generator("Squeeze")
def squeeze(w: World) -> None:
    x = w.tensor(fits=lambda a: 1 in a.shape)
    shape = w.array(x).shape
    ones = [i for i, d in enumerate(shape) if d == 1]
    axes = w.rng.sample(ones, w.rng.randint(1, len(ones)))
    _axes(w, "Squeeze", x, axes if w.opset < 11 or w.chance(0.6) else [i - len(shape) for i in axes], w.chance(0.85))


@generator("Unsqueeze")
def unsqueeze(w: World) -> None:
    x = w.tensor(high=4)
    rank = w.array(x).ndim
    more = w.rng.randint(1, min(2, 5 - rank) or 1)
    axes = sorted(w.rng.sample(range(rank + more), more))
    _axes(w, "Unsqueeze", x, axes if w.opset < 11 or w.chance(0.6) else [i - rank - more for i in axes], True)


def _axes(w: World, op: str, x: str, axes: list[int], given: bool) -> None:
    if since(op, w.opset) >= 13:
        w.emit(op, [x, w.ints(axes) if given else ""])
    else:
        w.emit(op, [x], **({"axes": axes} if given else {}))


@generator("Expand")
def expand(w: World) -> None:
    x = w.tensor(high=4)
    shape = [w.rng.choice((2, 3, 1)) if d == 1 else w.rng.choice((d, 1)) for d in w.array(x).shape]
    lead = [w.rng.choice((1, 2, 3))] if w.chance(0.4) else []
    drop = w.rng.randrange(len(shape) + 1) if shape and not lead and w.chance(0.2) else 0
    w.emit("Expand", [x, w.ints([*lead, *shape][drop:])])


@generator("Tile")
def tile(w: World) -> None:
    x = w.tensor(w.types("Tile"), fits=lambda a: a.size < 400)
    w.emit("Tile", [x, w.ints([w.rng.choice((1, 1, 2, 3)) for _ in w.array(x).shape])])


@generator("Concat")
def concat(w: World) -> None:
    x = w.tensor(w.types("Concat"), low=1)
    a = w.array(x)
    axis = w.rng.randrange(a.ndim)
    names = [x]
    for _ in range(w.rng.choice((0, 1, 1, 1, 2, 3))):

        def fits(b: np.ndarray) -> bool:
            same = all(p == q for i, (p, q) in enumerate(zip(a.shape, b.shape)) if i != axis)
            return b.dtype == a.dtype and b.ndim == a.ndim and same

        found = w.pick(fits) if w.chance(0.7) else None
        shape = [w.size() if i == axis else d for i, d in enumerate(a.shape)]
        names.append(found or w.shaped(a.dtype, shape))
    w.rng.shuffle(names)
    w.emit("Concat", names, axis=axis - a.ndim if w.opset >= 11 and w.chance(0.3) else axis)


@generator("Split")
def split(w: World) -> None:
    x = w.tensor(w.types("Split"), low=1)
    a = w.array(x)
    axis = w.axis(a.ndim)
    size = a.shape[axis]
    n = w.rng.choice((1, 2, 2, 3))
    where = {} if axis == 0 and w.chance(0.5) else {"axis": axis}
    cuts = sorted(w.rng.randint(0, size) for _ in range(n - 1))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, size])]
    full = -(-size // n) * (n - 1) < size  # else nothing is left for the last part: an error of ours, and of the text
    if w.chance(0.3) and (size % n == 0 or since("Split", w.opset) >= 18) and full:
        w.emit("Split", [x], n, **where, **({"num_outputs": n} if since("Split", w.opset) >= 18 else {}))
    elif since("Split", w.opset) >= 13:
        w.emit("Split", [x, w.ints(sizes)], n, **where)
    else:
        w.emit("Split", [x], n, split=sizes, **where)


@generator("Slice")
def slice_(w: World) -> None:
    x = w.tensor(w.types("Slice"), low=1)
    a = w.array(x)
    axes = w.rng.sample(range(a.ndim), w.rng.randint(1, a.ndim))
    steps = [w.rng.choice((1, 1, 1, 2, 3, -1, -2)) if w.opset >= 10 else 1 for _ in axes]
    starts, ends = [], []
    for axis, step in zip(axes, steps):
        d = a.shape[axis]
        low, high = sorted(w.rng.randint(0, d) for _ in range(2))
        if w.chance(0.3):
            low, high = 0, w.rng.choice((d, 1 << 31 if w.opset < 10 else (1 << 63) - 1, d + 5))
        if step < 0:
            low, high = high, w.rng.choice((low - d - 1 if low < d else -1 - d, low, -(1 << 62)))
        elif w.chance(0.3) and low < d:
            low -= d
        starts.append(low)
        ends.append(high)
    if w.opset < 10:
        w.emit("Slice", [x], starts=starts, ends=ends, axes=axes)
        return
    if axes == list(range(len(axes))) and w.chance(0.5):
        w.emit("Slice", [x, w.ints(starts), w.ints(ends)])
        return
    axes = [i - a.ndim if w.chance(0.3) else i for i in axes]
    dtype = w.rng.choice((np.dtype(np.int32), I64, I64))
    if dtype != I64:
        starts, ends = ([max(min(v, 2**31 - 1), -(2**31)) for v in each] for each in (starts, ends))
    parts = [starts, ends, axes, *([steps] if set(steps) != {1} or w.chance(0.3) else [])]
    w.emit("Slice", [x, *(w.ints(each, dtype) for each in parts)])


@generator("Pad")
def pad(w: World) -> None:
    x = w.tensor(w.types("Pad"), low=1, fits=lambda a: a.size < 1500)
    a = w.array(x)
    mode = w.rng.choice(("constant", "constant", "reflect", "edge", "wrap" if since("Pad", w.opset) >= 19 else "edge"))
    low = -1 if w.chance(0.2) and mode == "constant" else 0
    axes = list(range(a.ndim))
    if since("Pad", w.opset) >= 18 and w.chance(0.4):
        axes = w.rng.sample(axes, w.rng.randint(1, a.ndim))
    if mode != "constant" and not a.size:
        mode = "constant"
    most = [min(3, a.shape[i] - 1) if mode in ("reflect", "wrap") else 3 for i in axes]
    pads = [w.rng.randint(low if a.shape[i] > 2 else 0, max(m, 0)) for _ in range(2) for i, m in zip(axes, most)]
    if since("Pad", w.opset) < 11:
        w.emit("Pad", [x], mode=mode, pads=pads, **w.some(0.5, value=1.5))
        return
    value = w.leaf(np.asarray(w.rng.choice((0, 1, 2)), a.dtype)) if mode == "constant" and w.chance(0.5) else ""
    given = (
        w.ints([i - a.ndim if w.chance(0.3) else i for i in axes]) if len(axes) < a.ndim or axes != sorted(axes) else ""
    )
    w.emit("Pad", [x, w.ints(pads), value, given], mode=mode)


@named("DepthToSpace", "SpaceToDepth")
def blocks(w: World, op: str) -> None:
    b = w.rng.choice((1, 2, 2, 3))
    n, c, h, v = w.rng.choice((1, 2)), w.rng.choice((1, 2, 3)), w.rng.choice((1, 2, 3)), w.rng.choice((1, 2, 4))
    dtype = w.dtype(w.types(op))
    if op == "DepthToSpace":
        x = w.shaped(dtype, [n, c * b * b, h, v])
        w.emit(op, [x], blocksize=b, **(w.some(0.6, mode=w.rng.choice(("DCR", "CRD"))) if w.opset >= 11 else {}))
    else:
        w.emit(op, [w.shaped(dtype, [n, c, h * b, v * b])], blocksize=b)


@generator("Gather")
def gather(w: World) -> None:
    x = w.tensor(w.types("Gather"), low=1, fits=lambda a: a.size > 0)
    a = w.array(x)
    axis = w.axis(a.ndim)
    w.emit(
        "Gather",
        [x, _indices(w, a.shape[axis], w.shape(0, 2), 11)],
        **({} if axis == 0 and w.chance(0.5) else {"axis": axis}),
    )


def _indices(w: World, size: int, shape: list[int], negative_since: int) -> str:
    """Indices of an axis, from both ends; a value there is, where it fits."""
    low = -size if w.opset >= negative_since and w.chance(0.5) else 0
    found = w.pick(lambda i: i.dtype in (np.int32, np.int64) and 1 <= i.size < 40 and i.min() >= low and i.max() < size)
    if found is not None and w.chance(0.5) and len(shape) < 3:
        return found
    return w.leaf(w.numbers.integers(low, size, shape).astype(w.rng.choice((np.int32, np.int64))))


@generator("GatherElements")
def gather_elements(w: World) -> None:
    x = w.tensor(low=1, fits=lambda a: a.size > 0)
    a = w.array(x)
    axis = w.axis(a.ndim)
    shape = [w.rng.randint(1, d) for d in a.shape]
    shape[axis] = w.rng.randint(1, 5)
    index = w.leaf(w.numbers.integers(-a.shape[axis] if w.chance(0.5) else 0, a.shape[axis], shape))
    w.emit("GatherElements", [x, index], axis=axis)


@generator("GatherND")
def gather_nd(w: World) -> None:
    x = w.tensor(w.types("GatherND"), low=1, fits=lambda a: a.size > 0)
    a = w.array(x)
    batch = w.rng.randrange(a.ndim) if w.opset >= 12 and w.chance(0.4) else 0
    last = w.rng.randint(1, a.ndim - batch)
    shape = [*a.shape[:batch], *(w.shape(0, 2) if batch or w.chance(0.8) else []), last]
    parts = [w.numbers.integers(-d if w.chance(0.4) else 0, d, shape[:-1]) for d in a.shape[batch : batch + last]]
    w.emit("GatherND", [x, w.leaf(np.stack(parts, -1))], **({"batch_dims": batch} if batch else {}))


@generator("ScatterElements")
def scatter_elements(w: World) -> None:
    x = w.tensor(w.types("ScatterElements"), low=1, fits=lambda a: a.size > 0)
    a = w.array(x)
    axis = w.axis(a.ndim)
    shape = [w.rng.randint(1, d) for d in a.shape]
    length = a.shape[axis]
    kinds = ["none"] + (["add", "mul"] if w.opset >= 16 else []) + (["max", "min"] if w.opset >= 18 else [])
    kind = w.rng.choice(kinds)
    others = [d for i, d in enumerate(a.shape) if i != axis % a.ndim]
    line = np.arange(length).reshape([length, *(1 for _ in others)])
    order = w.numbers.permuted(np.broadcast_to(line, [length, *others]), axis=0)
    index = np.moveaxis(order, 0, axis)[tuple(slice(0, d) for d in shape)]
    if kind != "none" and w.chance(0.6):
        index = w.numbers.integers(0, length, shape)  # with duplicates
    if w.chance(0.3):
        index = np.where(w.numbers.random(index.shape) < 0.5, index, index - length)
    names = [x, w.leaf(index.astype(w.rng.choice((np.int32, np.int64)))), w.shaped(a.dtype, shape)]
    w.emit("ScatterElements", names, axis=axis, **({"reduction": kind} if kind != "none" else {}))


@generator("ScatterND")
def scatter_nd(w: World) -> None:
    x = w.tensor(w.types("ScatterND"), low=1, fits=lambda a: a.size > 0)
    a = w.array(x)
    last = w.rng.randint(1, a.ndim)
    places = int(np.prod(a.shape[:last]))
    kinds = ["none"] + (["add", "mul"] if w.opset >= 16 else []) + (["max", "min"] if w.opset >= 18 else [])
    kind = w.rng.choice(kinds)
    n = w.rng.randint(0 if w.chance(0.1) else 1, min(places, 6))
    flat = w.numbers.choice(places, n, replace=kind != "none" and w.chance(0.6))
    index = np.stack(np.unravel_index(flat, a.shape[:last]), -1).astype(np.int64)
    if w.chance(0.3):
        index = np.where(w.numbers.random(index.shape) < 0.5, index, index - np.asarray(a.shape[:last]))
    updates = w.shaped(a.dtype, [n, *a.shape[last:]])
    w.emit("ScatterND", [x, w.leaf(index), updates], **({"reduction": kind} if kind != "none" else {}))


@generator("TensorScatter")
def tensor_scatter(w: World) -> None:
    cache = [w.rng.choice((1, 2, 3)), w.rng.choice((1, 2)), w.rng.choice((4, 6)), w.rng.choice((2, 3))]
    length = w.rng.randint(1, 3)
    x = w.shaped(w.dtype(w.types("TensorScatter")), cache)
    update = w.shaped(w.array(x).dtype, [cache[0], cache[1], length, cache[3]])
    mode = w.rng.choice(("linear", "circular"))
    index = w.numbers.integers(0, cache[2] - length + 1 if mode == "linear" else cache[2], cache[:1])
    w.emit("TensorScatter", [x, update, w.leaf(index) if w.chance(0.8) else ""], mode=mode)


@generator("Trilu")
def trilu(w: World) -> None:
    x = w.tensor(low=2)
    k = w.leaf(np.asarray(w.rng.randint(-3, 3), np.int64)) if w.chance(0.6) else ""
    w.emit("Trilu", [x, k], **w.some(0.7, upper=w.rng.choice((0, 1))))


@generator("EyeLike")
def eye_like(w: World) -> None:
    x = w.tensor(w.types("EyeLike"), 2, 2)
    dtypes = [t for t in w.types("EyeLike") if t not in (BOOL,)]
    made = {"dtype": int(helper.np_dtype_to_tensor_dtype(w.rng.choice(dtypes)))} if w.chance(0.6) else {}
    w.emit("EyeLike", [x], **made, **w.some(0.5, k=w.rng.randint(-3, 3)))


@generator("ReverseSequence")
def reverse_sequence(w: World) -> None:
    x = w.tensor(low=2, fits=lambda a: a.size > 0)
    a = w.array(x)
    batch = w.rng.choice((0, 1))
    lengths = w.leaf(w.numbers.integers(1, a.shape[1 - batch] + 1, [a.shape[batch]]))
    w.emit("ReverseSequence", [x, lengths], batch_axis=batch, time_axis=1 - batch)


@named("Shape", "Size")
def sizes(w: World, op: str) -> None:
    x = w.tensor()
    rank = w.array(x).ndim
    some = w.some(0.5, start=w.rng.randint(-rank, rank), end=w.rng.randint(-rank, rank)) if w.opset >= 15 else {}
    w.emit(op, [x], **(some if op == "Shape" else {}))


@generator("Constant")
def constant(w: World) -> None:
    kinds = ["value"] + (["value_float", "value_int", "value_floats", "value_ints"] if w.opset >= 12 else [])
    kind = w.rng.choice(kinds)
    made = {
        "value": numpy_helper.from_array(w.random(w.rng.choice((*FLOATS, *INTS)), w.shape(0, 3))),
        "value_float": w.rng.uniform(-2, 2), "value_int": w.rng.randint(-5, 5),
        "value_floats": [w.rng.uniform(-2, 2) for _ in range(3)],
        "value_ints": [w.rng.randint(-5, 5) for _ in range(4)],
    }[kind]  # fmt: skip
    x = w.emit("Constant", [], **{kind: made})[0]
    w.emit("Identity", [x])


@generator("ConstantOfShape")
def constant_of_shape(w: World) -> None:
    value = helper.make_tensor(
        "v", int(helper.np_dtype_to_tensor_dtype(np.dtype(np.float32))), [1], [w.rng.uniform(-1, 1)]
    )
    if w.chance(0.5):
        value = helper.make_tensor("v", TensorProto.INT64, [1], [w.rng.randint(-3, 3)])
    if w.chance(0.5):
        shape = w.emit("Shape", [w.tensor()], keep=False)[0]
    else:
        shape = w.ints(w.shape())
    w.emit("ConstantOfShape", [shape], **w.some(0.7, value=value))


@generator("Range")
def range_(w: World) -> None:
    dtype = w.dtype([t for t in w.types("Range") if t not in FLOATS or t.itemsize >= 4])
    start, step = w.rng.randint(-5, 5), w.rng.choice((1, 1, 2, 3, -1, -2))
    limit = start + step * w.rng.randint(0, 9) + w.rng.choice((0, 0, 1))
    w.emit("Range", [w.leaf(np.asarray(v, dtype), constant=True) for v in (start, limit, step)])


@generator("OneHot")
def one_hot(w: World) -> None:
    x = w.tensor([I64, np.dtype(np.int32), np.dtype(np.float32)], high=3, fits=lambda a: a.size < 200)
    depth = w.rng.randint(1, 6)
    rank = w.array(x).ndim
    if w.array(x).dtype in FLOATS:
        x = w.leaf(w.numbers.integers(-depth, depth, w.array(x).shape).astype(np.float32))
    values = w.fresh(w.rng.choice((np.dtype(np.float32), I64, np.dtype(np.int32))), [2])
    amount = w.leaf(np.asarray(depth if w.chance(0.5) else [depth], np.int64), constant=True)
    w.emit("OneHot", [x, amount, values], **w.some(0.7, axis=w.rng.randint(-rank - 1, rank)))


@named("SequenceConstruct", "SequenceInsert", "SequenceErase", "SequenceAt", "SequenceLength", "ConcatFromSequence",
       "SplitToSequence", "SequenceEmpty")  # fmt: skip
def sequences(w: World, op: str) -> None:
    """A sequence that is made, changed, and taken apart again."""
    x = w.tensor(low=1, high=3)
    a = w.array(x)
    parts = [x, *(w.shaped(a.dtype, a.shape) for _ in range(w.rng.randint(0, 2)))]
    if op == "SplitToSequence":
        axis = w.axis(a.ndim)
        kind = w.rng.randrange(3)
        size = a.shape[axis]
        split = ["", w.ints(w.rng.randint(1, 3)), w.ints([1, size - 1] if size > 1 else [size])][kind]
        s = w.emit(op, [x, split], axis=axis, **w.some(0.5 if kind == 0 else 0, keepdims=w.rng.choice((0, 1))))[0]
    elif op == "SequenceEmpty":
        a = w.array(x := w.tensor([F32], low=1, high=3))
        s = w.emit(op, [], **w.some(0.5, dtype=TensorProto.FLOAT))[0]
        s = w.emit("SequenceInsert", [s, x])[0]
    else:
        s = w.emit("SequenceConstruct", parts)[0]
    n = len(w.array(s))
    if w.chance(0.4):
        s = w.emit("SequenceInsert", [s, w.tensor([a.dtype], 1, 3) if w.chance(0.5) else x,
                                      *([w.ints(w.rng.randint(-n, n))] if w.chance(0.6) else [])])[0]  # fmt: skip
    if w.chance(0.3) and n > 1:
        s = w.emit("SequenceErase", [s, *([w.ints(w.rng.randint(-n, n - 1))] if w.chance(0.6) else [])])[0]
    n = len(w.array(s))
    end = w.rng.choice(("SequenceAt", "SequenceLength", "ConcatFromSequence"))
    if end == "SequenceAt":
        w.emit(end, [s, w.ints(w.rng.randint(-n, n - 1))])
    elif end == "SequenceLength":
        w.emit(end, [s])
    else:
        new = w.some(0.4, new_axis=w.rng.choice((0, 1)))
        w.emit(end, [s], axis=w.rng.randint(0, w.array(s)[0].ndim - 1), **new)
