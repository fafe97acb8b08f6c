"""Attention: softmax(scale * q k^T + mask) v as one operation.

Needs: folded masks, composed permutes. Ensures: the pattern, in the forms that exporters write, is replaced by an
`attention` node; nothing else changes.

Recognised: scales on the scores, on q or k or both, by multiplication or division; masks that are added to the scores,
or replace them by `where`; the guard `where(isnan(p), 0, p)`; a softmax in f32 between narrow floats; causal masks,
which compare the two positions.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..graph.ir import Graph, Node, Value, make, rewrite
from ..scalar.dim import Size, Symbol, known_le, linear_in, symbols
from ..scalar.dtype import F32
from .indices import Formulas, axis_symbol
from .views import broadcast, permute, reshape, uniform

_ON_THE_WAY = ("map", "matmul", "reshape")  # operations between the scores and their product, and the product
_EXCLUDED = -1e30  # lower scores are equivalent to -inf: their exponential is 0 beside any other score


def run(graph: Graph) -> Graph:
    uses: Counter[Value] = Counter()
    formulas = Formulas(graph)

    def rule(node: Node) -> list[Value] | None:
        result = _attention(node, uses, formulas)
        return None if result is None else [result]

    return rewrite(graph, rule, uses)


def _attention(node: Node, uses: Counter[Value], formulas: Formulas) -> Value | None:
    if node.op.name != "matmul" or node.attrs["acc"] != node.inputs[0].dtype:
        return None
    softmax, v = node.inputs
    most, is_guarded = 1, False
    while not _shared(softmax, uses, most):
        if (unguarded := _unguarded(softmax)) is not None:
            softmax, most, is_guarded = unguarded, 2, True
        elif _prim(softmax) == "cast" and softmax.node.inputs[0].dtype == F32:  # that of narrow floats may be in f32
            softmax, most = softmax.node.inputs[0], 1
        else:
            break
    else:
        return None
    logits = _logits(softmax)
    if logits is None:
        return None
    batch = logits.shape[:-2]
    if (split := _with_other_batch(logits)) is not None and v.shape[:-2] == batch and not _shared(logits, uses, 2):
        batch = split.shape[:-2]
        v = reshape(v, [*batch, *v.shape[-2:]])
    scores = _scores(split or logits, uses, 1 if split else 2)
    if scores is None or scores.q.dtype != v.dtype or not v.dtype.is_float or v.dtype.compute != F32:
        return None
    causal: Size | None = None
    mask: Value | None = None
    for term in scores.masks:
        if (offset := _causal_only(term, formulas)) is not None and causal is None:
            causal = offset
        else:
            mask = term if mask is None else mask + term
    operands = [scores.q, scores.k, v]
    if mask is not None:
        operands.append(mask.cast(F32))
    attrs = {"scale": scores.scale, "causal": causal, "zero_rows": is_guarded}
    y = make("attention", operands, **attrs)[0]
    if y.shape != (*batch, *node.outputs[0].shape[-2:]):
        return None
    return reshape(y, node.outputs[0].shape)


def _with_other_batch(v: Value) -> Value | None:
    """x, if v is x with its leading axes merged or split, else None."""
    x = v.node.inputs[0] if v.op == "reshape" else v
    return x if x is not v and x.rank > 2 and x.shape[-2:] == v.shape[-2:] else None


def _shared(v: Value, uses: Counter[Value], most: int = 1) -> bool:
    return uses[v] > most


def _prim(v: Value) -> str | None:
    return v.node.attrs["prim"] if v.op == "map" else None


def _unguarded(p: Value) -> Value | None:
    """s, if p is where(isnan(s), 0, s), else None."""
    if _prim(p) != "select":
        return None
    condition, zero, s = p.node.inputs
    is_guard = _prim(condition) == "isnan" and condition.node.inputs[0] is s and uniform(zero) == 0
    return s if is_guard else None


def _logits(p: Value) -> Value | None:
    """x, if p is softmax(x) over the last axis, exp(x - max x) / sum, else None."""
    if _prim(p) != "div":
        return None
    e, total = p.node.inputs
    if _prim(e) != "exp" or _reduced(total, "add") is not e:
        return None
    x = e.node.inputs[0]
    if _prim(x) == "sub":
        shifted, greatest = x.node.inputs
        if _reduced(greatest, "max") is shifted:
            return shifted
    return None


def _reduced(v: Value, kind: str) -> Value | None:
    """x, if v is x reduced over its last axis, which is kept with size 1, else None."""
    if v.op != "reshape" or v.node.inputs[0].op != "reduce":
        return None
    node = v.node.inputs[0].node
    x = node.inputs[0]
    fits = node.attrs == {"kind": kind, "axes": (x.rank - 1,)} and v.shape == (*x.shape[:-1], 1)
    return x if fits else None


@dataclass
class _Scores:
    """scale * q k^T + masks."""

    q: Value
    k: Value
    scale: float
    masks: list[Value] = field(default_factory=list)


def _scores(x: Value, uses: Counter[Value], allowed: int) -> _Scores | None:
    """Matches logits from the outside in: masks, then a scale, then the product; None if they do not match.

    The logits have at most `allowed` readers, each value inside at most one."""
    masks: list[Value] = []
    scale = 1.0
    shape = x.shape
    while x.op == "map":
        if _shared(x, uses, allowed):
            return None
        allowed = 1
        prim, inputs = _prim(x), x.node.inputs
        if prim == "add" and scale == 1.0:
            main, term = (inputs[0], inputs[1]) if _is_product(inputs[0]) else (inputs[1], inputs[0])
            masks.append(term)
            x = main
        elif prim == "select" and scale == 1.0 and (fill := _excluding(inputs)) is not None:
            masks.append(inputs[0].select(*fill))
            x = inputs[1] if _is_product(inputs[1]) else inputs[2]
        elif prim == "cast" and x.dtype == F32 and inputs[0].dtype.compute == F32:
            x = inputs[0]
        elif prim in ("mul", "div") and (factor := uniform(inputs[1])) is not None and factor != 0:
            scale = scale * factor if prim == "mul" else scale / factor
            x = inputs[0]
        elif prim == "mul" and (factor := uniform(inputs[0])) is not None:
            scale, x = scale * factor, inputs[1]
        else:
            return None
        if x.shape != shape:
            return None
    if _shared(x, uses, allowed):
        return None
    if (merged := _with_other_batch(x)) is not None:
        x = merged
        if _shared(x, uses):
            return None
    if x.op != "matmul" or x.node.attrs["acc"] != x.node.inputs[0].dtype:
        return None
    q, kt = x.node.inputs
    if merged is not None and not q.shape[:-2] == kt.shape[:-2] == x.shape[:-2]:
        return None
    q, by_q = _unscaled(q)
    k, by_k = _unscaled(permute(kt, (*range(kt.rank - 2), kt.rank - 1, kt.rank - 2)))
    if merged is not None:
        q, k = (reshape(u, [*shape[:-2], *u.shape[-2:]]) for u in (q, k))
    return _Scores(q, k, scale * by_q * by_k, masks)


def _is_product(v: Value) -> bool:
    """Whether v can be the scores rather than a mask: whether a way through maps leads to a matmul."""
    while v.op == "map" and _prim(v) in ("add", "mul", "div", "select", "cast"):
        v = next((u for u in v.node.inputs if u.op in _ON_THE_WAY and u.shape == v.shape), v.node.inputs[0])
    return (_with_other_batch(v) or v).op == "matmul"


def _excluding(inputs: tuple[Value, ...]) -> tuple[Value, Value] | None:
    """The branches of the additive mask that is equivalent to where(c, scores, -inf) or where(c, -inf, scores).

    Only for -inf: the sum of the scores and another number is not that number."""
    _, yes, no = inputs
    for fill, fills_yes in ((no, False), (yes, True)):
        value = uniform(fill)
        if value is not None and value == float("-inf"):
            zero, least = fill.const(0.0), fill.const(value)
            return (least, zero) if fills_yes else (zero, least)
    return None


def _unscaled(v: Value) -> tuple[Value, float]:
    """v without its constant factor, which may be above views, and the factor."""
    if _prim(v) in ("mul", "div"):
        a, b = v.node.inputs
        factor = uniform(b)
        if factor is not None and factor != 0 and a.shape == v.shape:
            inner, more = _unscaled(a)
            return inner, more * (factor if _prim(v) == "mul" else 1 / factor)
        factor = uniform(a)
        if _prim(v) == "mul" and factor is not None and b.shape == v.shape:
            inner, more = _unscaled(b)
            return inner, more * factor
    if v.op in ("reshape", "permute", "broadcast"):
        inner, factor = _unscaled(v.node.inputs[0])
        if factor != 1.0:
            views = {"reshape": reshape, "permute": permute, "broadcast": broadcast}
            return views[v.op](inner, v.node.attrs["axes" if v.op == "permute" else "shape"]), factor
    return v, 1.0


def _causal_only(term: Value, formulas: Formulas) -> Size | None:
    """The offset, if the mask term is exactly n <= m + offset, and excludes no row as a whole; else None."""
    if _prim(term) != "select" or term.rank < 2:
        return None
    condition, yes, no = term.node.inputs
    if uniform(yes) != 0 or (value := uniform(no)) is None or value > _EXCLUDED:
        return None
    if _prim(condition) not in ("le", "lt"):
        return None
    left, right = (formulas.of(_aligned(v, term)) for v in condition.node.inputs)
    if left is None or right is None or isinstance(left, bool) or isinstance(right, bool):
        return None
    slack = right - left - (1 if _prim(condition) == "lt" else 0)  # the condition is 0 <= slack
    m, n = axis_symbol(term, term.rank - 2), axis_symbol(term, term.rank - 1)
    if not isinstance(m, Symbol) or not isinstance(n, Symbol):
        return None
    by_n = linear_in(slack, n)
    by_m = linear_in(by_n[1], m) if by_n is not None and by_n[0] == -1 else None
    if by_m is None or by_m[0] != 1:
        return None
    offset = by_m[1]
    dims = {s for d in term.shape for s in symbols(d)}
    # With a finite fill, a row that is excluded as a whole weighs all positions equally.
    reaches = value == float("-inf") or known_le(0, offset)
    return offset if symbols(offset) <= dims | formulas.dims and reaches else None


def _aligned(v: Value, like: Value) -> Value:
    """v broadcast to the shape of `like`, so that formulas name the same axes."""
    return broadcast(v, like.shape)
