"""Symbolic integers: tensor dimensions, and the index expressions of loops in kernels.

In: Python ints, `Symbol`s and operators. Out: a `Size`: an `int` where the value is constant, else a `Dim`.
A `Dim` is immutable and canonical: a polynomial with integer coefficients over atoms, where an atom is a
`Symbol`, a `FloorDiv`, a `Mod`, a `Min` or a `Max`. Expressions that simplify to the same form are equal
(`==`), hash equal and print equal; `known_eq` proves more. Order of terms and text depend on structure only,
never on ids or hash seeds.

Every simplification holds for *all values inside the declared bounds* of the symbols (`lower <= s < extent`):
  - a loop variable exists only where its loop runs, so `i` in [0, N) may be used as a proof of N >= 1;
  - a divisor whose lower bound is >= 0 is taken as >= 1: where it is 0, the division is never executed
    (an extent of 0 has no iterations). So `(i*B + j)//B == i` although B may be 0, and `B//B == 1`.
    A divisor that may be negative is left alone.

It must never guess: the provers answer True, False or None (inconclusive). It must always terminate: rewrites make
the expression smaller or run on fuel, as do proofs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from operator import index
from typing import Final, TypeAlias, Union
from zlib import crc32

LEAST = -(1 << 62)  # the lower bound of symbols for elements of tensors, which may be any integer

Size: TypeAlias = Union[int, "Dim"]
Monomial: TypeAlias = tuple["Atom", ...]  # a product, in order of the keys; a power is a repeated atom
Bounds: TypeAlias = tuple["int | None", "int | None"]  # inclusive; None is unbounded
_Poly: TypeAlias = dict[Monomial, int]

_CACHE: Final = 1 << 16  # entries of each memo table
_PROOF_FUEL: Final = 96  # goals of one proof
LONG: Final = 2000  # length of a formula beyond which no proof or decision is attempted
_REWRITE_FUEL: Final = 32  # iterations of one rewriting loop
_LONG_KEY: Final = 1 << 10  # characters of a key beyond which it is replaced by a digest


# ----------------------------------------------------------------------------------------------------
# Expressions


class Dim:
    """A non-constant integer expression: the sum of `terms`, highest degree first, the constant last.

    Build them from `Symbol`s with operators and the functions of this module, never by calling `Dim` itself.
    """

    __slots__ = ("_bounds", "_hash", "_samples", "_symbols", "_text", "key", "length", "terms")

    key: str  # the structure as text, including bounds of symbols, or a digest of it; decides equality, hash and order
    length: int  # of the structure as text, which may be exponentially longer than the graph of its parts
    terms: tuple[tuple[int, Monomial], ...]

    def __init__(self, terms: tuple[tuple[int, Monomial], ...]):
        self.terms = terms
        text = "+".join(f"{c}*" + "*".join([a.key for a in m]) for c, m in terms)
        self._set_key(text, (a for _, m in terms for a in m))

    def _set_key(self, key: str, parts: Iterable[Size]) -> None:
        """key: the structure as text, with the keys of its parts."""
        self.length = len(key) + sum(x.length - len(x.key) for x in parts if isinstance(x, Dim))
        self.key = key = key if len(key) <= _LONG_KEY else "#" + blake2b(key.encode(), digest_size=16).hexdigest()
        self._hash = hash(key)
        self._text: _Text | None = None
        self._samples: tuple[int | None, ...] | None = None
        self._bounds: Bounds | None = None
        self._symbols: frozenset[Symbol] | None = None

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Dim) and self._hash == other._hash and self.key == other.key

    def __hash__(self) -> int:
        return self._hash

    def __bool__(self) -> bool:
        raise TypeError(f"the symbolic size '{self}' has no truth value; use known_eq, known_lt or known_le")

    def __str__(self) -> str:
        return _text(self)[0]

    __repr__ = __str__

    def __reduce__(self) -> tuple[Callable[..., Dim], tuple[object, ...]]:
        return Dim, (self.terms,)

    def __add__(self, other: Size) -> Size:
        return _add(self, other, 1) if isinstance(other, (int, Dim)) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other: Size) -> Size:
        return _add(self, other, -1) if isinstance(other, (int, Dim)) else NotImplemented

    def __rsub__(self, other: Size) -> Size:
        return _add(-self, other, 1) if isinstance(other, (int, Dim)) else NotImplemented

    def __mul__(self, other: Size) -> Size:
        return _mul(self, other) if isinstance(other, (int, Dim)) else NotImplemented

    __rmul__ = __mul__

    def __neg__(self) -> Size:
        return _mul(self, -1)

    def __floordiv__(self, other: Size) -> Size:
        return floor_div(self, other) if isinstance(other, (int, Dim)) else NotImplemented

    def __rfloordiv__(self, other: Size) -> Size:
        return floor_div(other, self) if isinstance(other, (int, Dim)) else NotImplemented

    def __mod__(self, other: Size) -> Size:
        return mod(self, other) if isinstance(other, (int, Dim)) else NotImplemented

    def __rmod__(self, other: Size) -> Size:
        return mod(other, self) if isinstance(other, (int, Dim)) else NotImplemented

    def __divmod__(self, other: Size) -> tuple[Size, Size]:
        return floor_div(self, other), mod(self, other)

    def __rdivmod__(self, other: Size) -> tuple[Size, Size]:
        return floor_div(other, self), mod(other, self)


class Atom(Dim):
    """A `Dim` that arithmetic does not take apart: its only term is itself."""

    __slots__ = ("rank",)

    rank: int  # 0 for a free symbol, else higher than the ranks of its operands, or of its extent

    def __init__(self, key: str, depends_on: Sequence[Size]):
        self.terms = ((1, (self,)),)
        self._set_key(key, depends_on)
        self.rank = 1 + max((_rank(x) for x in depends_on), default=-1)


class Symbol(Atom):
    """An unknown integer, `lower <= value < extent` (`extent` None: no upper bound; it may be a `Dim`).

    A loop variable is `Symbol("i", 0, N)`; a dimension of a model is `Symbol("batch")`, which may
    be 0 at run time. Symbols are equal when name, lower and extent are.
    """

    __slots__ = ("extent", "lower", "name")

    def __init__(self, name: str, lower: int = 0, extent: Size | None = None):
        self.name: Final = name
        self.lower: Final = index(lower)  # numpy's integers become Python's
        self.extent: Final = extent if extent is None or isinstance(extent, Dim) else index(extent)
        # A symbol with an extent has rank >= 1, so that the prover can eliminate it.
        super().__init__(f"{_quote(name)}[{self.lower},{_key(self.extent)})", () if extent is None else (extent,))

    def __reduce__(self) -> tuple[Callable[..., Dim], tuple[object, ...]]:
        return Symbol, (self.name, self.lower, self.extent)


class FloorDiv(Atom):
    """`a // b`, rounding down."""

    __slots__ = ("a", "b")

    def __init__(self, a: Size, b: Size):
        self.a: Final = a
        self.b: Final = b
        super().__init__(f"{{//,{_key(a)},{_key(b)}}}", (a, b))

    def __reduce__(self) -> tuple[Callable[..., Dim], tuple[object, ...]]:
        return FloorDiv, (self.a, self.b)


class Mod(Atom):
    """`a % b`, with the sign of `b`."""

    __slots__ = ("a", "b")

    def __init__(self, a: Size, b: Size):
        self.a: Final = a
        self.b: Final = b
        super().__init__(f"{{%,{_key(a)},{_key(b)}}}", (a, b))

    def __reduce__(self) -> tuple[Callable[..., Dim], tuple[object, ...]]:
        return Mod, (self.a, self.b)


class Min(Atom):
    """The least of two or more `args`."""

    __slots__ = ("args",)

    def __init__(self, args: tuple[Size, ...]):
        self.args: Final = args
        super().__init__(f"{{min,{','.join(_key(x) for x in args)}}}", args)

    def __reduce__(self) -> tuple[Callable[..., Dim], tuple[object, ...]]:
        return Min, (self.args,)


class Max(Atom):
    """The greatest of two or more `args`."""

    __slots__ = ("args",)

    def __init__(self, args: tuple[Size, ...]):
        self.args: Final = args
        super().__init__(f"{{max,{','.join(_key(x) for x in args)}}}", args)

    def __reduce__(self) -> tuple[Callable[..., Dim], tuple[object, ...]]:
        return Max, (self.args,)


# ----------------------------------------------------------------------------------------------------
# Arithmetic


def floor_div(a: Size, b: Size) -> Size:
    """`a // b`, rounding down. Raises ZeroDivisionError when `b` is the constant 0."""
    return a // b if isinstance(a, int) and isinstance(b, int) else _divmod(a, b)[0]


def mod(a: Size, b: Size) -> Size:
    """`a % b`, with the sign of `b`. Raises ZeroDivisionError when `b` is the constant 0."""
    return a % b if isinstance(a, int) and isinstance(b, int) else _divmod(a, b)[1]


def ceil_div(a: Size, b: Size) -> Size:
    """`a / b` rounded up, for a positive `b`. Raises ZeroDivisionError when `b` is the constant 0."""
    return floor_div(a + b - 1, b)


def exact_div(a: Size, b: Size) -> Size | None:
    """The quotient where `b` is provably a factor of `a`, else None. ZeroDivisionError when `b` is 0."""
    quotient, remainder = _divmod(a, b)
    return quotient if remainder == 0 else None


def prod(xs: Iterable[Size]) -> Size:
    """The product, 1 for no factors: the number of elements of a shape."""
    result: Size = 1
    for x in xs:
        result = result * x
    return result


def dim_min(*xs: Size) -> Size:
    """The least of one or more sizes."""
    return _extremum(Min, xs)


def dim_max(*xs: Size) -> Size:
    """The greatest of one or more sizes."""
    return _extremum(Max, xs)


# ----------------------------------------------------------------------------------------------------
# Questions and substitution


def bounds(x: Size) -> Bounds:
    """An inclusive interval that contains every value of `x`; None where no bound is known."""
    if isinstance(x, int):
        return x, x
    return _sharp_bounds(x)


def lower_bound(x: Size) -> int | None:
    """A value `x` never falls below, or None."""
    return bounds(x)[0]


def upper_bound(x: Size) -> int | None:
    """A value `x` never exceeds, or None."""
    return bounds(x)[1]


def known_le(a: Size, b: Size, given: Size = 1) -> bool | None:
    """Is `a <= b` for all values of the symbols (True), for none (False)? None: not proven.

    given: a size that may be assumed to be at least 1."""
    return _known_nonneg(b - a, _factors_of_positive(given), a, b)


def known_lt(a: Size, b: Size) -> bool | None:
    """Is `a < b` for all values of the symbols (True), for none (False)? None: not proven."""
    return _known_nonneg(b - a - 1, frozenset(), a, b)


def known_eq(a: Size, b: Size) -> bool | None:
    """Is `a == b` for all values of the symbols (True), for none (False)? None: not proven."""
    difference = _without_mods(a - b)
    constant = difference.pop((), 0)
    if not difference:
        return constant == 0
    if constant % math.gcd(*difference.values()):
        return False
    if known_lt(a, b) or known_lt(b, a):
        return False
    return True if known_le(a, b) and known_le(b, a) else None


def dim_eq(a: Size, b: Size) -> Size:
    """1 where `a == b`, else 0."""
    return 1 - dim_min(dim_max(a - b, b - a), 1)


def truth_eq(a: Size, b: Size) -> bool | Dim:
    """Whether `a == b`: a bool if it is known, else a size that is 1 or 0. Raises TypeError as `decided`."""
    known = known_eq(a, b)
    return decided(dim_eq(a, b)) if known is None else known


def truth_lt(a: Size, b: Size) -> bool | Dim:
    """Whether `a < b`, like `truth_eq`."""
    known = known_lt(a, b)
    return decided(dim_max(dim_min(b - a, 1), 0)) if known is None else known


def decided(truth: Size) -> bool | Dim:
    """The formula `truth`, which is 1 or 0, as a bool if it is constant.

    Raises TypeError if it is too long, or mentions a symbol that may be any integer: unlike differences of sizes, those
    of such symbols may overflow."""
    if not isinstance(truth, Dim):
        return bool(truth)
    if truth.length > LONG or any(s.lower <= LEAST for s in symbols(truth)):
        raise TypeError(f"whether '{truth if truth.length <= LONG else '...'}' is not known")
    return truth


def select_size(truth: Size, a: Size, b: Size) -> Size:
    """`a` where `truth` is 1, `b` where it is 0."""
    return b + truth * (a - b)


def extent(symbol: Symbol) -> Size:
    """The number of values of a loop variable."""
    assert symbol.extent is not None
    return symbol.extent


def number(size: Size) -> int:
    """A size that is an int."""
    assert isinstance(size, int), size
    return size


def symbols(x: Size) -> frozenset[Symbol]:
    """The symbols in `x`, without those that occur only in the extents of others."""
    if isinstance(x, int):
        return frozenset()
    if x._symbols is None:
        if isinstance(x, Symbol):
            x._symbols = frozenset((x,))
        elif isinstance(x, Atom):
            x._symbols = frozenset().union(*(symbols(y) for y in _operands(x)))
        else:
            x._symbols = frozenset().union(*(symbols(a) for _, m in x.terms for a in m))
    return x._symbols


def substitute(x: Size, values: Mapping[Symbol, Size]) -> Size:
    """`x` with symbols replaced, all at once, and simplified again.

    The values must lie inside the bounds of the symbols they replace, as `x` was simplified under these.
    Extents of the symbols that stay are not rewritten.
    """
    done: dict[Size, Size] = {}  # sizes are graphs: parts that several terms share are rewritten once

    def of(y: Size) -> Size:
        if isinstance(y, int) or symbols(y).isdisjoint(values):
            return y
        if y not in done:
            done[y] = _map_atoms(y, of_atom)
        return done[y]

    def of_atom(atom: Atom) -> Size:
        if isinstance(atom, Symbol):
            return values.get(atom, atom)
        if symbols(atom).isdisjoint(values):
            return atom
        return _rebuild(atom, [of(y) for y in _operands(atom)])

    return of(x)


def evaluate(x: Size, values: Mapping[Symbol, int]) -> int:
    """The value of `x`, wrapped around to 64 bits as programs compute it.

    Raises KeyError with the name of a symbol that `values` lacks, and ZeroDivisionError on `// 0`."""
    if isinstance(x, int):
        return x
    total = 0
    for c, m in x.terms:
        for atom in m:
            if isinstance(atom, Symbol):
                if atom not in values:
                    raise KeyError(atom.name)
                c *= values[atom]
            elif isinstance(atom, FloorDiv):
                c *= evaluate(atom.a, values) // evaluate(atom.b, values)
            elif isinstance(atom, Mod):
                c *= evaluate(atom.a, values) % evaluate(atom.b, values)
            elif isinstance(atom, Min):
                c *= min(evaluate(y, values) for y in atom.args)
            elif isinstance(atom, Max):
                c *= max(evaluate(y, values) for y in atom.args)
        total += c
    return (total + (1 << 63)) % (1 << 64) - (1 << 63)


def part_of(x: Size, among: Collection[Symbol]) -> Size:
    """The sum of the terms of `x` that contain no other symbols than `among`, including the constant."""
    if isinstance(x, int):
        return x
    return _build({m: c for c, m in x.terms if all(s in among for atom in m for s in symbols(atom))})


def linear_in(x: Size, symbol: Symbol) -> tuple[Size, Size] | None:
    """`(coefficient, rest)` with x == coefficient*symbol + rest and `symbol` in neither; None: not linear."""
    coefficients = _powers(x, symbol)
    if max(coefficients, default=0) > 1 or any(symbol in symbols(c) for c in coefficients.values()):
        return None
    return coefficients.get(1, 0), coefficients.get(0, 0)


# ----------------------------------------------------------------------------------------------------
# Polynomials: sums and products


def _key(x: Size | None) -> str:
    return x.key if isinstance(x, Dim) else str(x)


def _rank(x: Size) -> int:
    return 0 if isinstance(x, int) else max(a.rank for _, m in x.terms for a in m)


def _operands(atom: Atom) -> tuple[Size, ...]:
    if isinstance(atom, (FloorDiv, Mod)):
        return atom.a, atom.b
    return atom.args if isinstance(atom, (Min, Max)) else ()


def _rebuild(atom: Atom, operands: list[Size]) -> Size:
    if isinstance(atom, FloorDiv):
        return floor_div(*operands)
    if isinstance(atom, Mod):
        return mod(*operands)
    return _extremum(Min if isinstance(atom, Min) else Max, operands)


def _map_atoms(x: Size, of_atom: Callable[[Atom], Size]) -> Size:
    """`x` with each atom of its terms replaced. The sum is built once, so that the identity gives `x` again."""
    if isinstance(x, int):
        return x
    return _sum(c * prod(of_atom(a) for a in m) for c, m in x.terms)


def _poly(x: Size) -> _Poly:
    if isinstance(x, int):
        return {(): x} if x else {}
    return {m: c for c, m in x.terms}


def _atom_key(atom: Atom) -> str:
    return atom.key


def _term_order(term: tuple[Monomial, int]) -> tuple[int, list[str]]:
    """By degree, then by keys: an order that multiplication preserves, as polynomial division requires."""
    return -len(term[0]), [a.key for a in term[0]]


def _build(poly: _Poly) -> Size:
    """The canonical form of a sum; consumes `poly`."""
    if len(poly) > 1 and any(isinstance(a, (FloorDiv, Mod)) for m in poly for a in m):
        _recombine(poly)
    if len(poly) > 1 and any(isinstance(a, (Min, Max)) for m in poly for a in m):
        _absorb(poly)
    terms = sorted(((m, c) for m, c in poly.items() if c), key=_term_order)
    if not terms:
        return 0
    if len(terms) == 1:
        m, c = terms[0]
        if not m:
            return c
        if c == 1 and len(m) == 1:
            return m[0]
    return Dim(tuple((c, m) for m, c in terms))


@lru_cache(_CACHE, typed=True)
def _add(a: Size, b: Size, sign: int) -> Size:
    if isinstance(b, int) and b == 0:
        return a
    poly = _poly(a)
    for m, c in _poly(b).items():
        poly[m] = poly.get(m, 0) + sign * c
    return _build(poly)


@lru_cache(_CACHE, typed=True)
def _mul(a: Size, b: Size) -> Size:
    if isinstance(b, int):
        if isinstance(a, int):
            return a * b
        if b == 1:
            return a
        return _build({m: c * b for c, m in a.terms}) if b else 0
    if isinstance(a, int):
        return _mul(b, a)
    return _build(_product(_poly(a), _poly(b)))


def _product(a: _Poly, b: _Poly) -> _Poly:
    poly: _Poly = {}
    for ma, ca in a.items():
        for mb, cb in b.items():
            m = _times(ma, mb)
            poly[m] = poly.get(m, 0) + ca * cb
    return poly


def _sum(xs: Iterable[Size]) -> Size:
    """The sum, built once: equal to adding one by one, but cheaper."""
    total: _Poly = {}
    for x in xs:
        for m, c in _poly(x).items():
            total[m] = total.get(m, 0) + c
    return _build(total)


def _times(a: Monomial, b: Monomial) -> Monomial:
    return tuple(sorted(a + b, key=_atom_key)) if a and b else a or b


def _over(m: Monomial, divisor: Monomial) -> Monomial | None:
    """`m / divisor`, None where `divisor` is no factor of `m`."""
    rest = list(m)
    for atom in divisor:
        if atom not in rest:
            return None
        rest.remove(atom)
    return tuple(rest)


def _common(a: Monomial, b: Monomial) -> Monomial:
    """The greatest common divisor."""
    rest = list(b)
    common = []
    for atom in a:
        if atom in rest:
            rest.remove(atom)
            common.append(atom)
    return tuple(common)


def _powers(x: Size, atom: Atom) -> dict[int, Size]:
    """`x` as a polynomial in `atom`: power -> coefficient, which may still contain `atom` inside of other atoms."""
    polys: dict[int, _Poly] = {}
    for m, c in _poly(x).items():
        rest = tuple(a for a in m if a != atom)
        polys.setdefault(len(m) - len(rest), {})[rest] = c
    return {power: _build(poly) for power, poly in polys.items()}


def _quotient(x: int, n: int) -> int:
    """x / n rounded towards zero."""
    return x // n if (x < 0) == (n < 0) else -(-x // n)


# ----------------------------------------------------------------------------------------------------
# Recombination: x == x%n + n*(x//n), used in all directions


def _recombine(poly: _Poly) -> None:
    """Rewrite x - n*(x//n) to x%n, x%n + n*(x//n) to x, x - x%n to n*(x//n); also times a factor."""
    for _ in range(_REWRITE_FUEL):
        if not any(_apply_identity(poly, *identity) for identity in _identities(poly)):
            return


def _identities(poly: _Poly) -> Iterator[tuple[_Poly, _Poly, _Poly]]:
    """Triples (x, x%n, n*(x//n)) with atoms of `poly` in them, in a fixed order. The last is a raw sum.

    Besides a//b and a%b themselves these are the levels between: x//a, (x//a)%b, b*(x//(a*b)), and
    x%(a*b), x%a, a*((x//a)%b).
    """
    atoms = {a for m, c in poly.items() if c for a in m if isinstance(a, (FloorDiv, Mod))}
    ordered = sorted(atoms, key=_atom_key)
    for atom in ordered:
        quotient, remainder = _divmod(atom.a, atom.b)
        yield _poly(atom.a), _poly(remainder), _scaled(atom.b, quotient)
        inner = atom.a
        if isinstance(atom, Mod) and isinstance(inner, FloorDiv):
            yield _poly(mod(inner.a, inner.b * atom.b)), _poly(mod(inner.a, inner.b)), _scaled(inner.b, atom)
    for fine in ordered:
        for coarse in ordered:
            if fine is coarse or fine.a != coarse.a or type(fine) is not type(coarse):
                continue
            n = exact_div(coarse.b, fine.b)
            if n is None:
                continue
            if isinstance(fine, FloorDiv):
                yield _poly(fine), _poly(mod(fine, n)), _scaled(n, coarse)
            else:
                yield _poly(coarse), _poly(fine), _scaled(fine.b, mod(floor_div(fine.a, fine.b), n))


def _absorb(poly: _Poly) -> None:
    """Rewrite x - min(x, n) to max(x, n) - n for a number n, and the same with min and max exchanged; and
    min(x, a) + min(max(x, a), b) to min(x, b) + a, where a <= b; also times a factor.

    Each rewrite removes terms, so that repeated clamping of a size does not lengthen its formula."""
    for _ in range(_REWRITE_FUEL):
        if not any(_absorb_into(poly, m, atom) for m, _ in sorted(poly.items(), key=_term_order) for atom in m):
            return


def _absorb_into(poly: _Poly, m: Monomial, atom: Atom) -> bool:
    """Applies a rewrite of `_absorb` to the extremum `atom` in the monomial `m` of `poly`; False if none applies."""
    if not isinstance(atom, (Min, Max)) or len(atom.args) != 2 or not poly[m]:
        return False
    x, n = atom.args
    factor = _over(m, (atom,))
    if not isinstance(n, int) or factor is None:
        return False
    kind, other = (Min, Max) if isinstance(atom, Min) else (Max, Min)
    times = poly[m]
    if isinstance(x, other) and len(x.args) == 2 and isinstance(below := x.args[1], int):
        first = _extremum(kind, x.args)
        part = _times((first,), factor) if isinstance(first, Atom) else ()
        if part and poly.get(part, 0) // times >= 1 and (below <= n) == isinstance(atom, Min):
            del poly[m]
            poly[part] -= times
            _increase(poly, _scaled(_extremum(kind, (x.args[0], n)) + below, _build({factor: times})))
            return True
    clamped = {_times(part, factor): -times * c for c, part in _terms(x) if part}
    if any(poly.get(part, 0) // c < 1 for part, c in clamped.items()):
        return False
    del poly[m]
    constant = _poly(x).get((), 0)
    _increase(poly, {part: -c for part, c in clamped.items()})
    _increase(poly, _scaled(_extremum(other, (x - n, 0)) - constant, _build({factor: -times})))
    return True


def _increase(poly: _Poly, more: _Poly) -> None:
    for m, c in more.items():
        poly[m] = poly.get(m, 0) + c


def _scaled(x: Size, y: Size) -> _Poly:
    """x * y as a raw sum, which the recombination inspects."""
    return _product(_poly(x), _poly(y))


def _apply_identity(poly: _Poly, x: _Poly, remainder: _Poly, multiple: _Poly) -> bool:
    """Uses x - remainder - multiple == 0 where that removes two of the three from `poly`; whether it did."""
    parts = [(x, -1), (remainder, 1), (multiple, 1)]
    leading = [min(part.items(), key=_term_order, default=((), 0))[0] for part, _ in parts]
    if not all(leading):  # one part is constant
        return False
    factors = {_over(m, part) for part in leading[1:] for m, c in poly.items() if c}
    changed = False
    for factor in sorted((m for m in factors if m is not None), key=lambda m: _term_order((m, 1))):
        counts = [sign * _count(poly, part, factor) for part, sign in parts]
        times = sorted(counts)[1]  # the median leaves the least of all three
        if times:
            changed = True
            for part, sign in parts:
                for m, c in part.items():
                    m = _times(m, factor)
                    poly[m] = poly.get(m, 0) - sign * times * c
    return changed


def _count(poly: _Poly, part: _Poly, factor: Monomial) -> int:
    """How often all terms of `part * factor` (constants aside) are in `poly`; below 0 if negated."""
    counts = [_quotient(poly.get(_times(m, factor), 0), c) for m, c in part.items() if m]
    return max(0, min(counts)) + min(0, max(counts))


# ----------------------------------------------------------------------------------------------------
# Division


@lru_cache(_CACHE)
def _divmod(a: Size, b: Size) -> tuple[Size, Size]:
    """Quotient and remainder, simplified in step, so that `b*quotient + remainder` recombines to `a`."""
    if isinstance(b, int):
        if b == 0:
            raise ZeroDivisionError(f"division of the symbolic size '{a}' by zero")
        if b == 1:
            return a, 0
        if isinstance(a, int):
            return a // b, a % b
    if isinstance(a, int) and a == 0:
        return 0, 0
    low, high = _interval(b)
    if low is None or low < 0:
        if high is None or high > 0:
            return FloorDiv(a, b), Mod(a, b)
        quotient, remainder = _divmod(-a, -b)
        return quotient, -remainder

    # b is positive from here on.
    whole, rest = _split(a, b)
    if whole != 0:
        quotient, remainder = _divmod(rest, b)
        return whole + quotient, remainder
    if _in_range(a, b):
        return 0, a
    high = _interval(a)[1]
    if high is not None and high < 0 and _in_range(a + b, b):
        return -1, a + b
    # (g*x + r) divided by (g*n) is x divided by n, where 0 <= r < g.
    for g in _common_factors(a, b):
        x, r = _split(a, g)
        if x != 0 and _in_range(r, g):
            n, _ = _split(b, g)
            quotient, remainder = _divmod(x, n)
            return quotient, g * remainder + r
    # q*(x%m) is q*x - k*b*(x//m) if q*m is a multiple k*b of the divisor.
    for m, c in _poly(a).items():
        for atom in m:
            if isinstance(atom, Mod) and _positive(atom.b):
                factor = _build({_over(m, (atom,)) or (): c})
                k, rest = _split(factor * atom.b, b)
                if rest == 0:
                    quotient, remainder = _divmod(a - factor * atom + factor * atom.a, b)
                    return quotient - k * floor_div(atom.a, atom.b), remainder
    # (x//m + k)//n is (x + k*m)//(m*n).
    (c, m), *others = _terms(a)
    inner = m[0] if c == 1 and len(m) == 1 and all(not m for _, m in others) else None
    if isinstance(inner, FloorDiv) and _positive(inner.b):
        k = others[0][0] if others else 0
        return floor_div(inner.a + k * inner.b, inner.b * b), Mod(a, b)
    return FloorDiv(a, b), Mod(a, b)


def _terms(x: Size) -> tuple[tuple[int, Monomial], ...]:
    return ((x, ()),) if isinstance(x, int) else x.terms


def _positive(b: Size) -> bool:
    """May `b` be taken as positive when it is a divisor? (See the module's docstring about zero.)"""
    low = _interval(b)[0]
    return low is not None and low >= 0


@lru_cache(_CACHE)
def _split(a: Size, b: Size) -> tuple[Size, Size]:
    """(q, r) with a == b*q + r, by polynomial division alone; q is 0 if the division gains nothing."""
    (cb, mb), *more = _terms(b)
    quotient: _Poly = {}
    rest = _poly(a)
    if not more:
        for m, c in list(rest.items()):
            factor = _over(m, mb)
            if factor is not None:
                # Towards zero for variables, so that a remainder like 3 - i keeps its small range.
                k = _quotient(c, cb) if factor else c // cb
                if k:
                    quotient[factor] = k
                    rest[m] = c - k * cb
        return (_build(quotient), _build(rest)) if quotient else (0, a)
    size = len(rest)
    for _ in range(_REWRITE_FUEL):
        for m, c in sorted(rest.items(), key=_term_order):
            factor = _over(m, mb)
            if factor is not None and c and c % cb == 0:
                quotient[factor] = quotient.get(factor, 0) + c // cb
                for n, k in _terms_swapped(b):
                    n = _times(n, factor)
                    rest[n] = rest.get(n, 0) - k * (c // cb)
                break
        else:
            break
    if quotient and sum(c != 0 for c in rest.values()) < size:
        return _build(quotient), _build(rest)
    return 0, a


def _terms_swapped(x: Size) -> list[tuple[Monomial, int]]:
    return [(m, c) for c, m in _terms(x)]


def _common_factors(a: Size, b: Size) -> list[Size]:
    """Common factors of `b` and of single terms of `a`, the largest first."""
    (cb, mb), *more = _terms(b)
    for c, m in more:
        cb, mb = math.gcd(cb, c), _common(mb, m)
    factors: dict[tuple[int, Monomial], None] = {}
    for c, m in _terms(a):
        if m:
            g = math.gcd(c, cb), _common(m, mb)
            if g != (1, ()):
                factors[g] = None
    ordered = sorted(factors, key=lambda g: (-len(g[1]), -g[0], [x.key for x in g[1]]))
    return [f for f in (_build({m: c}) for c, m in ordered) if f != b and _positive(f)]


def _in_range(r: Size, n: Size) -> bool:
    """Is 0 <= r < n proven, for a divisor n (so positive)?"""
    if isinstance(r, int) and isinstance(n, int):
        return 0 <= r < n
    assumed = _factors_of_positive(n)
    return _nonneg(r, assumed, r, n) and _nonneg(n - r - 1, assumed, r, n)


# ----------------------------------------------------------------------------------------------------
# Min and max


def _extremum(kind: type[Min] | type[Max], xs: Iterable[Size]) -> Size:
    flat: dict[Size, None] = {}
    for x in xs:
        for y in _candidates(kind, x):
            flat[y if isinstance(y, Dim) else int(y)] = None  # a bool is another int, but an equal one
    if len(flat) == 1:
        return next(iter(flat))
    return _extremum_of(kind is Min, tuple(sorted(flat, key=lambda x: (isinstance(x, int), _key(x)))))


def _candidates(kind: type[Min] | type[Max], x: Size) -> Sequence[Size]:
    """Sizes whose extremum is x: the arguments if it is an extremum (plus a number), else x itself."""
    (c, m), *more = _terms(x)
    if c == 1 and len(m) == 1 and isinstance(m[0], kind) and all(not other for _, other in more):
        offset = sum(c for c, _ in more)
        return [y + offset for y in m[0].args]
    return (x,)


@lru_cache(_CACHE)
def _extremum_of(least: bool, xs: tuple[Size, ...]) -> Size:
    if not xs:
        raise ValueError("min or max of no sizes")

    def decides(x: Size, y: Size) -> bool:
        """Is y never the result where x is an argument too?"""
        return (known_le(x, y) if least else known_le(y, x)) is True

    kept: list[Size] = []
    for x in xs:
        if not any(decides(y, x) for y in kept):
            kept = [y for y in kept if not decides(x, y)] + [x]
    if len(kept) == 1:
        return kept[0]
    if len(kept) == 2 and isinstance(n := kept[1], int) and (offset := _poly(kept[0]).get((), 0)):
        # A constant is moved out of an extremum with a number: min(x + 1, 5) is min(x, 4) + 1.
        return _extremum_of(least, (kept[0] - offset, n - offset)) + offset
    return Min(tuple(kept)) if least else Max(tuple(kept))


# ----------------------------------------------------------------------------------------------------
# Bounds by interval arithmetic


def _interval(x: Size) -> Bounds:
    """Bounds by interval arithmetic on numbers. The provers know more, as they use symbolic extents, too."""
    if isinstance(x, int):
        return x, x
    if x._bounds is None:
        x._bounds = _interval_of_atom(x) if isinstance(x, Atom) else _interval_of_sum(x)
    return x._bounds


def _interval_of_sum(x: Dim) -> Bounds:
    low: int | None = 0
    high: int | None = 0
    for c, m in x.terms:
        term: Bounds = (c, c)
        done: set[Atom] = set()
        for atom in m:
            if atom not in done:
                done.add(atom)
                term = _interval_product(term, _interval_power(_interval(atom), m.count(atom)))
        low = None if low is None or term[0] is None else low + term[0]
        high = None if high is None or term[1] is None else high + term[1]
    return low, high


def _interval_power(x: Bounds, power: int) -> Bounds:
    low, high = x
    if power % 2 == 0:  # the power of the absolute value
        if high is not None and high <= 0:
            low, high = -high, None if low is None else -low
        elif low is None or low < 0:
            low, high = 0, None if low is None or high is None else max(-low, high)
    return None if low is None else low**power, None if high is None else high**power


def _interval_product(x: Bounds, y: Bounds) -> Bounds:
    def times(a: int | None, b: int | None, a_sign: int, b_sign: int) -> float:
        """A corner; None stands for the infinity of the given sign, and 0 times infinity is 0."""
        if a == 0 or b == 0:
            return 0
        if a is None or b is None:
            sign = (a_sign if a is None else a) * (b_sign if b is None else b)
            return math.inf if sign > 0 else -math.inf
        return a * b

    corners = [times(a, b, sa, sb) for a, sa in ((x[0], -1), (x[1], 1)) for b, sb in ((y[0], -1), (y[1], 1))]
    low, high = min(corners), max(corners)
    return None if isinstance(low, float) else low, None if isinstance(high, float) else high


def _interval_of_atom(atom: Atom) -> Bounds:
    if isinstance(atom, Symbol):
        high = None if atom.extent is None else _interval(atom.extent)[1]
        return atom.lower, None if high is None else high - 1
    if isinstance(atom, (Min, Max)):
        pairs = [_interval(x) for x in atom.args]
        lows = [low for low, _ in pairs if low is not None]
        highs = [high for _, high in pairs if high is not None]
        if isinstance(atom, Min):
            return min(lows) if len(lows) == len(pairs) else None, min(highs, default=None)
        return max(lows, default=None), max(highs) if len(highs) == len(pairs) else None
    assert isinstance(atom, (FloorDiv, Mod))
    (low, high), (divisor, largest) = _interval(atom.a), _interval(atom.b)
    if divisor is None or divisor < 0:
        return None, None
    divisor, largest = max(divisor, 1), None if largest is None else max(largest, 1)
    if isinstance(atom, Mod):
        tops = [largest - 1] if largest is not None else []
        if low is not None and low >= 0 and high is not None:
            tops.append(high)
        return 0, min(tops, default=None)

    def quotient(x: int | None, by: int | None) -> int | None:
        if x is None:
            return None
        return (0 if x >= 0 else -1) if by is None else x // by

    return (
        quotient(low, divisor if low is not None and low < 0 else largest),
        quotient(high, divisor if high is not None and high >= 0 else largest),
    )


@lru_cache(_CACHE)
def _sharp_bounds(x: Dim) -> Bounds:
    low, high = _interval(x)
    below = _interval(_extreme(x, up=False))[0]
    above = _interval(_extreme(x, up=True))[1]
    if low is None or (below is not None and below > low):
        low = below
    if high is None or (above is not None and above < high):
        high = above
    return low, high


# ----------------------------------------------------------------------------------------------------
# Proofs


def _known_nonneg(x: Size, positive: frozenset[Atom], *mentioned: Size) -> bool | None:
    if isinstance(x, int):
        return x >= 0
    if _nonneg(x, positive, *mentioned):
        return True
    return False if _nonneg(-x - 1, positive, *mentioned) else None


def _nonneg(x: Size, positive: frozenset[Atom], *mentioned: Size) -> bool:
    """Is x >= 0 proven, given that the atoms of `positive` are >= 1 and `mentioned` is in scope?"""
    low, high = _interval(x)
    if low is not None and low >= 0:
        return True
    if isinstance(x, int) or (high is not None and high < 0) or x.length > LONG:
        return False
    return _prove(x, positive.union(*(_positive_in_scope(y) for y in mentioned)))


@lru_cache(_CACHE)
def _prove(x: Dim, positive: frozenset[Atom]) -> bool:
    return not _refuted(x, positive) and _Proof(positive).nonneg(x)


# ----------------------------------------------------------------------------------------------------
# Refutation by examples: most goals are false, which a search would find out only at its end

_EXAMPLES: Final = 3


def _refuted(x: Dim, positive: frozenset[Atom]) -> bool:
    """Is x < 0 in one of the examples, in which the atoms of `positive` are >= 1?"""
    samples = [_samples(a) for a in positive]
    return any(
        v is not None and v < 0 and all(others[i] is not None and others[i] >= 1 for others in samples)  # type: ignore[operator]
        for i, v in enumerate(_samples(x))
    )


def _samples(x: Size) -> tuple[int | None, ...]:
    """The values of x in the examples; None in an example where x has no value."""
    if isinstance(x, int):
        return (x,) * _EXAMPLES
    if x._samples is None:
        if isinstance(x, Symbol):
            x._samples = _samples_of_symbol(x)
        elif isinstance(x, Atom):
            x._samples = tuple(_sample_of_atom(x, values) for values in zip(*map(_samples, _operands(x))))
        else:
            terms = [[(c,) * _EXAMPLES, *map(_samples, m)] for c, m in x.terms]
            x._samples = tuple(_sample_of_sum([[f[i] for f in term] for term in terms]) for i in range(_EXAMPLES))
    return x._samples


def _samples_of_symbol(x: Symbol) -> tuple[int | None, ...]:
    """A small, a medium and a large value; for a loop variable the first, a middle, and the last value."""
    if x.extent is None:
        number = crc32(x.name.encode("utf-8", "surrogatepass"))
        least = 0 if x.lower == LEAST else max(x.lower, 1)
        return least + number % 3, least + 20 + number % 37, least + 1000 + number % 4099
    ends = [None if n is None or n <= x.lower else n - 1 for n in _samples(x.extent)]
    first, middle, last = ends
    return None if first is None else x.lower, None if middle is None else (x.lower + middle) // 2, last


def _sample_of_atom(x: Atom, values: tuple[int | None, ...]) -> int | None:
    known = [v for v in values if v is not None]
    if len(known) < len(values):
        return None
    if isinstance(x, (Min, Max)):
        return min(known) if isinstance(x, Min) else max(known)
    a, b = known
    return None if b == 0 else a // b if isinstance(x, FloorDiv) else a % b


def _sample_of_sum(terms: list[list[int | None]]) -> int | None:
    total = 0
    for term in terms:
        product = 1
        for factor in term:
            if factor is None:
                return None
            product *= factor
        total += product
    return total


def _factors_of_positive(x: Size) -> frozenset[Atom]:
    """Atoms that are >= 1 if x is: the factors of x if it is a product of nonnegative atoms."""
    terms = _terms(x)
    if len(terms) > 1 or terms[0][0] < 0 or not all(_positive(a) for a in terms[0][1]):
        return frozenset()
    return frozenset(terms[0][1])


@lru_cache(_CACHE)
def _positive_in_scope(x: Size) -> frozenset[Atom]:
    """Atoms that are >= 1 wherever x is evaluated: factors of its loop variables' extents and of its divisors."""
    found: frozenset[Atom] = frozenset()
    for atom in {a for _, m in _terms(x) for a in m}:
        if isinstance(atom, Symbol):
            if atom.extent is not None:
                found |= _positive_in_scope(atom.extent)
                if atom.lower >= 0:
                    found |= _factors_of_positive(atom.extent)
        else:
            found = found.union(*(_positive_in_scope(y) for y in _operands(atom)))
            if isinstance(atom, (FloorDiv, Mod)) and _positive(atom.b):
                found |= _factors_of_positive(atom.b)
    return found


class _Proof:
    """One search for a proof of x >= 0, by eliminating the atoms of x from the innermost out.

    An atom is replaced by its worst case: a loop variable by 0 or extent-1, a quotient by the inequality
    that defines it, a minimum by its arguments. Free symbols are left: there the polynomial is rewritten in
    terms of s - lower, which is >= 0, and all its coefficients must be >= 0.
    """

    def __init__(self, positive: frozenset[Atom]):
        self.positive = positive
        self.fuel = _PROOF_FUEL

    def nonneg(self, x: Size) -> bool:
        low, high = _interval(x)
        if low is not None and low >= 0:
            return True
        self.fuel -= 1
        if isinstance(x, int) or (high is not None and high < 0) or self.fuel < 0:
            return False
        atom = _innermost(x)
        if atom is None:
            return all(c >= 0 for c, _ in _terms(_map_atoms(x, self._shifted)))
        return any(all(self.nonneg(goal) for goal in goals) for goals in self._ways(x, atom))

    def _shifted(self, atom: Atom) -> Size:
        return atom + self._low(atom)

    def _low(self, atom: Atom) -> int:
        low = _interval(atom)[0]
        assert low is not None
        return max(low, 1) if atom in self.positive else low

    def _ways(self, x: Size, atom: Atom) -> Iterator[list[Size]]:
        """Lists of goals without `atom`; x >= 0 follows from any of the lists as a whole."""
        powers = _powers(x, atom)
        sign = _common_sign([c for power, c in powers.items() if power])
        low = _interval(atom)[0]

        def put(value: Size) -> Size:
            return _sum(coefficient * prod([value] * power) for power, coefficient in powers.items())

        if max(powers) > 1:
            # A power grows with its base for nonnegative values only, so no goal may go below 0.
            if low is None or low < 0 or sign == 0:
                return
            if sign > 0:
                yield [put(self._low(atom))]
                return
        if isinstance(atom, (Min, Max)):
            if sign == (1 if isinstance(atom, Max) else -1):
                for arg in atom.args:
                    yield [put(arg)]
            else:
                yield [put(arg) for arg in atom.args]
            return
        if isinstance(atom, Symbol):
            assert atom.extent is not None
            ends = [put(self._low(atom))] if sign >= 0 else []
            yield ends + ([put(atom.extent - 1)] if sign <= 0 else [])
            return
        assert isinstance(atom, (FloorDiv, Mod))
        if not _positive(atom.b):
            return
        if isinstance(atom, Mod):
            yield ([put(0)] if sign >= 0 else []) + ([put(atom.b - 1)] if sign <= 0 else [])
            if sign <= 0:
                yield [atom.a, put(atom.a)] + ([put(0)] if sign == 0 else [])  # 0 <= a%b <= a for a >= 0
            return
        if sign and max(powers) == 1:
            # c*(a//b) is at least c*(a-b+1)/b, or c*a/b for a negative c; and x >= 0 follows from b*x > -b.
            least = atom.a - atom.b + 1 if sign > 0 else atom.a
            yield [powers.get(0, 0) * atom.b + powers[1] * least + atom.b - 1]
        ends = [put(floor_div(_extreme(atom.a, up=False), atom.b))] if sign >= 0 else []
        if sign <= 0:
            ends.append(put(floor_div(_extreme(atom.a, up=True), atom.b)))
        if all(_innermost(end) != atom for end in ends):
            yield ends
        if atom in self.positive and sign > 0:
            yield [put(1)]


def _innermost(x: Size) -> Atom | None:
    """The atom on which no other atom of x depends; None when all are symbols without an extent."""
    best: Atom | None = None
    for _, m in _terms(x):
        for atom in m:
            bounded = not isinstance(atom, Symbol) or atom.extent is not None
            if bounded and (best is None or (atom.rank, atom.key) > (best.rank, best.key)):
                best = atom
    return best


def _common_sign(xs: list[Size]) -> int:
    """1 when all are >= 0, -1 when all are <= 0, 0 when that is not known."""
    lows, highs = zip(*(_interval(x) for x in xs))
    if all(low is not None and low >= 0 for low in lows):
        return 1
    return -1 if all(high is not None and high <= 0 for high in highs) else 0


@lru_cache(_CACHE)
def _extreme(x: Size, up: bool) -> Size:
    """A symbolic bound of x from above or below, with as many loop variables eliminated as possible."""
    for _ in range(_REWRITE_FUEL):
        atom = _innermost(x)
        if atom is None:
            return x
        powers = _powers(x, atom)
        sign = _common_sign([c for power, c in powers.items() if power])
        low = _interval(atom)[0]
        if sign == 0 or (max(powers) > 1 and (low is None or low < 0)):
            return x
        raised = up == (sign > 0)
        bound = _extreme_of_atom(atom, raised) if raised or max(powers) == 1 else low
        if bound == atom or bound is None:
            return x
        x = _sum(coefficient * prod([bound] * power) for power, coefficient in powers.items())
    return x


def _extreme_of_atom(atom: Atom, up: bool) -> Size | None:
    if isinstance(atom, Symbol):
        assert atom.extent is not None
        return atom.extent - 1 if up else atom.lower
    if isinstance(atom, (Min, Max)):
        return _extremum(type(atom), [_extreme(y, up) for y in atom.args])
    assert isinstance(atom, (FloorDiv, Mod))
    if not _positive(atom.b):
        return None
    if isinstance(atom, Mod):
        return atom.b - 1 if up else 0
    return floor_div(_extreme(atom.a, up), atom.b)


def _without_mods(x: Size) -> _Poly:
    """x with a - b*(a//b) for each a % b, as a raw sum: an empty one shows that x is 0."""
    total: _Poly = {}
    for c, m in _terms(x):
        term: _Poly = {(): c}
        for atom in m:
            factor: _Poly = {(atom,): 1}
            if isinstance(atom, Mod):
                factor = _poly(atom.a)
                for n, k in _scaled(atom.b, floor_div(atom.a, atom.b)).items():
                    factor[n] = factor.get(n, 0) - k
            term = _product(term, factor)
        for n, k in term.items():
            total[n] = total.get(n, 0) + k
    return {m: c for m, c in total.items() if c}


# ----------------------------------------------------------------------------------------------------
# Text

_PRECEDENCE: Final = {"+": 1, "-": 1, "*": 2, "//": 2, "%": 2}  # all group to the left
_UNARY: Final = 3  # of a leading minus, as in Python: -a//b is (-a)//b
_OPERAND: Final = 4
_SPELLING: Final = {"+": " + ", "-": " - ", "*": "*", "//": "//", "%": " % "}
_IDENTIFIER: Final = "[A-Za-z_][A-Za-z0-9_]*"
_TOKEN: Final = re.compile(rf"\s*(?:([0-9]+)|({_IDENTIFIER})|`((?:[^`\\]|\\.)*)`|(//|[-+*%(),]))", re.S)
_Text: TypeAlias = tuple[str, int]  # a text and the precedence of its outermost operator


def _quote(name: str) -> str:
    """The name as written in text: between backquotes unless it is an identifier."""
    if re.fullmatch(_IDENTIFIER, name) and name not in ("min", "max"):
        return name
    return "`" + re.sub(r"([`\\])", r"\\\1", name) + "`"


def _text(x: Size) -> _Text:
    if isinstance(x, int):
        return str(x), _OPERAND if x >= 0 else _UNARY
    if x._text is None:
        x._text = _text_of(x)
    return x._text


def _text_of(x: Dim) -> _Text:
    if isinstance(x, Symbol):
        return _quote(x.name), _OPERAND
    if isinstance(x, (Min, Max)):
        name = "min" if isinstance(x, Min) else "max"
        return f"{name}({', '.join(str(y) for y in x.args)})", _OPERAND
    if isinstance(x, (FloorDiv, Mod)):
        return _infix("//" if isinstance(x, FloorDiv) else "%", _text(x.a), _text(x.b))
    (c, m), *others = x.terms
    result = _text_of_term(c, m)
    for c, m in others:
        result = _infix("+" if c > 0 else "-", result, _text_of_term(abs(c), m))
    return result


def _text_of_term(c: int, m: Monomial) -> _Text:
    factors = [_text(a) for a in m]
    if c == -1 and m:
        factors[0] = "-" + _parenthesised(factors[0], _UNARY), _UNARY
    elif c != 1 or not m:
        factors.insert(0, _text(c))
    result = factors[0]
    for factor in factors[1:]:
        result = _infix("*", result, factor)
    return result


def _infix(operator: str, left: _Text, right: _Text) -> _Text:
    precedence = _PRECEDENCE[operator]
    parts = _parenthesised(left, precedence), _parenthesised(right, precedence + 1)
    return _SPELLING[operator].join(parts), precedence


def _parenthesised(x: _Text, least: int) -> str:
    return x[0] if x[1] >= least else f"({x[0]})"


def parse(text: str, symbols: Mapping[str, Symbol]) -> Size:
    """The inverse of `str`, for expressions in which no two symbols share a name.

    Raises ValueError on malformed text, KeyError with the name of a symbol that `symbols` lacks.
    """
    return _Parser(text, symbols).whole()


class _Parser:
    """Recursive descent, one token ahead."""

    def __init__(self, text: str, symbols: Mapping[str, Symbol]):
        self.text = text
        self.symbols = symbols
        self.position = 0
        self._advance()

    def _advance(self) -> None:
        self.start = self.position
        match = _TOKEN.match(self.text, self.position)
        if match is None:
            self.number = self.name = self.quoted = None
            self.operator = None
            if self.text[self.position :].strip():
                raise self._error()
            return
        self.number, self.name, self.quoted, self.operator = match.groups()
        self.position = match.end()

    def _error(self) -> ValueError:
        return ValueError(f"not a size: {self.text!r}, at character {self.start + 1}")

    def _expect(self, operator: str) -> None:
        if self.operator != operator:
            raise self._error()
        self._advance()

    def whole(self) -> Size:
        result = self._infix(1)
        if self.position != self.start or self.text[self.position :].strip():
            raise self._error()
        return result

    def _infix(self, precedence: int) -> Size:
        """Parses operands joined by operators of this precedence or higher ones."""

        def operand() -> Size:
            return self._infix(precedence + 1) if precedence + 1 < _UNARY else self._prefix()

        terms = [operand()]  # of a sum, which is built in one step
        while self.operator is not None and _PRECEDENCE.get(self.operator) == precedence:
            operator = self.operator
            self._advance()
            right = operand()
            if operator in "+-":
                terms.append(right if operator == "+" else -right)
            elif operator == "*":
                terms = [terms[0] * right]
            else:
                terms = [(floor_div if operator == "//" else mod)(terms[0], right)]
        return _sum(terms) if len(terms) > 1 else terms[0]

    def _prefix(self) -> Size:
        number, name, quoted, operator = self.number, self.name, self.quoted, self.operator
        if operator == "-":
            self._advance()
            return -self._prefix()
        if operator == "(":
            self._advance()
            result = self._infix(1)
            self._expect(")")
            return result
        if number is not None:
            self._advance()
            return int(number)
        if name in ("min", "max"):
            self._advance()
            self._expect("(")
            args = [self._infix(1)]
            while self.operator == ",":
                self._advance()
                args.append(self._infix(1))
            self._expect(")")
            return dim_min(*args) if name == "min" else dim_max(*args)
        if name is None and quoted is not None:
            name = re.sub(r"\\(.)", r"\1", quoted, flags=re.S)
        if name is None:
            raise self._error()
        self._advance()
        return self.symbols[name]
