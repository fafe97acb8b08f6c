"""The contents of values that an operator needs at import: shapes, axes, scalars; symbols for what depends on data.

In: values. Out: sizes and numbers. A number that is not constant becomes a symbol: an element of a graph input is known
before the model runs; any other symbol is bound when its value has been computed (`Graph.bindings`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import Unsupported
from ..graph.ir import RANDOM, Value, constant, known_content, reachable
from ..scalar.dim import LEAST, Dim, Size, Symbol, prod, substitute, symbols
from ..scalar.dtype import I64, DType

Array = npt.NDArray[Any]
FOLD_LIMIT = 1 << 16  # elements of a value that is computed at import
SYMBOLS_LIMIT = 64  # elements of a tensor that become symbols
DEMAND_LIMIT = 256  # nodes that `demand` looks through, from a shape back to graph inputs

# -- symbols that depend on data -------------------------------------------------------------------------------------


@dataclass
class Symbols:
    """The symbols that the import of one graph has made so far, with their values.

    taken: the names of all symbols, and of the model's dimensions, which may have any name."""

    numbers: Iterator[int]
    taken: set[str] = field(default_factory=set)
    bindings: dict[Symbol, Value] = field(default_factory=dict)
    known: dict[Value, Symbol] = field(default_factory=dict)
    upper: dict[Symbol, Size] = field(default_factory=dict)  # upper bounds, where known
    folded: dict[Value, Array] = field(default_factory=dict)  # results of `fold`
    strings: dict[str, int] = field(default_factory=dict)  # the numbers of strings, for all graphs of a model
    inside: bool = False  # this is a sub-graph, whose inputs are computed by the graph around it
    assumed: dict[Size, bool] = field(default_factory=dict)  # conditions on sizes that hold, or not, where it runs


_current: ContextVar[Symbols] = ContextVar("symbols")  # one import at a time in each thread


@contextmanager
def collecting(
    inside: bool = False, taken: Iterable[str] = (), assumed: Mapping[Size, bool] | None = None
) -> Iterator[Symbols]:
    """Collects the symbols of a graph, or of a sub-graph `inside` of the current one.

    taken: the names of its dims; assumed: formulas that are 1 (True) or 0 (False) wherever it runs."""
    outer = _current.get() if inside else Symbols(count(), set(taken))
    assumed = {**outer.assumed, **(assumed or {})}
    current = Symbols(outer.numbers, outer.taken, strings=outer.strings, inside=inside, assumed=assumed)
    token = _current.set(current)
    try:
        yield current
    finally:
        _current.reset(token)


def string_number(text: str) -> int:
    """The number of a string among the model's."""
    return _current.get().strings.setdefault(text, len(_current.get().strings))


def own_symbol(name: str, lower: int = 0, extent: Size | None = None) -> Symbol:
    """A new symbol called `name`, with primes added while the name is taken."""
    names = _current.get().taken
    while name in names:
        name += "'"
    names.add(name)
    return Symbol(name, lower, extent)


def fresh_symbol(name: str, lower: int = 0, extent: Size | None = None) -> Symbol:
    """A new symbol called `name` with a number that is unique in this import."""
    return own_symbol(f"{name}#{next(_current.get().numbers)}", lower, extent)


def random_symbol() -> Symbol:
    """A symbol for which the runtime draws a random value in each run.

    Raises Unsupported in sub-graphs, which need not run exactly once."""
    if _current.get().inside:
        raise Unsupported("random numbers without a seed where data decides what is run")
    return fresh_symbol(RANDOM, LEAST)


def bound(v: Value, lower: int = 0, name: str = "n", upper: Size | None = None) -> Size:
    """An integer scalar as a size: its content if known, else a symbol that is bound when the model runs.

    lower, upper: bounds of the value."""
    demand(v)
    if v.content is not None:
        return _plain(v.content.reshape(-1)[0])
    data = fold(v)
    if data is not None:
        return int(data.reshape(-1)[0])
    scalar_value = v.reshape().cast(I64)
    current = _current.get()
    if scalar_value not in current.known:
        symbol = fresh_symbol(name, lower)
        current.known[scalar_value] = symbol
        current.bindings[symbol] = scalar_value
        if upper is not None:
            current.upper[symbol] = upper
        scalar_value.content = np.array(symbol, object)
    return current.known[scalar_value]


