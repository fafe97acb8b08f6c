"""The bodies of kernels: a function for each heavy operation, and one for the loop nests of all others.

In: the elements of a group, and its anchor. Out: a `kernel.ir.Body` over the parameters of the elements.
"""

from __future__ import annotations

from collections.abc import Callable

from ..graph.index import bounds_mask, broadcast_index, count, delinear, linear
from ..graph.ir import Node, Value
from ..kernel.ir import (
    Attention,
    Blocks,
    Body,
    Conv,
    LoopNest,
    Matmul,
    Nms,
    Nonzero,
    Recurrent,
    Sort,
    Stage,
    Store,
    Trees,
)
from ..kernel.operands import multiplied
from ..kernel.packing import PLAIN, Packing
from ..kernel.program import Weight
from ..scalar.dim import Size, Symbol, dim_max, dim_min, linear_in, number, prod
from ..scalar.dtype import BF16, F16, F32, I64, U8
from ..scalar.expr import Call, Const, Expr, Load, as_type, walk
from ..scalar.prims import TABLE
from .elements import Elements, stored
from .fuse import Index, gather_index, merge_axes, operand_base, path_to_root, root_index


def body_of(elements: Elements) -> Body:
    """The body of the group's kernel."""
    anchor = elements.group.anchor
    return loop_nest(elements) if anchor is None else ANCHORS[anchor.op.name](elements, anchor)


def loop_nest(elements: Elements) -> LoopNest:
    group = elements.group
    outer = group.domain if group.outer is None else tuple(s for s in group.domain if s in group.outer)
    inner = tuple(s for s in group.domain if s not in outer)
    elements.final(group.domain, inner)
    return LoopNest(outer, tuple(elements.stages))


def scan(elements: Elements, node: Node) -> LoopNest:
    """A scan along one axis; an exclusive one starts with the identity and leaves out the last element."""
    (x,) = node.inputs
    axis, kind = node.attrs["axis"], node.attrs["kind"]
    n = x.shape[axis]
    domain = elements.group.domain
    target = elements.param(elements.bufs.of(node.outputs[0]), written=True)
    outer = tuple(s for i, s in enumerate(domain) if i != axis)

    def index_at(i: Size) -> Index:
        i = n - 1 - i if node.attrs["reverse"] else i
        return (*domain[:axis], i, *domain[axis + 1 :])

    skip = 1 if node.attrs["exclusive"] else 0
    if skip:
        first = Const(TABLE[kind].identity(x.dtype), x.dtype)  # type: ignore[misc]
        once = elements.symbol("k", dim_min(1, n))
        elements.stage(value=first, store=Store(target, linear(index_at(once), x.shape)), axes=(once,))
    i = elements.symbol("k", dim_max(n - skip, 0))
    store = Store(target, linear(index_at(i + skip), x.shape))
    elements.stage(value=elements.at(x, index_at(i)), store=store, axes=(i,), scan=kind)
    return LoopNest(outer, tuple(elements.stages))


def scatter(elements: Elements, node: Node) -> LoopNest:
    """Copies the data, then writes the updates in order; all in one task, since positions may repeat."""
    data, updates, *where = node.inputs
    axes, combine = node.attrs["axes"], node.attrs["combine"]
    target = elements.param(elements.bufs.of(node.outputs[0]), written=True)
    copy = tuple(elements.symbol("k", d) for d in data.shape)
    value = stored(elements.at(data, copy), data.dtype)
    elements.stage(value=value, store=Store(target, linear(copy, data.shape)), axes=copy)
    at = tuple(elements.symbol("u", d) for d in updates.shape)
    positions, rest = gather_index(where, axes, at)
    places = [elements.bind(elements.at(w, p), data.shape[a]) for w, p, a in zip(where, positions, axes)]
    index = merge_axes(rest, axes, places)
    store = Store(target, linear(index, data.shape), combine)
    update = elements.at(updates, at)
    if combine is None:
        update = stored(update, data.dtype)
    elements.stage(value=update, store=store, axes=at)
    return LoopNest((), tuple(elements.stages))


