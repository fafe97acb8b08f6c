"""Operators with kernels of their own: products, convolutions, pools, recurrences, attention."""

from __future__ import annotations

import numpy as np

from ..world import BF16, BOOL, FLOATS, World, finite, since
from .table import generator, named


def _small(w: World) -> int:
    return w.rng.choice((1, 2, 3, 4, 5, 7, 8, 16, 17))


@generator("MatMul")
def matmul(w: World) -> None:
    a = w.tensor(w.types("MatMul"), low=1, high=4)
    x = w.array(a)
    n = _small(w)
    if x.ndim == 1:
        shape = w.rng.choice(([x.shape[0]], [x.shape[0], n], [2, x.shape[0], n]))
    else:
        lead = list(x.shape[:-2])
        lead = w.rng.choice((lead, [1 if w.chance(0.5) else d for d in lead], lead[1:], []))
        shape = w.rng.choice(([*lead, x.shape[-1], n], [*lead, x.shape[-1], n], [x.shape[-1]]))
    if x.ndim >= 2 and w.chance(0.25):  # from the other side
        w.emit("MatMul", [w.shaped(x.dtype, [*shape[:-2], n, x.shape[-2]] if len(shape) > 1 else [x.shape[-2]]), a])
    else:
        w.emit("MatMul", [a, w.shaped(x.dtype, shape)])


@generator("Gemm")
def gemm(w: World) -> None:
    a = w.tensor(w.types("Gemm"), 2, 2)
    x = w.array(a)
    ta, tb = (w.rng.choice((0, 1)) for _ in range(2))
    m, k = x.shape[::-1] if ta else x.shape
    n = _small(w)
    names = [a, w.shaped(x.dtype, [n, k] if tb else [k, n])]
    if w.opset < 11 or w.chance(0.8):
        names.append(w.shaped(x.dtype, w.rng.choice(([m, n], [n], [1, n], [m, 1], [1], []))))
    if x.dtype not in FLOATS and any(np.abs(w.array(name).astype(np.float64)).max(initial=0) > 1e6 for name in names):
        return  # alpha is a float: the reference evaluator computes products of integers in float64
    factors = w.some(0.3, alpha=0.5, beta=2.0) if x.dtype in FLOATS else {}
    w.emit("Gemm", names, transA=ta, transB=tb, **factors)


@named("MatMulInteger", "QLinearMatMul")
def quantized_matmul(w: World, op: str) -> None:
    small = (np.dtype(np.uint8), np.dtype(np.int8))
    m, k, n = _small(w), _small(w), _small(w)
    a_type, b_type = w.rng.choice(small), w.rng.choice(small)
    lead = w.rng.choice(([], [], [2]))
    a, b = w.shaped(a_type, [*lead, m, k]), w.shaped(b_type, [k, n])
    za, zb = w.fresh(a_type, []), w.fresh(b_type, w.rng.choice(([], [n])))
    if op == "MatMulInteger":
        w.emit(op, [a, b, *([za, zb][: w.rng.randint(0, 2)])])
        return
    per = list(w.array(zb).shape)
    scales = [w.leaf(w.random(np.dtype(np.float32), shape, 0.01, 0.1)) for shape in ([], per, [])]
    out = w.fresh(w.rng.choice((a_type, b_type)), [])
    w.emit(op, [a, scales[0], za, b, scales[1], zb, scales[2], out])


def _windows(w: World, spatial: list[int]) -> dict[str, object]:
    """kernel_shape, strides, pads, dilations, auto_pad of a window that fits."""
    kernel = [w.rng.randint(1, min(3, d)) for d in spatial]
    made: dict[str, object] = {"kernel_shape": kernel}
    if w.chance(0.5):
        made["strides"] = [w.rng.randint(1, 3) for _ in spatial]
    if w.chance(0.2):
        made["dilations"] = [2 if 2 * (k - 1) + 1 <= d else 1 for k, d in zip(kernel, spatial)]
    if w.chance(0.15) and "dilations" not in made:
        made["auto_pad"] = w.rng.choice(("SAME_UPPER", "SAME_LOWER", "VALID"))
        if "strides" in made:  # with larger ones onnxruntime pads by negative amounts
            made["strides"] = [w.rng.randint(1, k) for k in kernel]
    elif w.chance(0.5):
        made["pads"] = [w.rng.randint(0, k - 1) for _ in range(2) for k in kernel]
    return made