def truth(v: Value) -> Size | None:
    """A condition as a size: 0 or 1, or a formula that is one of these; None where it depends on data."""
    demand(v)
    data = fold(v)
    if data is not None:
        return int(data.reshape(-1)[0])
    if v.content is None:
        return None
    size = _plain(v.content.reshape(-1)[0])
    assumed = _current.get().assumed
    if size in assumed:
        return int(assumed[size])
    return int(not assumed[1 - size]) if 1 - size in assumed else size


def assume(size: Size, holds: bool) -> None:
    """Records that from here on a formula is 1 (`holds`) or 0, as the graph demands it."""
    _current.get().assumed[size] = holds


def _plain(size: Any) -> Size:
    return int(size) if isinstance(size, (bool, np.integer, np.bool_)) else size


def largest(size: Size, inner: Collection[Symbol], upper: Mapping[Symbol, Size]) -> Size:
    """An upper bound of `size` without symbols of `inner`, which are replaced by their bounds in `upper`.

    Raises Unsupported where no bound is known."""
    while found := symbols(size) & set(inner):
        assert isinstance(size, Dim)
        monotonic = all(c > 0 and all(isinstance(a, Symbol) for a in atoms) for c, atoms in size.terms)
        if not monotonic or not found <= upper.keys():
            raise Unsupported(f"a size of {size}, without a known limit, that one side of a condition decides")
        size = substitute(size, {s: upper[s] for s in found})
    return size


# -- contents of inputs ----------------------------------------------------------------------------------------------


def shape_arg(v: Value, what: str = "shape") -> tuple[Size, ...]:
    """The (symbolic) contents of a small integer tensor; only elements that depend on data become new symbols.

    Raises Unsupported for a larger tensor that is not constant."""
    demand(v)
    if v.content is None:
        data = fold(v)
        if data is not None:
            return tuple(int(d) for d in data.reshape(-1))
        if not _is_small(v):
            raise Unsupported(f"its {what} depends on the data of other tensors")
        demand(v, name=what.split()[0])
        if v.content is None:
            return tuple(_bound_elements(v, what.split()[0]).flat)
    return tuple(_plain(d) for d in v.content.reshape(-1))


def demand(v: Value, name: str = "") -> None:
    """Sets the symbolic `content` of a small integer tensor, computed from graph inputs on if necessary.

    Elements of a graph input become symbols `input[i]`, which the runtime binds to the data it is fed. With a `name`,
    elements that depend on data become symbols, too, at the first small integer tensors on the way."""
    if v.content is not None or not _is_small(v):
        return
    nodes = list(islice(reachable([v], within=lambda u: u.content is None and _is_small(u)), DEMAND_LIMIT))
    if len(nodes) == DEMAND_LIMIT:
        return
    partial: dict[Value, Array] = {}  # contents, with None for unknown elements
    for node in nodes:
        for i, out in enumerate(node.outputs):
            if out.content is not None or not _is_small(out):
                continue
            content = None
            if node.op.name == "input" and out.dtype.is_integer and not _current.get().inside:
                content = _element_symbols(out)
            elif i == 0:
                content = known_content(node, [partial.get(v) if v.content is None else v.content for v in node.inputs])
            if content is None and (data := fold(out)) is not None:
                content = np.array(data.tolist(), object).reshape(data.shape)
            if name and out.dtype.is_integer:
                content = _bound_elements(out, name, content)
            if content is not None:
                partial[out] = content
                if all(value is not None for value in content.flat):
                    out.content = content


def _bound_elements(v: Value, name: str, content: Array | None = None) -> Array:
    """The elements of v: those known by `content`, and symbols that are bound when the model runs."""
    count = prod(v.shape)
    assert isinstance(count, int)
    values = v.reshape(count)
    elements: Array = np.empty(count, object)
    known = [None] * count if content is None else content.flat
    elements[:] = [bound(values.narrow(0, i, 1), LEAST, name) if x is None else x for i, x in enumerate(known)]
    return elements.reshape(v.shape)