def epilogue_of(elements: Elements, anchor: Value, index: Index) -> tuple[Stage, ...]:
    """The stages that compute and write an element of the root from the accumulator, the anchor's value at `index`."""
    path = path_to_root(anchor, elements.group)
    assert path is not None
    elements.accumulator = anchor
    elements.final(root_index(path, index))
    return tuple(elements.stages)


def matmul(elements: Elements, node: Node) -> Matmul:
    a, b = node.inputs
    out = node.outputs[0]
    acc = node.attrs["acc"].compute
    *batch_dims, rows, n_size = out.shape
    k_size = b.shape[-2] if isinstance(b.shape[-2], int) else a.shape[-1]  # demanded to be equal
    n, k = Symbol("n", 0, n_size), Symbol("k", 0, k_size)
    shared = all(d == 1 for d in b.shape[:-2])

    def at(operand: Value, index: Index, *last: Size) -> Expr:
        return elements.at(operand, (*broadcast_index(index, batch_dims, operand.shape[:-2]), *last))

    merged = Symbol("m", 0, prod(batch_dims) * rows)
    batch: tuple[Symbol, ...] = ()
    m = merged
    lead: Index = delinear(merged, (*batch_dims, rows))
    a_expr = at(a, lead[:-1], lead[-1], k)
    if not shared or not _has_rows(a_expr, k):
        batch = tuple(Symbol(f"b{i}", 0, d) for i, d in enumerate(batch_dims))
        m = Symbol("m", 0, rows)
        lead = (*batch, m)
        a_expr = at(a, batch, m, k)
    packing: Packing | None = None
    blocks: Blocks | None = None
    a_type, b_type = multiplied(a.dtype, b.dtype, acc)
    widened = acc.is_integer and a.dtype.is_integer and b.dtype.is_integer
    is_weight = elements.weights.packed and shared and b.node in elements.static
    narrow = elements.bufs.narrowed(b) if is_weight and acc == F32 else None
    if narrow is not None:
        packing, b_type = Packing("plain", bits=narrow.bits), U8
        of_zeros = Packing("plain", bits=narrow.zero_bits) if narrow.zero.dtype == U8 else PLAIN
        data, scale, zero = (
            elements.param(elements.bufs.constant(Weight(value, how)))
            for value, how in ((narrow.data, packing), (narrow.scale, PLAIN), (narrow.zero, of_zeros))
        )
        b_expr: Expr = Load(data, 0, U8)
        blocks = Blocks(narrow.block, scale, zero, narrow.zero_bits)
    elif is_weight and (acc == a.dtype == b.dtype or widened):
        packing = PLAIN
        b_expr = Load(elements.param(elements.bufs.constant(Weight(b.cast(b_type), packing))), 0, b_type)
    elif is_weight and acc == F32 and b.dtype in (F16, BF16):  # stay as short in memory
        packing = PLAIN
        b_expr = Load(elements.param(elements.bufs.constant(Weight(b, packing))), 0, b.dtype)
    else:
        b_expr = elements.at(b, (*(0,) * (b.rank - 2), k, n)) if shared else at(b, batch, k, n)
    if not elements.weights.narrow:
        a_expr, b_expr = as_type(a_expr, a_type), as_type(b_expr, b_type)
        a_expr, b_expr = elements.as_computed((a_expr, b_expr))
    epilogue = epilogue_of(elements, out, (*lead, n))
    return Matmul(batch, m, n, k, a_expr, b_expr, acc, epilogue, packing, blocks)


