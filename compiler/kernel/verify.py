"""Verification of kernels.

In: a Kernel. Out: nothing, or an AssertionError that names the kernel and the stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from ..graph.conditions import brief
from ..scalar import prims
from ..scalar.dim import Size, Symbol, known_le, symbols, upper_bound
from ..scalar.dtype import BOOL, F32, I64, U8, DType
from ..scalar.expr import Acc, Call, Expr, Index, Load, Local, Require, Var, walk
from .ir import Body, Conv, Kernel, LoopNest, Matmul, Param, Recurrent, Stage, Store, Trees


def verify(kernel: Kernel, where: str = "kernel") -> None:
    """Raises AssertionError unless the kernel is well formed.

    Symbols are the kernel's sizes or variables of loops around them; stages read earlier stages and existing parameters
    with their dtypes, and write parameters that are marked as written; the dtypes of primitives follow their rules;
    reductions and scans use primitives with an identity; no index is provably outside its buffer.
    """
    checker = _Checker(kernel.params, where)
    known = frozenset(kernel.sizes)
    body = kernel.body
    for param in kernel.params:
        checker.size(param.size, known, "the size of a parameter")
    if isinstance(body, LoopNest):
        known = checker.axes(body.outer, known, "outer")
        checker.stages(body.stages, known, epilogue=False)
        return
    values = {f.name: getattr(body, f.name) for f in fields(body)}
    loops = [s for v in values.values() for s in (v if isinstance(v, tuple) else (v,)) if isinstance(s, Symbol)]
    known |= frozenset(loops)
    for name, value in values.items():
        if isinstance(value, Expr) and not (name == "b" and values.get("packing")):  # packed weights have no index
            checker.expression(value, known, name, [])
        elif isinstance(value, Store):
            checker.store(value, known, name)
    checker.numbers(body)
    checker.stages(values.get("epilogue", ()), known, epilogue=True)


def check(condition: bool, where: str, text: str) -> None:
    """Raises AssertionError unless the condition holds; its message is `text` after `where`."""
    if not condition:
        raise AssertionError(f"{where}: {text}")


def _computed(*values: Expr) -> bool:
    """Whether all values are of types that arithmetic is done in; narrow floats that are only stored are not."""
    return not any(v.dtype.is_float and v.dtype != v.dtype.compute for v in values)


class _Checker:
    def __init__(self, params: Sequence[Param], where: str):
        self.params, self.where = params, where

    def check(self, condition: bool, what: str, text: str) -> None:
        check(condition, f"{self.where}, {what}", text)

    def numbers(self, body: Body) -> None:
        """Checks the parameters that a body names by their numbers; -1 means none."""
        if isinstance(body, Conv):
            self.check(0 <= body.w < len(self.params), "w", f"there is no parameter {body.w}")
        elif isinstance(body, Matmul) and body.blocks is not None:
            of_zeros = F32 if body.blocks.zero_bits == 32 else U8
            for number, dtype in ((body.blocks.scale, F32), (body.blocks.zero, of_zeros)):
                self.check(0 <= number < len(self.params), "blocks", f"there is no parameter {number}")
                actual = self.params[number].dtype
                self.check(actual == dtype, "blocks", f"parameter {number} is of {actual}, not {dtype}")
        elif isinstance(body, Recurrent):
            for name in ("xw", "r", "rb", "peephole", "h0", "c0", "lengths", "y", "yh", "yc"):
                number = getattr(body, name)
                self.check(-1 <= number < len(self.params), name, f"there is no parameter {number}")
                self.check(number >= 0 or name not in ("xw", "r"), name, "there has to be one")
                if number >= 0:
                    param, dtype = self.params[number], I64 if name == "lengths" else body.dtype
                    self.check(param.dtype == dtype, name, f"parameter {number} is of {param.dtype}, not {dtype}")
                    is_marked = "is" if param.written else "is not"
                    right = param.written == name.startswith("y")
                    self.check(right, name, f"parameter {number} {is_marked} marked as written")
        elif isinstance(body, Trees):
            for name in ("roots", "nodes", "weights", "owners"):
                number = getattr(body, name)
                self.check(-1 <= number < len(self.params), name, f"there is no parameter {number}")
                self.check(number >= 0 or name not in ("roots", "nodes"), name, "there has to be one")

    def size(self, size: Size, known: frozenset[Symbol], what: str) -> None:
        unknown = symbols(size) - known
        self.check(not unknown, what, f"{brief(size)} has unknown symbols {sorted(map(str, unknown))}")

    def axes(self, axes: Sequence[Symbol], known: frozenset[Symbol], what: str) -> frozenset[Symbol]:
        """Checks loops, and returns the symbols known inside them."""
        for s in axes:
            self.check(s.extent is not None and s.lower == 0, what, f"{s} is no loop variable")
            self.check(s not in known, what, f"{s} is a loop variable twice")
            assert s.extent is not None
            self.size(s.extent, known, f"{what}, the extent of {s}")
        return known | frozenset(axes)

    def stages(self, stages: Sequence[Stage], known: frozenset[Symbol], epilogue: bool) -> None:
        results: list[tuple[Stage, DType] | None] = []
        for slot, stage in enumerate(stages):
            what = f"{'epilogue ' if epilogue else ''}stage {slot}"
            self.check(not epilogue or not stage.axes, what, "an epilogue has no axes")
            reduces = stage.reduce is not None
            self.check(bool(stage.reduce_axes) == reduces, what, "axes to reduce without a reduction")
            self.check(stage.scan is None or bool(stage.axes), what, "a scan without axes")
            self.check(stage.scan is None or stage.reduce is None, what, "a scan and a reduction")
            for kind in (stage.reduce, stage.scan, stage.store.combine if stage.store else None):
                if kind is not None:
                    combines = kind in prims.TABLE and prims.TABLE[kind].identity is not None
                    self.check(combines, what, f"{kind} combines nothing")
                    self.check(_computed(stage.value), what, f"{kind} of narrow floats as they are stored")
            around = self.axes(stage.axes, known, what)
            inside = self.axes(stage.reduce_axes, around, what)
            for let in stage.lets:
                self.expression(let.value, inside, f"{what}, let {let.symbol}", results)
                self.check(let.value.dtype == I64, what, f"let {let.symbol} is {let.value.dtype}")
                inside, around = inside | {let.symbol}, around | {let.symbol}
            self.expression(stage.value, inside, what, results)
            if stage.store is not None:
                self.store(stage.store, around, what)
            results.append((stage, stage.value.dtype) if stage.store is None else None)

    def store(self, store: Store, known: frozenset[Symbol], what: str) -> None:
        self.check(0 <= store.buffer < len(self.params), what, f"there is no parameter {store.buffer}")
        self.check(self.params[store.buffer].written, what, f"parameter {store.buffer} is not marked as written")
        self.size(store.index, known, f"{what}, the index of its store")
        self.inside(store.index, self.params[store.buffer].size, known, what)

    def inside(self, index: Size, size: Size, known: frozenset[Symbol], what: str) -> None:
        """Checks that an index is not provably outside, unless its loop never runs, as that of an empty buffer."""
        if size == 0 or any(s.extent == 0 for s in known):
            return
        high = upper_bound(index)
        self.check(high is None or high >= 0, what, f"the index {brief(index)} is negative")
        text = f"the index {brief(index)} is beyond the {brief(size)} elements"
        self.check(known_le(index, size - 1) is not False, what, text)

    def expression(
        self, root: Expr, known: frozenset[Symbol], what: str, results: Sequence[tuple[Stage, DType] | None]
    ) -> None:
        for e in walk(root):
            if isinstance(e, Index):
                self.size(e.size, known, what)
            elif isinstance(e, Load):
                self.load(e, known, what)
            elif isinstance(e, Local):
                self.size(e.index, known, what)
                self.check(0 <= e.slot < len(results), what, f"reads stage {e.slot}, which is not before it")
                source = results[e.slot]
                self.check(source is not None, what, f"reads stage {e.slot}, which keeps nothing")
                assert source is not None
                self.check(e.dtype == source[1], what, f"reads stage {e.slot} of {source[1]} as {e.dtype}")
            elif isinstance(e, Call):
                target = e.dtype if e.prim in prims.TABLE and prims.TABLE[e.prim].result == "given" else None
                try:
                    rule = prims.infer(e.prim, [a.dtype for a in e.args], target)
                except ValueError as error:
                    raise AssertionError(f"{self.where}, {what}: {error}") from error
                self.check(rule == e.dtype, what, f"{e.prim} gives {rule}, not {e.dtype}")
                numbers = target is not None or _computed(*e.args)
                self.check(numbers, what, f"{e.prim} of narrow floats as they are stored")
            elif isinstance(e, Require):
                self.check(e.ok.dtype == BOOL, what, f"{e.ok.dtype} as what is required")
            else:
                self.check(not isinstance(e, Var), what, f"the formal parameter {e} is bound nowhere")
                self.check(not isinstance(e, Acc) or "epilogue" in what, what, "an accumulator outside an epilogue")

    def load(self, e: Load, known: frozenset[Symbol], what: str) -> None:
        self.check(0 <= e.buffer < len(self.params), what, f"there is no parameter {e.buffer}")
        param = self.params[e.buffer]
        self.check(param.dtype == e.dtype, what, f"reads parameter {e.buffer} of {param.dtype} as {e.dtype}")
        self.size(e.index, known, f"{what}, the index of a load")
        self.check((e.mask is None) == (e.other is None), what, "a mask without another value, or the reverse")
        if e.mask is None:
            self.inside(e.index, param.size, known, what)
        else:
            self.check(e.mask.dtype == BOOL, what, f"a mask of {e.mask.dtype}")
            assert e.other is not None
            self.check(e.other.dtype == e.dtype, what, f"{e.other.dtype} where a masked load of {e.dtype} is off")
