"""The contents of integer and bool tensors as formulas of the index: an analysis for other passes.

In: values of a graph. Out: for a value, the `Size` (or bool) at index (@0, @1, ...), symbols given by `axis_symbol`;
None where no formula is known. It resolves masks that exporters build from ranges, gathers and comparisons: a gather
at `concat(arange(b), arange(s))` has the formula @3, and `arange(s) >= 0` the formula True.

A formula holds for every element that exists. Internally all dims are assumed to be >= 1, as an empty tensor has no
elements; a formula that rests on this is returned only if the value's own shape implies it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Union

import numpy as np

from ..graph.index import broadcast_index, input_index
from ..graph.interp import sizes_in
from ..graph.ir import Array, Graph, Node, Value
from ..scalar import prims
from ..scalar.convert import as_dtype
from ..scalar.dim import Size, Symbol, known_eq, known_le, known_lt, linear_in, substitute, symbols

Formula = Union[Size, bool]  # noqa: UP007 (Dim has no `|`)
_VIEWS = ("reshape", "permute", "broadcast", "slice", "window")
_NO_SYMBOLS: frozenset[Symbol] = frozenset()
_CONSTANT_LIMIT = 1 << 16  # elements of a constant that is searched for a formula


def axis_symbol(v: Value, axis: int) -> Size:
    """The index along an axis in formulas: a symbol, or 0 if the axis has size 1."""
    return 0 if v.shape[axis] == 1 else Symbol(f"@{axis}", 0, v.shape[axis])


def linear_terms(f: Size, v: Value) -> tuple[Size, dict[int, int]] | None:
    """start and steps of f = start + sum of steps[axis] * index[axis] with constant steps; None if f is no such sum."""
    steps: dict[int, int] = {}
    for axis in range(v.rank):
        s = axis_symbol(v, axis)
        if isinstance(s, Symbol) and s in symbols(f):
            parts = linear_in(f, s)
            if parts is None or not isinstance(parts[0], int):
                return None
            steps[axis] = parts[0]
            f = parts[1]
    return f, steps


@dataclass(frozen=True)
class _Known:
    """A formula over positive dims and extents, and the dims that it assumes to be >= 1."""

    formula: Formula
    rests_on: frozenset[Symbol]


class Formulas:
    """The formulas of the values of one graph, cached."""

    def __init__(self, graph: Graph) -> None:
        self.dims = {s for v in graph.inputs for d in v.shape for s in symbols(d)}
        self.cache: dict[Value, _Known | None] = {}

    def of(self, v: Value) -> Formula | None:
        """The formula of v, over the dims of the graph's inputs and the axis symbols of v."""
        known = self._known(v)
        if known is None:
            return None
        if isinstance(known.formula, (bool, int)):
            result: Formula = known.formula
        else:
            back: dict[Symbol, Size] = {_positive(s): s for s in self.dims}
            outside = {s for a in range(v.rank) for s in symbols(axis_symbol(v, a))}
            back.update({_lifted_symbol(s): s for s in outside})
            result = substitute(known.formula, back)
            if not symbols(result) <= self.dims | outside:
                return None
        implied = {s for d in v.shape for s in symbols(d) if _vanishes(d, s)}
        return result if known.rests_on <= implied else None

    def _known(self, v: Value) -> _Known | None:
        if v not in self.cache:
            whole = v.dtype.is_integer or v.dtype.kind == "b"
            try:
                self.cache[v] = self._find(v) if whole else None
            except (TypeError, ValueError, ZeroDivisionError):  # such as an undecidable comparison of sizes
                self.cache[v] = None
        return self.cache[v]

    def _find(self, v: Value) -> _Known | None:
        node = v.node
        index = [_lifted(axis_symbol(v, a)) for a in range(v.rank)]
        own = frozenset(s for x in (*v.shape, *sizes_in(node.attrs)) for s in symbols(x) if s.lower < 1)
        inputs: list[_Known | None] = []
        result: Formula | None
        if v.content is not None and node.op.name != "map":
            result = _progression(v.content, index)
        elif node.op.name == "constant":
            result = _progression(node.attrs["data"], index)
        elif node.op.name == "iota":
            result = index[node.attrs["axis"]]
        elif node.op.name == "size":
            result = _lifted(node.attrs["value"])
        elif node.op.name == "map":
            inputs = [self._known(u) for u in node.inputs]
            shape = [_lifted(d) for d in v.shape]
            at = [broadcast_index(index, shape, [_lifted(d) for d in u.shape]) for u in node.inputs]
            result = _map(node, [_at(k, u, i) for k, u, i in zip(inputs, node.inputs, at)])
        elif node.op.name in _VIEWS:
            inputs = [self._known(node.inputs[0])]
            result = _at(inputs[0], node.inputs[0], [_lifted(i) for i in input_index(node, 0, index)[0]])
        elif node.op.name == "gather":
            inputs = [self._known(u) for u in node.inputs]
            result = self._gather(node, inputs, index)
        elif node.op.name == "concat":
            inputs = [self._known(u) for u in node.inputs]
            result = _concat(node, inputs, index)
        elif node.op.name in ("scan", "reduce"):
            inputs = [self._known(node.inputs[0])]
            is_zero = node.attrs["kind"] == "add" and inputs[0] is not None and _is_int(inputs[0].formula, 0)
            result = 0 if is_zero else None
        else:
            result = None
        result = None if result is None else as_dtype(result, v.dtype)
        if result is None:
            return None
        return _Known(result, own.union(*(k.rests_on for k in inputs if k is not None)))

    def _gather(self, node: Node, inputs: Sequence[_Known | None], index: Sequence[Size]) -> Formula | None:
        x, *places = node.inputs
        axes, rank = node.attrs["axes"], node.outputs[0].rank - x.rank + len(places)
        kept = [*index[: axes[0]], *index[axes[0] + rank :]]
        inner = index[axes[0] : axes[0] + rank]
        target = [_lifted(d) for d in node.outputs[0].shape[axes[0] : axes[0] + rank]]
        at: list[Size] = []
        for axis in range(x.rank):
            if axis not in axes:
                at.append(kept.pop(0))
                continue
            number = axes.index(axis)
            place = places[number]
            where = broadcast_index(inner, target, [_lifted(d) for d in place.shape])
            position = _at(inputs[1 + number], place, where)
            if position is None or isinstance(position, bool):
                return None
            at.append(position)
        return _at(inputs[0], x, at)


