"""Operators that fold an axis, or go along it: sums, softmax, norms, running sums."""

from __future__ import annotations

import numpy as np

from ..world import FLOATS, World, since
from .table import generator, named

REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
              "ReduceProd", "ReduceSum", "ReduceSumSquare")  # fmt: skip


@named(*REDUCTIONS)
def reduce(w: World, op: str) -> None:
    if op == "ReduceLogSum":
        x = w.fresh(w.dtype([t for t in w.types(op) if t in FLOATS]), w.shape(), 0.2, 2)
    else:
        # Of integers, the reference evaluator takes means in float64, and squares wrap around before their root is
        # taken; logarithms are nobody's to say.
        types = [t for t in w.types(op) if t in FLOATS or "Log" not in op]
        careful = op in ("ReduceMean", "ReduceL2")
        x = w.tensor(types, fits=lambda a: not careful or a.dtype in FLOATS or _small(a))
    rank = w.array(x).ndim
    axes = w.rng.sample(range(rank), w.rng.randint(1, rank)) if rank else []
    if w.opset >= 11:
        axes = [i - rank if w.chance(0.3) else i for i in axes]
    keep = w.some(0.6, keepdims=w.rng.choice((0, 1)))
    given = bool(axes) and w.chance(0.85)
    if since(op, w.opset) >= (13 if op == "ReduceSum" else 18):
        idle = {"noop_with_empty_axes": 1} if w.chance(0.1) else {}
        w.emit(op, [x, w.ints(axes) if given else ""], **keep, **idle)
    else:
        w.emit(op, [x], **keep, **({"axes": axes} if given else {}))


def _small(a: np.ndarray) -> bool:
    return bool((np.abs(a.astype(np.float64)) < 1e4).all())


@named("ArgMax", "ArgMin")
def arg(w: World, op: str) -> None:
    x = w.tensor(w.types(op), low=1, fits=lambda a: a.size > 0)
    axis = w.axis(w.array(x).ndim)
    last = w.some(0.4, select_last_index=w.rng.choice((0, 1))) if w.opset >= 12 else {}
    w.emit(op, [x], **w.some(0.8, axis=axis), **w.some(0.5, keepdims=w.rng.choice((0, 1))), **last)


@named("Softmax", "LogSoftmax", "Hardmax")
def softmax(w: World, op: str) -> None:
    x = w.tensor(w.types(op), low=1)
    w.emit(op, [x], **w.some(0.8, axis=w.axis(w.array(x).ndim)))


@named("CumSum", "CumProd")
def running(w: World, op: str) -> None:
    x = w.tensor(w.types(op), low=1)
    axis = w.ints(w.axis(w.array(x).ndim), w.rng.choice((np.dtype(np.int32), np.dtype(np.int64))))
    w.emit(op, [x, axis], **w.some(0.5, exclusive=w.rng.choice((0, 1)), reverse=w.rng.choice((0, 1))))


@named("LayerNormalization", "RMSNormalization")
def layer_norm(w: World, op: str) -> None:
    x = w.tensor(w.types(op), low=1, fits=lambda a: a.size > 0)
    a = w.array(x)
    axis = w.rng.randrange(a.ndim)
    shape = list(a.shape[axis:]) if w.chance(0.8) else [*([1] * (a.ndim - axis - 1)), a.shape[-1]]
    scale = w.shaped(a.dtype, shape)
    eps = w.some(0.5, epsilon=w.rng.choice((1e-5, 1e-3)))
    where = {} if axis == a.ndim - 1 and w.chance(0.6) else {"axis": axis - a.ndim if w.chance(0.4) else axis}
    if op == "RMSNormalization":
        w.emit(op, [x, scale], **where, **eps)
    else:
        bias = w.shaped(a.dtype, shape) if w.chance(0.7) else ""
        w.emit(op, [x, scale, bias], w.rng.choice((1, 1, 1, 3)), **where, **eps)


@generator("GroupNormalization")
def group_norm(w: World) -> None:
    groups, each = w.rng.choice((1, 2, 3)), w.rng.choice((1, 2, 3))
    x = w.shaped(w.dtype(w.types("GroupNormalization")), [w.rng.choice((1, 2)), groups * each, *w.shape(1, 3)])
    n = groups if since("GroupNormalization", w.opset) < 21 else groups * each
    dtype = w.array(x).dtype
    w.emit("GroupNormalization", [x, w.shaped(dtype, [n]), w.shaped(dtype, [n])], num_groups=groups)


@generator("InstanceNormalization")
def instance_norm(w: World) -> None:
    x = w.tensor(w.types("InstanceNormalization"), low=3, fits=lambda a: a.size > 0)
    a = w.array(x)
    w.emit("InstanceNormalization", [x, w.shaped(a.dtype, [a.shape[1]]), w.shaped(a.dtype, [a.shape[1]])],
           **w.some(0.4, epsilon=1e-3))  # fmt: skip


