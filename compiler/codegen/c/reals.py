"""Sizes in double, to find out whether a size exceeds any memory.

In: sizes over symbols whose values come from outside. Out: C texts of approximate values in double. In int64_t a large
size may wrap around to a small one, beyond whose end kernels would write. The double is never used as a size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...scalar.dim import Dim, FloorDiv, Max, Min, Mod, Size, Symbol
from .expr import LONG_SIZE

LARGEST = "0x1p62"  # bytes


class Reals:
    """Prints sizes over the C names of symbols; put_aside: stores a long size, given its text, and returns its name."""

    def __init__(self, symbols: Mapping[Symbol, str], put_aside: Callable[[Dim, str], str]) -> None:
        self.symbols = symbols
        self.put_aside = put_aside
        self.texts: dict[Dim, str] = {}

    def fits(self, size: Size) -> str:
        """C text of whether a size is not too large; sums of negative numbers may wrap around, too."""
        return f"__builtin_fabs({self.text(size)}) < {LARGEST}"

    def text(self, size: Size) -> str:
        if isinstance(size, int):
            return f"{size}.0"
        return self._known(size, self._sum)

    def _known(self, x: Dim, spelled: Callable[[Dim], str]) -> str:
        if x not in self.texts:
            text = spelled(x)
            self.texts[x] = self.put_aside(x, text) if len(text) > LONG_SIZE else text
        return self.texts[x]

    def _sum(self, x: Dim) -> str:
        return "(" + " + ".join(self._product(c, atoms) for c, atoms in x.terms) + ")"

    def _product(self, coefficient: int, atoms: Sequence[Dim]) -> str:
        return " * ".join([f"{coefficient}.0", *map(self._atom, atoms)])

    def _atom(self, x: Dim) -> str:
        if isinstance(x, Symbol):
            return self.symbols[x]
        return self._known(x, self._compound)

    def _compound(self, x: Dim) -> str:
        if isinstance(x, (Min, Max)):
            name = "__builtin_fmin" if isinstance(x, Min) else "__builtin_fmax"
            text, *others = (self.text(a) for a in x.args)
            for other in others:
                text = f"{name}({text}, {other})"
            return text
        assert isinstance(x, (FloorDiv, Mod))
        a, b = self.text(x.a), self.text(x.b)
        whole = f"__builtin_floor({a} / {b})"
        return whole if isinstance(x, FloorDiv) else f"({a} - {b} * {whole})"