@named("Conv", "ConvInteger", "QLinearConv", "DeformConv")
def conv(w: World, op: str) -> None:
    quantized = op in ("ConvInteger", "QLinearConv")
    dtype = w.rng.choice((np.dtype(np.uint8), np.dtype(np.int8))) if quantized else w.dtype(w.types(op))
    rank = 2 if op == "DeformConv" else w.rng.choice((1, 2, 2, 2, 3))
    group = w.rng.choice((1, 1, 1, 2, 3, 4))
    cin, cout = group * w.rng.choice((1, 1, 2, 3, 8)), group * w.rng.choice((1, 1, 2, 4, 16))
    x = (
        w.pick(lambda a: a.dtype == dtype and a.ndim in (3, 4, 5) and a.size > 0)
        if op == "Conv" and w.chance(0.5)
        else None
    )
    if x is None:
        x = w.shaped(dtype, [w.rng.choice((1, 1, 2, 3)), cin, *(w.rng.randint(1, 9) for _ in range(rank))])
    else:
        cin, rank = w.array(x).shape[1], w.array(x).ndim - 2
        group = w.rng.choice([g for g in (1, 1, 2, 3, cin) if g and cin % g == 0] or [1])
        cout = group * w.rng.choice((1, 2, 4))
    spatial = list(w.array(x).shape[2:])
    attributes = _windows(w, spatial)
    shape = [cout, cin // group, *attributes["kernel_shape"]]  # type: ignore[misc]
    if group > 1 or w.chance(0.2):
        attributes["group"] = group
    if op == "Conv":
        names = [x, w.shaped(dtype, shape)]
        if w.chance(0.6):
            names.append(w.shaped(dtype, [cout]))
        if w.chance(0.3):
            del attributes["kernel_shape"]
        w.emit(op, names, **attributes)
    elif op == "DeformConv":
        attributes.pop("auto_pad", None)
        size = [d + 0 for d in spatial]
        pads = attributes.get("pads", [0] * 4)
        steps, spread = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
        out = [
            (size[i] + pads[i] + pads[i + 2] - spread[i] * (shape[2 + i] - 1) - 1) // steps[i] + 1  # type: ignore[index]
            for i in range(2)
        ]
        taps = int(np.prod(shape[2:]))
        n = w.array(x).shape[0]
        offset = w.fresh(dtype, [n, 2 * taps, *out], -0.9, 0.9)
        bias = w.shaped(dtype, [cout]) if w.chance(0.5) else ""
        mask = w.fresh(dtype, [n, taps, *out], 0, 1) if w.chance(0.5) else ""
        w.emit(op, [x, w.shaped(dtype, shape), offset, bias, mask], **attributes)
    else:
        w_type = w.rng.choice((np.dtype(np.uint8), np.dtype(np.int8)))
        weight = w.shaped(w_type, shape)
        zx, zw = w.fresh(dtype, []), w.fresh(w_type, [])
        if op == "ConvInteger":
            w.emit(op, [x, weight, *([zx, zw][: w.rng.randint(0, 2)])], **attributes)
            return
        f = np.dtype(np.float32)
        sx, sw, sy = (w.leaf(w.random(f, s, 0.01, 0.1)) for s in ([], w.rng.choice(([], [cout])), []))
        if w.array(sw).ndim:
            zw = w.leaf(np.zeros([cout], w_type))
        bias = [w.shaped(np.dtype(np.int32), [cout])] if w.chance(0.5) else []
        w.emit(op, [x, sx, zx, weight, sw, zw, sy, w.fresh(dtype, []), *bias], **attributes)


@generator("ConvTranspose")
def conv_transpose(w: World) -> None:
    dtype = w.dtype(w.types("ConvTranspose"))
    rank = w.rng.choice((1, 2, 2, 3))
    group = w.rng.choice((1, 1, 2, 3))
    cin, each = group * w.rng.choice((1, 2, 3)), w.rng.choice((1, 2, 4))
    x = w.shaped(dtype, [w.rng.choice((1, 2)), cin, *(w.rng.randint(1, 5) for _ in range(rank))])
    kernel = [w.rng.randint(1, 3) for _ in range(rank)]
    strides = [w.rng.randint(1, 3) for _ in range(rank)]
    attributes: dict[str, object] = {"kernel_shape": kernel, "strides": strides}
    kind = w.rng.random()
    if kind < 0.15:
        attributes["auto_pad"] = w.rng.choice(("SAME_UPPER", "SAME_LOWER", "VALID"))
    elif kind < 0.5:
        attributes["pads"] = [w.rng.randint(0, k - 1) for _ in range(2) for k in kernel]
    if w.chance(0.3):
        attributes["output_padding"] = [w.rng.randint(0, s - 1) for s in strides]
    if w.chance(0.2):
        attributes["dilations"] = [2] * rank
    names = [x, w.shaped(dtype, [cin, each, *kernel])]
    if w.chance(0.5):
        names.append(w.shaped(dtype, [group * each]))
    w.emit("ConvTranspose", names, **attributes, **({"group": group} if group > 1 else {}))


@named("MaxPool", "AveragePool", "LpPool")
def pool(w: World, op: str) -> None:
    # The reference evaluator takes NaN for padding.
    whole = op == "MaxPool"
    x = w.tensor(w.types(op), 3, 5, fits=lambda a: 0 < a.size < 1500 and (whole or finite(a)))
    a = w.array(x)
    attributes = _windows(w, list(a.shape[2:]))
    newest = since(op, w.opset)
    if newest < {"MaxPool": 10, "AveragePool": 19, "LpPool": 18}[op]:
        attributes.pop("dilations", None)
    if (
        w.chance(0.3)
        and newest >= {"MaxPool": 10, "AveragePool": 10, "LpPool": 18}[op]
        and not (op == "LpPool" and a.dtype != np.float32)  # the reference evaluator's windows at the end are 0
        and "auto_pad" not in attributes
    ):
        attributes["ceil_mode"] = 1
    if op == "AveragePool" and w.chance(0.4):
        attributes["count_include_pad"] = 1
    if op == "LpPool" and w.chance(0.5):
        attributes["p"] = w.rng.choice((1, 2, 3))
    outputs = 1
    if op == "MaxPool" and newest >= 8 and a.dtype != BF16 and w.chance(0.3):  # of those onnxruntime decides
        outputs = 2
        attributes.update(w.some(0.3, storage_order=1))
    w.emit(op, [x], outputs, **attributes)


@named("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(w: World, op: str) -> None:
    x = w.tensor(w.types(op), 3, 5, fits=lambda a: a.size > 0)
    w.emit(op, [x], **(w.some(0.5, p=w.rng.choice((1, 2, 3))) if op == "GlobalLpPool" else {}))


@named("RNN", "LSTM", "GRU")
def recurrent(w: World, op: str) -> None:
    gates = {"RNN": 1, "LSTM": 4, "GRU": 3}[op]
    direction = w.rng.choice(("forward", "forward", "reverse", "bidirectional"))
    d = 2 if direction == "bidirectional" else 1
    steps, batch, features, hidden = (
        w.rng.randint(1, 5),
        w.rng.randint(1, 3),
        w.rng.randint(1, 5),
        w.rng.choice((1, 2, 3, 5, 8)),
    )
    dtype = w.dtype(w.types(op))
    found = w.pick(lambda a: a.dtype == dtype and a.ndim == 3 and 0 < a.size < 600) if w.chance(0.5) else None
    x = found or w.shaped(dtype, [steps, batch, features])
    steps, batch, features = w.array(x).shape
    names = [x, w.shaped(dtype, [d, gates * hidden, features]), w.shaped(dtype, [d, gates * hidden, hidden])]
    names.append(w.shaped(dtype, [d, 2 * gates * hidden]) if w.chance(0.7) else "")
    lengths = w.numbers.integers(1, steps + 1, [batch]).astype(np.int32)
    names.append(w.leaf(lengths) if w.chance(0.3) else "")
    names.append(w.shaped(dtype, [d, batch, hidden]) if w.chance(0.5) else "")
    attributes: dict[str, object] = {"hidden_size": hidden, "direction": direction}
    if op == "LSTM":
        names.append(w.shaped(dtype, [d, batch, hidden]) if w.chance(0.5) else "")
        names.append(w.shaped(dtype, [d, 3 * hidden]) if w.chance(0.3) else "")
        attributes.update(w.some(0.15, input_forget=1))
    if op == "GRU":
        attributes.update(w.some(0.5, linear_before_reset=w.rng.choice((0, 1))))
    if w.chance(0.15):
        count = {"RNN": 1, "LSTM": 3, "GRU": 2}[op]
        attributes["activations"] = [w.rng.choice(("Tanh", "Sigmoid", "Relu")) for _ in range(count * d)]
    attributes.update(w.some(0.15, clip=0.7))
    w.emit(op, names, w.rng.randint(1, 3 if op == "LSTM" else 2), **attributes)


@generator("Attention")
def attention(w: World) -> None:
    dtype = w.dtype(w.types("Attention"))
    batch, kv_heads, size, v_size = (
        w.rng.choice((1, 2)),
        w.rng.choice((1, 2)),
        w.rng.choice((2, 4, 8)),
        w.rng.choice((2, 4, 8)),
    )
    heads = kv_heads * w.rng.choice((1, 1, 2, 3))
    q_len, past = w.rng.randint(1, 5), w.rng.randint(1, 3) if w.chance(0.25) else 0
    kv_len = q_len if w.chance(0.5) else w.rng.randint(1, 6)
    attributes: dict[str, object] = {}
    if w.chance(0.5):
        shapes = [[batch, heads, q_len, size], [batch, kv_heads, kv_len, size], [batch, kv_heads, kv_len, v_size]]
    else:
        shapes = [[batch, q_len, heads * size], [batch, kv_len, kv_heads * size], [batch, kv_len, kv_heads * v_size]]
        attributes.update(q_num_heads=heads, kv_num_heads=kv_heads)
    names = [w.shaped(dtype, shape) for shape in shapes]
    total = kv_len + past
    mask = w.rng.choice(([q_len, total], [1, 1, q_len, total], [batch, heads, q_len, total], [batch, 1, q_len, total]))
    kind = w.rng.random()
    if kind < 0.25:
        names.append(w.shaped(dtype, mask))
    elif kind < 0.45:
        rows = w.random(BOOL, mask)
        rows[..., 0] = True  # a row without any key is no row
        names.append(w.leaf(rows))
    else:
        names.append("")
    outputs = 1
    if past:
        names += [w.shaped(dtype, [batch, kv_heads, past, size]), w.shaped(dtype, [batch, kv_heads, past, v_size])]
        outputs = 3
    attributes.update(w.some(0.3, is_causal=1), **w.some(0.2, scale=0.3), **w.some(0.2, softcap=2.0))
    w.emit("Attention", names, outputs, **attributes)


@generator("RotaryEmbedding")
def rotary(w: World) -> None:
    dtype = w.dtype(w.types("RotaryEmbedding"))
    batch, heads, length, size = (
        w.rng.choice((1, 2)),
        w.rng.choice((1, 2, 3)),
        w.rng.randint(1, 4),
        w.rng.choice((4, 8)),
    )
    part = w.rng.choice((0, 0, size // 2))
    attributes = {"rotary_embedding_dim": part} if part else {}
    half = (part or size) // 2
    if w.chance(0.5):
        x = w.shaped(dtype, [batch, heads, length, size])
    else:
        x = w.shaped(dtype, [batch, length, heads * size])
        attributes["num_heads"] = heads
    attributes.update(w.some(0.4, interleaved=w.rng.choice((0, 1))))
    if w.chance(0.5):
        names = [
            x,
            w.shaped(dtype, [10, half]),
            w.shaped(dtype, [10, half]),
            w.leaf(w.numbers.integers(0, 10, [batch, length])),
        ]
    else:
        names = [x, w.shaped(dtype, [batch, length, half]), w.shaped(dtype, [batch, length, half])]
    w.emit("RotaryEmbedding", names, **attributes)