def conv(elements: Elements, node: Node) -> Conv:
    x, w, *filled = node.inputs
    out = node.outputs[0]
    attrs = node.attrs
    *taps, ic, oc = map(number, w.shape)
    groups, acc = attrs["groups"], attrs["acc"].compute
    x_type, w_type = multiplied(x.dtype, w.dtype, acc)
    if w.dtype != w_type and not elements.weights.narrow:
        w = w.cast(w_type)
    n, pads, sizes = Symbol("n", 0, x.shape[0]), attrs["pads_low"], x.shape[1:-1]
    fill = elements.at(filled[0], ()) if filled else None
    is_padded = fill is not None and elements.weights.narrow  # kernels of the device have zeros outside of their input
    if is_padded:
        sizes = tuple(low + d + high for low, d, high in zip(pads, sizes, attrs["pads_high"]))
    spatial = tuple(Symbol(f"x{i}", 0, d) for i, d in enumerate(sizes))
    channel = Symbol("ic", 0, ic * groups)
    position = tuple(Symbol(f"y{i}", 0, d) for i, d in enumerate(out.shape[1:-1]))
    c = Symbol("c", 0, oc)
    if is_padded:
        assert fill is not None
        inside = bounds_mask(spatial, pads, x.shape[1:-1])
        x_expr = elements.at(x, (n, *(s - low for s, low in zip(spatial, pads)), channel), inside)
        x_expr = x_expr if inside is None else Call("select", (inside, x_expr, fill), x_expr.dtype)
        fill, pads = None, (0,) * len(pads)
    else:
        x_expr = elements.at(x, (n, *spatial, channel))
    if not elements.weights.narrow:
        x_expr = as_type(x_expr, x_type)
    w_param = elements.param(elements.bufs.constant(Weight(w, PLAIN)))
    epilogue = epilogue_of(elements, out, (n, *position, c))
    return Conv(
        n, spatial, channel, position, c, tuple(taps), attrs["strides"], attrs["dilations"], pads, groups, x_expr,
        w_param, acc, epilogue, PLAIN, fill,
    )  # fmt: skip


def attention(elements: Elements, node: Node) -> Attention:
    q, k, v = node.inputs[:3]
    out = node.outputs[0]
    batch = tuple(Symbol(f"b{i}", 0, d) for i, d in enumerate(out.shape[:-2]))
    m, n = Symbol("m", 0, out.shape[-2]), Symbol("n", 0, k.shape[-2])
    d, dv = Symbol("d", 0, q.shape[-1]), Symbol("e", 0, v.shape[-1])

    def read(value: Value, *last: Symbol) -> Expr:
        return elements.at(value, (*broadcast_index(batch, out.shape[:-2], value.shape[:-2]), *last))

    mask: Expr | None = None
    scores = (*out.shape[:-1], k.shape[-2])
    for value in node.inputs[3:]:
        e = elements.at(value, broadcast_index((*batch, m, n), scores, value.shape))
        mask = e if mask is None else Call("add", (mask, e), e.dtype)
    causal = node.attrs.get("causal")
    exprs = read(q, m, d), read(k, n, d), read(v, n, dv)
    epilogue = epilogue_of(elements, out, (*batch, m, dv))
    offset: Size | None = None if causal is None or causal is False else (0 if causal is True else causal)
    return Attention(
        batch, m, n, d, dv, *exprs, mask, float(node.attrs["scale"]), offset, epilogue,
        bool(node.attrs.get("zero_rows", False)),
    )  # fmt: skip


def recurrent(elements: Elements, node: Node) -> Recurrent:
    attrs = node.attrs
    operands = dict(zip(("xw", "r", *attrs["has"]), node.inputs))
    bases = {name: operand_base(node, i, v) for i, (name, v) in enumerate(operands.items())}
    params = {name: elements.buffer(v) for name, v in bases.items()}
    outs = {}
    for name, v in zip(("y", "yh", "yc"), node.outputs):
        outs[name] = elements.param(elements.bufs.of(v), written=True)
    time, batch, _, _, hidden = operands["xw"].shape
    params |= {n: -1 for n in _OPTIONAL if n not in params} | {n: outs.get(n, -1) for n in ("y", "yh", "yc")}
    return Recurrent(
        kind=attrs["kind"],
        direction=attrs["direction"],
        time=time,
        batch=batch,
        hidden=hidden,
        activations=attrs["activations"],
        clip=attrs["clip"],
        input_forget=attrs["input_forget"],
        dtype=operands["xw"].dtype,
        **params,
    )