def _element_symbols(v: Value) -> Array:
    count = prod(v.shape)
    assert isinstance(count, int)
    elements = np.empty(count, object)
    elements[:] = [own_symbol(f"{v.name}[{i}]", LEAST) for i in range(count)]
    return elements.reshape(v.shape)


def _is_small(v: Value) -> bool:
    count = prod(v.shape)
    fixed = all(isinstance(d, int) for d in v.shape)  # the product alone does not tell: with a dim of 0 it is 0
    whole = v.dtype.is_integer or v.dtype.kind == "b"
    return whole and fixed and isinstance(count, int) and count <= SYMBOLS_LIMIT


def const_arg(v: Value, what: str) -> Array:
    """The contents of a tensor. Raises Unsupported where they are not constant."""
    data = fold(v)
    if data is None:
        raise Unsupported(f"its {what} is not constant")
    return data


def scalar_arg(v: Value, what: str) -> Any:
    """The one element of a constant tensor, as a Python number."""
    data = const_arg(v, what)
    if data.size != 1:
        raise ValueError(f"{what} has shape {list(data.shape)}, one element is needed")
    return data.reshape(-1)[0].item()


def fold(v: Value) -> Array | None:
    """The data of a value that depends on constants only and is small to compute; else None."""
    if v.data is not None:
        return v.data
    if v.content is not None and all(isinstance(d, (int, bool, np.integer, np.bool_)) for d in v.content.reshape(-1)):
        return v.content.astype(v.dtype.to_numpy())
    if v.dtype.kind in "sc" or not v.node.fixed:
        return None
    cache = _current.get().folded
    if v in cache:
        return cache[v]
    nodes = list(reachable([v], within=lambda u: u not in cache))
    computed: dict[Value, Array] = {}
    for node in nodes:
        if any(not isinstance(d, int) for o in node.outputs for d in o.shape):
            return None
        if any(prod(o.shape) > FOLD_LIMIT for o in node.outputs if isinstance(prod(o.shape), int)):  # type: ignore[operator]
            return None
    for node in nodes:
        if node.op.name == "size" and not isinstance(node.attrs["value"], int):
            return None
        try:
            inputs = [cache[i] if i in cache else computed[i] for i in node.inputs]
            arrays = node.op.evaluate(inputs, node.attrs)
        except (TypeError, ValueError):  # an attribute is symbolic
            return None
        computed.update(zip(node.outputs, arrays))
    cache[v] = computed[v]
    return cache[v]


def demanded(x: Value, size: Size, expected: Size, text: str) -> Value:
    """x, with a check that two sizes are equal; where they are not, the run fails with `text`.

    Raises ValueError where they are known to differ."""
    if size == expected:
        return x
    return x.emit("ensure_shape", [x], shape=x.shape, sizes=((size, expected),), text=text)[0]


def scalar(number: float | bool, dtype: DType) -> Value:
    """A scalar constant."""
    return constant(np.asarray(number, dtype.to_numpy()))


def vector(sizes: Sequence[Size]) -> Value:
    """Sizes as a 1-D i64 tensor: a constant, or assembled from the dims where these are symbolic."""
    if all(isinstance(d, int) for d in sizes):
        return constant(np.asarray(sizes, np.int64))
    parts = [scalar(0, I64).const_size(d).reshape(1) for d in sizes]
    return parts[0].emit("concat", parts, axis=0)[0] if len(parts) > 1 else parts[0]


def along(v: Value, x: Value, what: str) -> Value:
    """A vector, with a check that it is as long as the last axis of x."""
    return v.ensure_shape(x.shape[-1], text=f"{what} is as long as the last axis")


def concat(parts: Sequence[Value], axis: int) -> Value:
    """Joins tensors of one dtype along an axis."""
    return parts[0] if len(parts) == 1 else parts[0].emit("concat", parts, axis=parts[0].axis(axis))[0]