def _vanishes(d: Size, s: Symbol) -> bool:
    """Whether a dim is 0 where the symbol is."""
    try:
        return substitute(d, {s: 0}) == 0
    except ZeroDivisionError:
        return False


def _positive(s: Symbol) -> Symbol:
    """A symbol of a dim with 1 as its lower bound; any other symbol unchanged."""
    return s if s.lower != 0 or s.name.startswith("@") else Symbol(s.name, 1, s.extent)


def _lifted_symbol(s: Symbol) -> Symbol:
    return _positive(s) if s.extent is None else Symbol(s.name, s.lower, _lifted(s.extent))


def _lifted(x: Size) -> Size:
    """x with dims, also those in extents of axis symbols, bounded below by 1."""
    return substitute(x, {s: _lifted_symbol(s) for s in symbols(x)})


def _is_int(f: Formula, value: int) -> bool:
    return isinstance(f, int) and f == value


def _at(known: _Known | None, v: Value, index: Sequence[Size]) -> Formula | None:
    """The formula of v, evaluated at an index."""
    if known is None or isinstance(known.formula, (bool, int)):
        return None if known is None else known.formula
    values: Mapping[Symbol, Size] = {
        s: i for a, i in enumerate(index) if isinstance(s := _lifted(axis_symbol(v, a)), Symbol)
    }
    return substitute(known.formula, values)


