"""The conditions on sizes that operations demand, and those among them that must be checked when a model runs.

An operation declares its demands beside its shape rule (`ops/`), by `equal`, `at_most` and `broadcasts`. A demand that
is refuted is an error of the model, raised when the node is made; a provable one needs no check; the others are checked
once for each new set of input shapes, before anything runs, or as soon as sizes that depend on data are known. Kernels
rely on all demands and on nothing else: an index map is in bounds if they hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from ..scalar.dim import LONG, Dim, Size, Symbol, evaluate, known_eq, known_le, known_lt, lower_bound, symbols

if TYPE_CHECKING:
    from .ir import Graph, Node

Part: TypeAlias = "Size | tuple[Size, ...] | str"  # of a text


@dataclass(frozen=True)
class Condition:
    """The condition left == right, also met by left == 1 if `or_one`; or left <= right if `at_most`.

    wrong, about: the message if it fails, as the arguments of `str.format`: most conditions are provable, and their
    messages never formatted. of: a number of elements; without elements the condition is met. origin: the ONNX node
    that demands it, "" if unknown."""

    left: Size
    right: Size
    wrong: str
    about: tuple[Part, ...] = ()
    or_one: bool = False
    at_most: bool = False
    of: Size = 1
    origin: str = ""

    @property
    def symbols(self) -> frozenset[Symbol]:
        return symbols(self.left) | symbols(self.right) | symbols(self.of)

    def __str__(self) -> str:
        relation = "<=" if self.at_most else "== 1 or ==" if self.or_one else "=="
        return f"{self.left} {relation} {self.right}" + ("" if self.of == 1 else f" unless {self.of} <= 0")

    @property
    def text(self) -> str:
        parts = (p if isinstance(p, str) else brief(*p) if isinstance(p, tuple) else brief(p) for p in self.about)
        return self.wrong.format(*parts)

    def met(self, known: Mapping[Symbol, int]) -> bool:
        """Whether it holds for these values of its symbols."""
        left, right, of = (evaluate(size, known) for size in (self.left, self.right, self.of))
        return of <= 0 or (left <= right if self.at_most else left == right or (self.or_one and left == 1))

    @property
    def holds(self) -> bool | None:
        """Whether it holds for all values of the symbols (True) or for none (False); None: not proven."""
        return _holds(self.left, self.right, self.or_one, self.at_most, self.of)


@lru_cache(1 << 14)
def _holds(left: Size, right: Size, or_one: bool, at_most: bool, of: Size) -> bool | None:
    if any(isinstance(size, Dim) and size.length > LONG for size in (left, right, of)):
        return True if left == right else None
    if known_le(of, 0):
        return True
    if at_most:
        holds = known_le(left, right, given=of)
    else:
        holds = known_eq(left, right)
        if not holds and or_one and (one := known_eq(left, 1)) is not False:
            holds = one
    return holds if holds or known_lt(0, of) else None


@dataclass(frozen=True)
class Requirement:
    """A demand of an operation on data, which kernels check. text, origin: as those of a Condition."""

    text: str
    origin: str = ""


def equal(left: Size, right: Size, wrong: str, *about: Part) -> Iterator[Condition]:
    """Demands that two sizes are equal."""
    if left != right:
        yield Condition(left, right, wrong, about)


def equals(lefts: Sequence[Size], rights: Sequence[Size], wrong: str, *about: Part) -> Iterator[Condition]:
    """Demands that two shapes of one rank are equal; the sizes that differ are appended to the text."""
    for left, right in zip(lefts, rights, strict=True):
        yield from equal(left, right, wrong + ": sizes {} and {} differ", *about, left, right)


def at_most(left: Size, right: Size, wrong: str, *about: Part, of: Size = 1) -> Iterator[Condition]:
    """Demands left <= right, unless `of`, a number of elements, is 0."""
    if not (isinstance(left, int) and isinstance(right, int) and left <= right):
        yield Condition(left, right, wrong, about, at_most=True, of=of)


def broadcasts(dims: Sequence[Size], target: Sequence[Size]) -> Iterator[Condition]:
    """Demands that a shape broadcasts to `target`, aligned right: each of its sizes is 1 or the target's."""
    for d, t in zip(reversed(dims), reversed(target)):
        if d not in (t, 1):
            yield Condition(d, t, "dimensions {} do not broadcast", ((d, t),), or_one=True)


def brief(*sizes: Size) -> str:
    """A size, or a shape, for a message; long formulas are replaced by dots."""
    short = (s if isinstance(s, int) or s.length <= LONG else "..." for s in sizes)
    texts = [text if len(text) <= 60 else "..." for text in map(str, short)]
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


def conditions(graph: Graph) -> list[Condition]:
    """The demands of the graph's nodes that are not provable, each once; without those of sub-graphs."""
    unproven: dict[Condition, Condition] = {}
    for node in graph.nodes():
        for c in demands(node):
            if not c.holds:
                named = replace(c, origin=node.origin[0] if node.origin else "")
                unproven.setdefault(replace(c, wrong="", about=(), origin=""), named)
    return list(unproven.values())


def demands(node: Node) -> Iterator[Condition]:
    """All demands of a node: those that its operation declares, and that no size is negative."""
    yield from node.op.demands(node)
    for v in node.outputs:
        for d in v.shape:
            if isinstance(d, Dim) and _may_be_negative(d):
                yield from at_most(0, d, "a dimension {} is negative", d)


def _may_be_negative(d: Dim) -> bool:
    low = lower_bound(d)
    return low is None or low < 0
