"""What the values of a graph are, computed in float64, and how far a right computation may be off.

In: a graph, and feeds. Out: a `Known` for each of its outputs; `Unable` where the graph has no meaning apart from a run
(functions of the host, random numbers). It never looks at what a kernel, or another engine, has computed.

How far off one may be is measured, by Monte Carlo arithmetic (D. S. Parker, 1997): the graph is evaluated again, a few
times, with every result that rounds changed at random within a rounding of its type, and factors and terms of sums as
well. The changes run on through the graph. What these samples are off by is what an algorithm is that is backward
stable at every operation.

Where a rounding may decide (a step of quantisation, a comparison, the order of a sort), there are two kinds of samples:
in some, all is decided as in the exact evaluation, which leaves what changes continuously; in others it is decided
anew. Decisions are large and few: the latter say how much they change, which does not grow with the length of sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, TypeVar

import ml_dtypes
import numpy as np

from ..graph.interp import Compute, evaluate
from ..graph.ir import Array, Graph, Node
from ..precision import ERRORS, Precision
from ..scalar.dim import Symbol
from ..scalar.dtype import F64, DType
from ..scalar.expr import Expr
from ..scalar.prims import TABLE

T = TypeVar("T")

SAMPLES = 3
DECISIONS = frozenset({"argreduce", "sort", "sort_rows", "nonzero", "nms", "trees"})
PRODUCTS = frozenset({"matmul", "conv", "attention", "recurrent"})


class Unable(Exception):
    """The graph cannot be evaluated without a run; the text says why."""


@dataclass(frozen=True)
class Known:
    """A value: its type; in float64, if it is a float; as samples have it that decide as the exact evaluation does; and
    as those that decide anew, if there is anything to decide."""

    dtype: DType
    exact: Array
    samples: tuple[Array, ...]
    decided: tuple[Array, ...] = ()

    @property
    def bound(self) -> Array:
        """How far each element of a right result may be off: the continuous bound, and for decisions 4 times what they
        change at an element, and twice what they change at any."""
        changed = spread(self.exact, self.decided)
        return np.asarray(self.continuous + 4 * changed + 2 * _largest(changed))

    @property
    def continuous(self) -> Array:
        """The bound where everything is decided as in the exact evaluation."""
        return bound(self.exact, self.samples, *precision_of(self.dtype))

    @property
    def most(self) -> int:
        """The number of elements of a right result that may be beyond that, by decisions: 8 times as many as in the
        sample with most of them, and 8."""
        continuous = self.continuous
        counts = (int((spread(self.exact, [sample]) > continuous).sum()) for sample in self.decided)
        return 8 * max(counts, default=0) + 8

    def rounded(self) -> Array:
        """The value in its own type."""
        return self.exact.astype(self.dtype.to_numpy())


def known(
    graph: Graph,
    feeds: Sequence[Array],
    sizes: Mapping[Symbol, int] | None = None,
    precision: Precision = "exact",
    samples: int = SAMPLES,
    seed: int = 0,
) -> list[Known]:
    """The outputs of the graph. precision: of products of f32 in the computation that is to be judged.

    Raises Unable, and ValueError where data break a demand."""
    wide = [_widened_array(feed, value.dtype) for feed, value in zip(feeds, graph.inputs, strict=True)]
    rngs = [np.random.default_rng([seed, i]) for i in range(samples)]
    error = ERRORS[precision]
    decisions = _Decisions()
    try:
        with np.errstate(all="ignore"):
            exact = evaluate(graph, wide, sizes, decisions.record)
            same = [evaluate(graph, wide, sizes, decisions.replayed(partial(_sampled, rng, error))) for rng in rngs]
            anew = [evaluate(graph, wide, sizes, partial(_sampled, rng, error)) for rng in rngs if decisions.made]
    except (TypeError, KeyError) as error_of_run:  # what a part of a run is; a symbol without a value
        raise Unable(f"{type(error_of_run).__name__}: {error_of_run}") from error_of_run
    return [
        Known(value.dtype, exact[i], tuple(ys[i] for ys in same), tuple(ys[i] for ys in anew))
        for i, value in enumerate(graph.outputs)
    ]


def limits(dtype: DType) -> Any:
    """numpy's `finfo` of a type of floats."""
    finfo: Any = ml_dtypes.finfo
    return finfo(dtype.to_numpy())


