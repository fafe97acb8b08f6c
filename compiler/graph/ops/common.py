"""Registration of operations, and the checks that their rules share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ...scalar.dim import Size
from ..conditions import Condition
from ..ir import OPS, Array, Node, Op, Signature, Trait, Value

Attrs = Mapping[str, Any]
Infer = Callable[[Sequence[Value], Attrs], list[Signature]]
Evaluate = Callable[[Sequence[Array], Attrs], list[Array]]
Demands = Callable[[Node], Iterable[Condition]]
Shape = tuple[Size, ...]


def nothing(node: Node) -> Iterable[Condition]:
    """No demands, for operations that accept any sizes."""
    return ()


def register(
    name: str,
    infer: Infer,
    evaluate: Evaluate,
    attrs: str = "",
    symbolic: bool = False,
    demands: Demands = nothing,
    traits: Trait = Trait.NONE,
) -> None:
    """Adds an operation to the set; `attrs` are the names of all its attributes."""
    OPS[name] = Op(name, infer, evaluate, symbolic, frozenset(attrs.split()), demands, traits)


def check(condition: bool, wrong: str, *about: object) -> None:
    """Raises ValueError unless the condition holds.

    wrong, about: its text, as the arguments of `str.format`, since formulas of sizes are long, and few checks fail."""
    if not condition:
        raise ValueError(wrong.format(*about) if about else wrong)


def check_count(name: str, inputs: Sequence[Value], least: int, most: int | None = None) -> None:
    most = least if most is None else most
    if not least <= len(inputs) <= most:
        expected = f"{least}" if least == most else f"{least} to {most}"
        raise ValueError(f"{name} takes {expected} inputs, not {len(inputs)}")


def check_axes(name: str, axes: Sequence[int], rank: int, ascending: bool = True) -> None:
    """Raises ValueError unless axes are distinct, in [0, rank), and, on demand, in ascending order."""
    check(all(0 <= a < rank for a in axes), "{}: axes {} are out of range for rank {}", name, tuple(axes), rank)
    check(len(set(axes)) == len(axes), "{}: axes {} repeat", name, tuple(axes))
    check(not ascending or list(axes) == sorted(axes), "{}: axes {} do not ascend", name, tuple(axes))


def agreed(a: Size, b: Size) -> Size:
    """One of two sizes that are demanded to be equal: a constant one if there is one."""
    return b if isinstance(b, int) else a


def without(shape: Sequence[Size], axes: Sequence[int]) -> Shape:
    """The shape without `axes`."""
    return tuple(d for i, d in enumerate(shape) if i not in axes)