@generator("LpNormalization")
def lp_norm(w: World) -> None:
    x = w.tensor(w.types("LpNormalization"), low=1, fits=lambda a: a.size > 0)
    w.emit("LpNormalization", [x], axis=w.rng.randrange(-1, w.array(x).ndim), p=w.rng.choice((1, 2)))


@generator("MeanVarianceNormalization")
def mvn(w: World) -> None:
    x = w.tensor(w.types("MeanVarianceNormalization"), 4 if w.chance(0.6) else 2, fits=lambda a: a.size > 0)
    rank = w.array(x).ndim
    axes = sorted(w.rng.sample(range(rank), w.rng.randint(1, rank)))
    w.emit("MeanVarianceNormalization", [x], **({} if rank == 4 and w.chance(0.5) else {"axes": axes}))


@generator("LRN")
def lrn(w: World) -> None:
    x = w.tensor(w.types("LRN"), 4, 4)
    w.emit("LRN", [x], size=w.rng.choice((1, 2, 3, 5)), **w.some(0.5, alpha=0.1, beta=0.5, bias=2.0))


@generator("Einsum")
def einsum(w: World) -> None:
    texts = ("ij,jk->ik", "bij,bjk->bik", "ii->i", "ij->ji", "ij->", "i,j->ij", "...ij,...jk->...ik", "ij,j->i",
             "bij,bkj->bik", "ijk,ikl,il->ij", "i,i", "ij,ij->j", "bhid,bhjd->bhij", "ij->i")  # fmt: skip
    text = w.rng.choice(texts)
    sizes = {letter: w.rng.choice((1, 2, 3, 5)) for letter in "abcdefghijkl"}
    dtype = w.dtype([t for t in w.types("Einsum") if t.itemsize > 1])
    names = []
    for part in text.split("->")[0].split(","):
        lead = [2, 3] if "..." in part else []
        names.append(w.shaped(dtype, [*lead, *(sizes[letter] for letter in part.replace(".", ""))]))
    w.emit("Einsum", names, equation=text)


@generator("Det")
def det(w: World) -> None:
    n = w.rng.choice((1, 2, 3, 4))
    lead = w.rng.choice(([], [2], [2, 3]))
    w.emit("Det", [w.fresh(w.dtype(w.types("Det")), [*lead, n, n], -1.9, 1.9)])  # without infinities


@named("HannWindow", "HammingWindow", "BlackmanWindow")
def window(w: World, op: str) -> None:
    w.emit(op, [w.ints(w.rng.randint(2, 12))], **w.some(0.5, periodic=w.rng.choice((0, 1))))


@generator("MelWeightMatrix")
def mel(w: World) -> None:
    f = np.float32
    inputs = [w.ints(w.rng.choice((4, 8))), w.ints(16), w.ints(8192), w.leaf(f(0), True), w.leaf(f(4096), True)]
    w.emit("MelWeightMatrix", inputs)


@generator("DFT")
def dft(w: World) -> None:
    n = w.rng.choice((1, 2, 3, 4, 5, 8, 12))
    onesided = w.chance(0.3)
    inverse = w.chance(0.3) and not onesided
    last = 1 if onesided or (w.chance(0.4) and not inverse) else 2
    x = w.shaped(
        w.dtype([t for t in w.types("DFT") if t.itemsize > 2]), [w.rng.choice((1, 2)), n, w.rng.choice((1, 3)), last]
    )
    length = w.ints(w.rng.randint(1, n + 2)) if w.chance(0.3) else ""
    attributes = {**({"onesided": 1} if onesided else {}), **({"inverse": 1} if inverse else {})}
    axis = w.rng.choice((1, 2))
    if since("DFT", w.opset) >= 20:
        w.emit("DFT", [x, length, w.ints(axis)], **attributes)
    else:
        w.emit("DFT", [x, length], axis=axis, **attributes)


@generator("STFT")
def stft(w: World) -> None:
    frame, step = w.rng.choice((4, 6, 8)), w.rng.choice((1, 2, 3))
    n = frame + step * w.rng.randint(0, 3) + w.rng.choice((0, 1))
    dtype = w.dtype([t for t in w.types("STFT") if t.itemsize > 2])
    x = w.shaped(dtype, [w.rng.choice((1, 2)), n, 1])
    window = w.shaped(dtype, [frame]) if w.chance(0.7) else ""
    w.emit("STFT", [x, w.ints(step), window, w.ints(frame)], **w.some(0.7, onesided=w.rng.choice((0, 1))))
