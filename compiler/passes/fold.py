"""Folding: values that do not depend on the contents of inputs are computed now, or become arithmetic on the index.

In: any graph. Out: the same graph, where
  - an operation on constants is a constant, if that is small (bounds below);
  - an integer or bool tensor with a constant formula (`indices.py`) is a constant; one that is read (gather, concat) or
    chosen (select, comparison), with a formula linear in the index, is arithmetic on `iota`;
  - integers whose contents are known sizes are made from `size` nodes, so that chains of shape arithmetic vanish;
  - a gather at affine positions is a view.
An expression that is smaller than its value stays: an `iota`, a repeating broadcast, and cheap arithmetic on these; and
what makes weights of products from integers of few bits, which kernels do themselves (`graph/narrow.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph.interp import sizes_in
from ..graph.ir import Array, Graph, Node, Value, constant, make, rewrite, size_value, subgraphs
from ..graph.narrow import is_narrow, way
from ..scalar import prims
from ..scalar.dim import Dim, Size, prod, symbols
from ..scalar.dtype import I64
from .indices import Formulas, linear_terms
from .views import broadcast, permute, reshape, slice_of

_ELEMENTS = 1 << 20  # of a result; a larger one is computed only if it takes no more memory than its inputs
_BUDGET = 1 << 28  # bytes of all results in one run, without views
_WORK = 1 << 31  # multiplications in one run
_SUMS = ("matmul", "conv", "attention", "recurrent")
_VIEWS = ("reshape", "permute", "slice")
_READS = ("gather", "concat", "scan", "reduce")
_CHOICES = ("select", "min", "max", "and", "or", "not", "eq", "ne", "lt", "le")


def run(graph: Graph) -> Graph:
    folder, order = _Folder(graph), iter(graph.nodes())
    weights = {node.inputs[1] for node in graph.nodes() if node.op.name == "matmul"}
    kept = {v.node for weight in weights if is_narrow(weight) for v in way(weight)}
    return rewrite(graph, lambda node: None if next(order) in kept else folder.rule(node))


class _Folder:
    def __init__(self, graph: Graph) -> None:
        self.formulas = Formulas(graph)
        self.known: dict[Value, Array] = {}  # arrays of values that stay expressions
        self.bytes = _BUDGET
        self.work = _WORK

    def rule(self, node: Node) -> list[Value] | None:
        if node.op.name in ("input", "constant", "size", "iota"):
            return None
        return self.sized(node) or self.computed(node) or self.formulated(node) or self.viewed(node)

    # -- sizes -------------------------------------------------------------------------------------------------

    def sized(self, node: Node) -> list[Value] | None:
        """A scalar or vector of known sizes becomes `size` nodes."""
        out = node.outputs[0]
        if out.content is None or out.rank > 1 or not out.dtype.is_integer or _is_made_of_sizes(out):
            return None
        items = list(out.content.flat)
        if not any(isinstance(i, Dim) for i in items):
            return None  # a constant, which `computed` folds
        if not all(symbols(i) <= self.formulas.dims for i in items):
            return None
        parts = [size_value(i) if isinstance(i, Dim) else constant(np.array(i, np.int64)) for i in items]
        if out.rank == 0:
            return [parts[0].cast(out.dtype)]
        rows = [p.reshape(1) for p in parts]
        return [(make("concat", rows, axis=0)[0] if len(rows) > 1 else rows[0]).cast(out.dtype)]

    # -- constants ---------------------------------------------------------------------------------------------

    def computed(self, node: Node) -> list[Value] | None:
        arrays = [self._array(v) for v in node.inputs]
        if not arrays or any(a is None for a in arrays) or sizes_in(node.attrs) or subgraphs(node):
            return None
        inputs: list[Array] = [a for a in arrays if a is not None]
        if not self._affordable(node, inputs):
            return None
        try:
            results = node.op.evaluate(inputs, node.attrs)
        except (TypeError, ValueError, IndexError, ArithmeticError):
            return None  # the model is invalid, or this is never executed: errors are reported at run time
        if _stays(node):
            self.known.update(zip(node.outputs, results))
            return None
        if node.op.name not in _VIEWS:
            self.bytes -= sum(r.nbytes for r in results)
            results = [np.ascontiguousarray(r).reshape(r.shape) for r in results]
        return [constant(r) for r in results]

    def _array(self, v: Value) -> Array | None:
        if v.op == "constant":
            return v.data
        if v.op == "iota" and not sizes_in(v.node.attrs):
            return v.node.op.evaluate([], v.node.attrs)[0]
        return self.known.get(v)

    def _affordable(self, node: Node, inputs: Sequence[Array]) -> bool:
        if node.op.name in _VIEWS:
            return True
        counts = [prod(v.shape) for v in node.outputs]
        if not all(isinstance(n, int) for n in counts):
            return False
        elements: int = sum(counts)  # type: ignore[arg-type]
        size = max(v.dtype.itemsize for v in node.outputs) * elements
        if elements > _ELEMENTS and (size > sum(a.nbytes for a in inputs) or node.op.name == "broadcast"):
            return False
        if node.op.name in _SUMS:
            self.work -= elements * max(a.shape[-1] if a.ndim else 1 for a in inputs)
        return self.work >= 0 and size <= self.bytes

    # -- formulas ----------------------------------------------------------------------------------------------

    def formulated(self, node: Node) -> list[Value] | None:
        """A tensor with a constant formula; or a read or choice with a formula that is linear in the index."""
        out = node.outputs[0]
        if len(node.outputs) != 1 or not (out.dtype.is_integer or out.dtype.kind == "b"):
            return None
        if "text" in node.attrs and out.op == "map" and self.formulas.of(node.inputs[0]) is not True:
            return None  # its check is still needed
        formula = self.formulas.of(out)
        if formula is None:
            return None
        if isinstance(formula, (bool, int)):
            scalar = constant(np.array(formula, out.dtype.to_numpy()))
            return [broadcast(scalar, out.shape)] if node.op.name != "broadcast" else None
        is_choice = node.op.name == "map" and node.attrs["prim"] in _CHOICES
        terms = linear_terms(formula, out)
        if terms is None or not (is_choice or node.op.name in _READS):
            return None
        start, steps = terms
        total = size_value(start) if isinstance(start, Dim) else constant(np.array(start, np.int64))
        for axis, step in steps.items():
            shape = tuple(d if a == axis else 1 for a, d in enumerate(out.shape))
            line = make("iota", [], shape=shape, axis=axis, dtype=I64)[0]
            line = line if step == 1 else line * step
            total = line if isinstance(start, int) and start == 0 and total.rank == 0 else total + line
        return [broadcast(total.cast(out.dtype), out.shape)]

    def viewed(self, node: Node) -> list[Value] | None:
        """A gather at positions that are affine in the index, each in an axis of its own, is a view."""
        if node.op.name != "gather":
            return None
        x, *indices = node.inputs
        axes, out = node.attrs["axes"], node.outputs[0]
        rank = out.rank - x.rank + len(indices)
        starts: list[Size] = [0] * x.rank
        sizes, steps = list(x.shape), [1] * x.rank
        source_of: dict[int, int] = {}  # axis of the indices -> axis of x
        for axis, index in zip(axes, indices):
            formula = self.formulas.of(index)
            terms = None if formula is None or isinstance(formula, bool) else linear_terms(formula, index)
            if terms is None or len(terms[1]) > 1:
                return None
            starts[axis], sizes[axis] = terms[0], 1
            for of, step in terms[1].items():
                along = of + rank - index.rank
                if along in source_of or index.shape[of] != out.shape[axes[0] + along]:
                    return None
                source_of[along] = axis
                sizes[axis], steps[axis] = index.shape[of], step
        part = slice_of(x, starts, sizes, steps)
        kept = [a for a in range(x.rank) if a not in axes]
        index_axes = [source_of[a] for a in range(rank) if a in source_of]
        scalar_axes = [a for a in axes if a not in index_axes]
        before, after = kept[: axes[0]], kept[axes[0] :]
        view = permute(part, [*before, *index_axes, *scalar_axes, *after])
        middle = [out.shape[axes[0] + a] if a in source_of else 1 for a in range(rank)]
        shape = [*(x.shape[a] for a in before), *middle, *(x.shape[a] for a in after)]
        return [broadcast(reshape(view, shape), out.shape)]


def _is_made_of_sizes(v: Value) -> bool:
    """Whether a value has the form that `sized` builds."""
    if v.op == "map" and v.node.attrs["prim"] == "cast":
        v = v.node.inputs[0]
    parts = v.node.inputs if v.op == "concat" else (v,)
    return all((p.node.inputs[0] if p.op == "reshape" else p).op in ("size", "constant") for p in parts)


def _stays(node: Node) -> bool:
    """Whether a value stays an expression, as it is smaller than its array: cheap arithmetic on iota, repetition."""
    if node.op.name == "broadcast":
        return True
    if not any(_grows(v) for v in node.inputs):
        return False
    if node.op.name == "map":
        cheap = prims.TABLE[node.attrs["prim"]].flops <= 1
        return cheap and all(_grows(v) or (v.data is not None and v.data.size == 1) for v in node.inputs)
    return node.op.name in _VIEWS


def _grows(v: Value) -> bool:
    """Whether a value is an expression over iota and scalars alone, of more than one element."""
    return v.op in ("iota", "broadcast") or (v.op in ("map", *_VIEWS) and _stays(v.node))