def _map(node: Node, args: Sequence[Formula | None]) -> Formula | None:
    prim = node.attrs["prim"]
    if prim in ("and", "or") and (prim == "or") in [a for a in args if isinstance(a, bool)]:
        return bool(prim == "or")
    if prim == "select" and isinstance(args[0], bool):
        branch: Formula | None = args[1] if args[0] else args[2]
        return branch
    if prim == "require":
        return args[1]
    if any(a is None for a in args):
        return None
    arrays = []
    for a in args:
        array = np.empty((), object)
        array[()] = a
        arrays.append(array)
    result: Formula = prims.evaluate(prim, arrays, node.attrs.get("dtype")).item()
    return bool(result) if node.outputs[0].dtype.kind == "b" else result


def _progression(data: Array, index: Sequence[Size]) -> Formula | None:
    """The formula of known contents, if they change by a constant step along each axis."""
    if not 1 <= data.size <= _CONSTANT_LIMIT:
        return None
    data = data.astype(object)  # numbers of any size
    first = data[(0,) * data.ndim]
    if isinstance(first, bool):
        return first if all(x == first for x in data.flat) else None
    total = np.full(data.shape, first, object)
    formula: Size = _lifted(first)
    for axis, n in enumerate(data.shape):
        if n == 1:
            continue
        step = data[tuple(int(a == axis) for a in range(data.ndim))] - first
        if not isinstance(step, (int, np.integer)):
            return None
        line = np.arange(n).astype(object).reshape([n if a == axis else 1 for a in range(data.ndim)])
        total = total + line * int(step)
        formula = formula + int(step) * index[axis]
    return formula if all(a == b for a, b in zip(total.flat, data.flat)) else None


def _concat(node: Node, inputs: Sequence[_Known | None], index: Sequence[Size]) -> Formula | None:
    """The formula of the part that provably contains the index, or a formula that fits all parts."""
    axis = node.attrs["axis"]
    parts: list[tuple[Formula, Value, Size]] = []
    offset: Size = 0
    for known, v in zip(inputs, node.inputs):
        end = offset + _lifted(v.shape[axis])
        at = [i - offset if a == axis else i for a, i in enumerate(index)]
        if known_le(offset, index[axis]) and known_lt(index[axis], end):
            return _at(known, v, at)
        if known is None:
            return None
        parts.append((known.formula, v, offset))
        offset = end
    candidate = _continued(*parts[-1], axis, index)
    for formula, v, start in parts[:-1]:
        # Element `own` of the part is element start + own of the whole.
        own = [_lifted(axis_symbol(v, a)) for a in range(v.rank)]
        if _upper(own[axis]) == 0:
            own[axis] = 0
        here = [start + i if a == axis else i for a, i in enumerate(own)]
        expected = _at(_Known(formula, _NO_SYMBOLS), v, own)
        if candidate is None or expected is None or isinstance(candidate, bool) or isinstance(expected, bool):
            if not (isinstance(candidate, bool) and candidate is expected):
                return None
            continue
        actual = substitute(candidate, {s: h for s, h in zip(index, here) if isinstance(s, Symbol)})
        if known_eq(actual, expected) is not True:
            return None
    return candidate


def _upper(index: Size) -> int | None:
    """0 if that is the only value of an axis symbol, else None."""
    if isinstance(index, Symbol) and index.extent is not None and known_le(index.extent, 1):
        return 0
    return 0 if index == 0 else None


def _continued(formula: Formula, v: Value, offset: Size, axis: int, index: Sequence[Size]) -> Formula | None:
    """A part's formula at an index of the whole; it must be linear along `axis`, so that it extends beyond the part."""
    if isinstance(formula, bool):
        return formula
    symbol = _lifted(axis_symbol(v, axis))
    terms = linear_in(formula, symbol) if isinstance(symbol, Symbol) else (0, formula)
    if terms is None:
        return None
    step, rest = terms
    at = {s: i for a, i in enumerate(index) if a != axis and isinstance(s := _lifted(axis_symbol(v, a)), Symbol)}
    return substitute(rest, at) + substitute(step, at) * (index[axis] - offset)