def sort(elements: Elements, node: Node) -> Sort:
    (x,) = node.inputs
    values, indices = node.outputs
    axis = node.attrs["axis"]
    outer = tuple(Symbol(f"o{i}", 0, d) for i, d in enumerate(x.shape) if i != axis)
    i, j = Symbol("i", 0, x.shape[axis]), Symbol("j", 0, values.shape[axis])
    place = linear(merge_axes(outer, (axis,), (j,)), values.shape)
    e = elements.at(x, merge_axes(outer, (axis,), (i,)))
    to_values, to_indices = (Store(elements.param(elements.bufs.of(v), written=True), place) for v in (values, indices))
    return Sort(outer, i, j, e, node.attrs["descending"], to_values, to_indices, indices.dtype)


def sort_rows(elements: Elements, node: Node) -> Sort:
    (x,) = node.inputs
    rows, columns = x.shape
    i, j, column = Symbol("i", 0, rows), Symbol("j", 0, rows), Symbol("column", 0, columns)
    one = columns == 1
    e = elements.at(x, (i, 0 if one else column))
    indices, begins = (Store(elements.param(elements.bufs.of(v), written=True), j) for v in node.outputs)
    return Sort((), i, j, e, False, None, indices, I64, begins, None if one else column)


def nonzero(elements: Elements, node: Node) -> Nonzero:
    (mask,) = node.inputs
    i, j = (Symbol(name, 0, mask.shape[0]) for name in "ij")
    places, count = (elements.param(elements.bufs.of(v), written=True) for v in node.outputs)
    return Nonzero(i, j, elements.at(mask, (i,)), Store(places, j), Store(count, 0))


def nms(elements: Elements, node: Node) -> Nms:
    boxes, scores, *limits = node.inputs
    batch, row, i = (Symbol(name, 0, d) for name, d in zip(("o0", "o1", "i"), scores.shape))
    j = Symbol("j", 0, node.attrs["most"])
    top, left, bottom, right = (elements.at(boxes, (batch, i, corner)) for corner in range(4))
    overlap, least = [*(elements.at(limit, ()) for limit in limits), None][:2]
    assert overlap is not None
    to_places, to_counts = (
        Store(elements.param(elements.bufs.of(v), written=True), linear((batch, row, j)[: v.rank], v.shape))
        for v in node.outputs
    )
    score = elements.at(scores, (batch, row, i))
    return Nms((batch, row), i, j, score, top, left, bottom, right, overlap, least, to_places, to_counts)


def trees(elements: Elements, node: Node) -> Trees:
    (out,), attrs = node.outputs, node.attrs
    x, roots, *tables = (operand_base(node, i, v) for i, v in enumerate(node.inputs))
    part, row, target = (Symbol(name, 0, d) for name, d in zip(("part", "row", "target"), out.shape))
    place = Symbol("place", 0, count(x.shape))
    load = Load(elements.buffer(x), place, x.dtype)
    nodes, weights, owners = [*map(elements.buffer, tables), -1, -1][:3]
    return Trees(
        part, row, target, place, node.inputs[0].shape[1], load if x.dtype == x.dtype.compute else
        Call("cast", (load,), x.dtype.compute), elements.buffer(roots), nodes, weights, owners, attrs["kind"],
        attrs["relations"], attrs["missing"], roots.shape[0], attrs["steps"],
        epilogue_of(elements, out, (part, row, target)),
    )  # fmt: skip


def _has_rows(e: Expr, k: Symbol) -> bool:
    """Whether every load of an operand is unmasked and linear in k."""
    loads = [each for each in walk(e) if isinstance(each, Load)]
    return all(load.mask is None and linear_in(load.index, k) is not None for load in loads)


_OPTIONAL = ("rb", "peephole", "h0", "c0", "lengths")  # operands that a recurrent layer may lack

ANCHORS: dict[str, Callable[[Elements, Node], Body]] = {
    "matmul": matmul,
    "conv": conv,
    "attention": attention,
    "recurrent": recurrent,
    "sort": sort,
    "sort_rows": sort_rows,
    "nonzero": nonzero,
    "nms": nms,
    "trees": trees,
    "scan": scan,
    "scatter": scatter,
}