def precision_of(dtype: DType) -> tuple[float, float]:
    """The relative rounding of a type and its least normal number, as `bound` takes them; zeros if it has none."""
    return (float(limits(dtype).eps), float(limits(dtype).smallest_normal)) if dtype.is_float else (0.0, 0.0)


def bound(exact: Array, samples: Sequence[Array], rounding: float, least: float) -> Array:
    """How far each element may be off; rounding, least: the relative one of its type, and its least normal number.

    The spread of the samples: 8 times, as there are few of them, and as what sums are off by grows with the number of
    terms, but in samples with its root; in part of each element, and in part of all of them together. To that, some
    roundings of the largest element: algorithms promise no more for the small elements beside large ones."""
    changed = spread(exact, samples)
    scale = _largest(np.abs(exact)) if rounding else 0.0
    return 8 * changed + 4 * _largest(changed) + 8 * rounding * scale + 8 * least


def _largest(x: Array) -> float:
    """The largest finite number of those that are not negative; 0 if there is none."""
    return float(np.max(x, initial=0, where=np.isfinite(x)))


def spread(exact: Array, samples: Sequence[Array]) -> Array:
    """The largest difference of the samples to each element; infinite where that is no number, and where samples have
    another shape, whose size a rounding decides."""
    if any(sample.shape != exact.shape for sample in samples):
        return np.full(exact.shape, np.inf)
    numbers = exact.dtype.kind in "biuf"
    largest = np.zeros(exact.shape)
    for sample in samples:
        differs = (sample != exact) & ~((sample != sample) & (exact != exact))
        with np.errstate(all="ignore"):
            apart = np.abs(sample.astype(np.float64) - exact.astype(np.float64)) if numbers else np.inf
        largest = np.maximum(largest, np.where(differs, np.where(np.isnan(apart), np.inf, apart), 0))
    return largest


# -- in float64 ------------------------------------------------------------------------------------------------------


def widened(item: T) -> T:
    """A kernel, an attribute, or a part of one, with f64 for every type of floats. Integers keep their types."""
    return _widened(item, 0)  # type: ignore[no-any-return]


def _widened(item: Any, least_bits: int) -> Any:
    if isinstance(item, DType):
        return F64 if item.is_float and item.bits >= least_bits else item
    if isinstance(item, tuple):
        return tuple(_widened(each, least_bits) for each in item)
    if isinstance(item, Expr):
        return type(item)(*(_widened(getattr(item, name), least_bits) for name in item._fields))
    if is_dataclass(item) and not isinstance(item, type):
        return replace(item, **{f.name: _widened(getattr(item, f.name), least_bits) for f in fields(item)})
    return item


STEPS = 16  # floats of fewer bits are those of quantisation: to round to them is a part of what a graph means


def _in_double(node: Node, arrays: Sequence[Array], attrs: Mapping[str, Any]) -> list[Array]:
    """The operation's meaning in float64; beyond the range of its type a value is infinite."""
    if attrs.get("prim") == "bitcast":
        arrays = [a.astype(v.dtype.to_numpy()) for a, v in zip(arrays, node.inputs)]
    else:
        attrs = {name: _widened(a, STEPS) if isinstance(a, (DType, tuple)) else a for name, a in attrs.items()}
    return [_widened_array(y, v.dtype) for y, v in zip(node.op.evaluate(arrays, attrs), node.outputs, strict=True)]


def _widened_array(array: Array, dtype: DType) -> Array:
    if not dtype.is_float:
        return array
    wide = array.astype(np.float64)
    if dtype.bits < STEPS or dtype == F64:
        return wide
    return np.where(np.abs(wide) > float(limits(dtype).max), np.copysign(np.inf, wide), wide)


def _sampled(
    rng: np.random.Generator, product: float, node: Node, arrays: Sequence[Array], attrs: Mapping[str, Any]
) -> list[Array]:
    """The same, with the operands of sums and all that rounds changed at random.

    Of a sum, each operand within a rounding of it, and the result within one of its largest element, in the type in
    which sums are computed."""
    if not _sums(node):
        rounding = _rounding(node)
        return [
            _shaken(rng, y, rounding * precision_of(v.dtype)[0])
            for y, v in zip(_in_double(node, arrays, attrs), node.outputs)
        ]
    factor = product if node.op.name in PRODUCTS else 0.0
    arrays = [_shaken(rng, a, precision_of(v.dtype.compute)[0] + factor) for a, v in zip(arrays, node.inputs)]
    return [
        _shaken(rng, y, precision_of(v.dtype)[0], precision_of(v.dtype.compute)[0])
        for y, v in zip(_in_double(node, arrays, attrs), node.outputs)
    ]


class _Decisions:
    """What the operations decide that a little more or less of a float changes by much, in the order of evaluation."""

    def __init__(self) -> None:
        self.made: dict[Node, list[list[Array]]] = {}

    def record(self, node: Node, arrays: Sequence[Array], attrs: Mapping[str, Any]) -> list[Array]:
        results = _in_double(node, arrays, attrs)
        if _decides(node):
            self.made.setdefault(node, []).append(results)
        return results

    def replayed(self, compute: Compute) -> Compute:
        """The arithmetic `compute`, with these decisions."""
        left = {node: iter(results) for node, results in self.made.items()}

        def decided(node: Node, arrays: Sequence[Array], attrs: Mapping[str, Any]) -> list[Array]:
            if node not in left:
                return compute(node, arrays, attrs)
            before = next(left[node])
            return [compute(node, arrays, attrs)[0], *before[1:]] if node.op.name == "sort" else before

        return decided


def _decides(node: Node) -> bool:
    """Whether the result jumps with a float among the inputs. A remainder also moves with it, and is left out."""
    if not any(v.dtype.is_float for v in node.inputs):
        return False
    if node.op.name != "map":
        return node.op.name in DECISIONS
    prim, target = TABLE[node.attrs["prim"]], node.outputs[0].dtype
    if prim.name in ("cast", "cast_unsaturated"):
        return not target.is_float or target.bits < STEPS
    return prim.abrupt and prim.name not in ("mod", "fmod")


def _sums(node: Node) -> bool:
    """Whether the operation adds, or combines otherwise, numbers that it rounds."""
    name = node.op.name
    if name in ("reduce", "scan", "scatter"):
        kind = node.attrs["combine" if name == "scatter" else "kind"]
        return kind is not None and not TABLE[kind].exact
    return name in PRODUCTS


def _rounding(node: Node) -> float:
    """By how many roundings of its type the result of an operation that is no sum may be off."""
    if node.op.name != "map":
        return 0.0
    prim, target = TABLE[node.attrs["prim"]], node.outputs[0].dtype
    if prim.name in ("cast", "cast_unsaturated"):
        source = node.inputs[0].dtype
        return float(target.bits >= STEPS and not (source.is_float and source.bits <= target.bits))
    return 0.0 if prim.exact or prim.abrupt or prim.name == "bitcast" else max(1.0, prim.ulp)


def _shaken(rng: np.random.Generator, x: Array, each: float, largest: float = 0.0) -> Array:
    """Numbers changed at random by up to `each` of themselves, and `largest` of the largest of them."""
    if (each == 0 and largest == 0) or x.size == 0 or x.dtype != np.float64:
        return x
    y = x * (1 + each * rng.uniform(-1, 1, x.shape))
    if largest:
        y = y + largest * _largest(np.abs(x)) * rng.uniform(-1, 1, x.shape)
    return np.asarray(y)
