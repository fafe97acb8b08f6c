"""Symbolic sizes: what simplifies to what, what is provable, and that nothing is claimed that is not."""

from __future__ import annotations

import copy
import itertools
import pickle
import subprocess
import sys

import pytest

from intaglio.compiler.scalar.dim import (
    Dim,
    FloorDiv,
    Max,
    Min,
    Mod,
    Size,
    Symbol,
    bounds,
    ceil_div,
    dim_max,
    dim_min,
    evaluate,
    exact_div,
    known_eq,
    known_le,
    known_lt,
    linear_in,
    lower_bound,
    parse,
    prod,
    substitute,
    symbols,
    upper_bound,
)

A, B, C, N, M = (Symbol(name) for name in "ABCNM")
Z = Symbol("Z", lower=-5)  # may be negative
P, S = Symbol("past"), Symbol("seq", lower=1)
i, j, k, n = Symbol("i", 0, A), Symbol("j", 0, B), Symbol("k", 0, C), Symbol("n", 0, N)
u = Symbol("u", 0, 4)
NAMES = {s.name: s for s in (A, B, C, N, M, Z, P, S, i, j, k, n, u)}


def test_constants_are_ints() -> None:
    assert N - N == 0 and type(N - N) is int
    assert type(N * 0) is int and type(0 // N) is int and type(N // N) is int
    assert type((N + 3) - N) is int and type((4 * N) % 4) is int
    assert prod([]) == 1 and prod([2, 3]) == 6 and dim_min(3, 2) == 2 and dim_max(4, 9) == 9


def test_equality_is_structural() -> None:
    assert (A + B) * (A - B) == A * A - B * B
    assert hash(A * B + 1) == hash(1 + B * A)
    assert {A + B: 1}[B + A] == 1
    assert (N == 4) is False and (N != 4) is True and N != "N"
    assert Symbol("N") == N and Symbol("N", 1) != N and Symbol("N", 0, 8) != N
    assert Symbol("n", 0, N) == n and Symbol("n", 0, M) != n


def test_a_size_has_no_truth_value() -> None:
    with pytest.raises(TypeError, match="known_eq"):
        bool(N)
    with pytest.raises(TypeError):
        assert N < M  # type: ignore[operator]


def test_division_by_zero() -> None:
    for divide in (lambda: N // 0, lambda: N % 0, lambda: 4 // (N - N), lambda: ceil_div(N, 0)):
        with pytest.raises(ZeroDivisionError):
            divide()


@pytest.mark.parametrize(
    ("simplified", "expected"),
    [
        ((i * B + j) // B, i),
        ((i * B + j) % B, j),
        (((i * B + j) * C + k) // C, i * B + j),
        ((i * B * C + j * C + k) // (B * C), i),
        (((i * B + j) * C + k) // C % B, j),
        (((i * B + j) * C + k) % (B * C), j * C + k),
        ((4 * i + 2 * j) // 2, 2 * i + j),
        (A * B * C // C, A * B),
        (i * 8 // 16, i // 2),
        ((8 * i + 3) // 16, i // 2),
        ((4 * i + u) // 8, i // 2),
        ((4 * i + u) % 8, 4 * (i % 2) + u),
        ((j * C + k) % (2 * C), C * (j % 2) + k),
        ((3 - u + 4 * j) // 4, j),
        (n // 3 // 5, n // 15),
        ((n // 3 + 2) // 5, (n + 6) // 15),
        (n // B // C, n // (B * C)),
        (n % 12 % 4, n % 4),
        ((n % 12 + 4 * i) % 4, n % 4),
        (n % (4 * B) // 4, n // 4 % B),
        (n - n // 4 * 4, n % 4),
        (n // 4 * 4 + n % 4, n),
        (n - n % 4, n // 4 * 4),
        (n // B * B + n % B, n),
        (n // 4 % 2 * 4 + n % 4, n % 8),
        (n // C % B * C + n % C, n % (B * C)),
        (n % 8 - n % 4, n // 4 % 2 * 4),
        (5 * N + n // B * B * M + n % B * M, 5 * N + n * M),
        (n // C // B * B * C + n // C % B * C + n % C, n),
        ((N + 5) // 4, (N + 1) // 4 + 1),
        ((N - 1) // 2 + 1, (N + 1) // 2),
        ((N * (B + 1)) // (B + 1), N),
        ((n * (B + 1) + Symbol("r", 0, B + 1)) // (B + 1), n),
        (N // -4, -N // 4),
        (N % -4, -(-N % 4)),
        (n // N, 0),
        (n % N, n),
        ((n - N) // N, -1),
        (dim_min(n, N), n),
        (dim_max(N, 0), N),
        (dim_max(dim_max(A, B), A, B), dim_max(B, A)),
        (dim_min(N, 4, 7), dim_min(4, N)),
        (dim_min(A, dim_max(A, B)), A),
        (dim_max(N - 1, N + 1, N), N + 1),
        (ceil_div(4 * N, 4), N),
        (ceil_div(n + 1, 4), n // 4 + 1),
    ],
)
def test_simplifies(simplified: Size, expected: Size) -> None:
    assert simplified == expected


def test_a_divisor_that_may_be_negative_is_left_alone() -> None:
    for x in (N // Z, Z // Z, (N * Z) // Z):
        assert isinstance(x, FloorDiv)
    assert isinstance(N % (B - 3), Mod)
    assert isinstance(Z // 4, FloorDiv) and Z // 4 * 4 + Z % 4 == Z


def test_reshape_and_back_is_the_identity() -> None:
    for shape in ([A, B, C], [2, B, 3], [P + S, B, 64], [B * C, A, 5], [dim_max(A, 1), 7, B // 2]):
        loops = [Symbol(f"l{axis}", 0, extent) for axis, extent in enumerate(shape)]
        flat: Size = 0
        for loop, extent in zip(loops, shape):
            flat = flat * extent + loop
        assert known_lt(flat, prod(shape)) is True
        for axis, loop in enumerate(loops):
            inner = prod(shape[axis + 1 :])
            assert flat // inner % shape[axis] == loop
            assert flat % (inner * shape[axis]) // inner == loop
        # A loop over all elements, taken apart and put together again.
        one = Symbol("one", 0, prod(shape))
        again: Size = 0
        for axis, extent in enumerate(shape):
            again = again * extent + one // prod(shape[axis + 1 :]) % extent
        assert again == one


def test_attention_heads() -> None:
    b, s, h, d = Symbol("b", 0, B), Symbol("s", 0, S), Symbol("h", 0, 12), Symbol("d", 0, 64)
    flat = ((b * S + s) * 12 + h) * 64 + d
    assert flat // 768 // S == b and flat // 768 % S == s and flat % 768 == 64 * h + d


def test_bounds() -> None:
    assert bounds(7) == (7, 7)
    assert bounds(N) == (0, None) and bounds(-N) == (None, 0) and bounds(Z * Z) == (0, None)
    assert bounds(n % 7) == (0, 6) and bounds(u // 2) == (0, 1) and bounds(3 - 2 * u) == (-3, 3)
    assert bounds(N - n) == (1, None)
    assert lower_bound(N // 4) == 0 and upper_bound(dim_min(N, 9)) == 9 and upper_bound(N) is None
    assert upper_bound(Symbol("v", 0, dim_min(N, 16))) == 15
    assert bounds(Z * Z * Z) == (-125, None)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (n, N),
        (i * B + j, A * B),
        ((i * B + j) * C + k, A * B * C),
        (n // 4, (N + 3) // 4),
        (n // B, N),
        (n % 8, 8),
        (n % C, C),
        (0, N - n),
        (n, dim_max(N, M)),
        (dim_min(i, j), A),
        (n * n, N * N),
        (2 * Symbol("o", 0, (N - 1) // 2 + 1) + Symbol("w", 0, 3), N + 2),  # a window over a padded axis
        (64 * Symbol("t", 0, ceil_div(N, 64)), N),
    ],
)
def test_proves_less(a: Size, b: Size) -> None:
    assert known_lt(a, b) is True
    assert known_le(a, b) is True and known_le(b, a) is False and known_eq(a, b) is False


def test_proves_a_tile_stays_inside() -> None:
    t = Symbol("t", 0, ceil_div(N, 64))
    inside = Symbol("x", 0, dim_min(64, N - 64 * t))
    assert known_lt(64 * t + inside, N) is True
    assert known_lt(64 * t + Symbol("x", 0, 64), N) is None


def test_does_not_guess() -> None:
    assert known_lt(n, M) is None
    assert known_lt(0, N) is None  # N may be 0
    assert known_lt(0, S) is True
    assert known_eq(N, M) is None and known_eq(N, N) is True and known_eq(N, N + 1) is False
    assert known_le(N, N * N) is None and known_le(S, S * S) is True
    assert known_le(16, Symbol("x", -4, 5) * Symbol("x", -4, 5)) is None  # 0 lies between
    assert known_eq(n % M, n) is None
    assert known_lt(N * M, N * M + Z) is None


def test_equality_beyond_form() -> None:
    assert known_eq(2 * N, 2 * M + 1) is False  # even and odd
    assert known_eq(n % 4 + 8 * (n // 4), 2 * n - n % 4) is True


def test_substitute_evaluate_symbols() -> None:
    x = (A * B + C) // 4 + dim_max(A, 3) % B
    assert symbols(x) == {A, B, C} and symbols(3) == frozenset() and symbols(n) == {n}
    values = {A: 5, B: 6, C: 7}
    assert evaluate(x, values) == (5 * 6 + 7) // 4 + max(5, 3) % 6 == substitute(x, values)
    assert substitute(A + B, {A: B, B: A}) == A + B  # all at once
    assert substitute(n // 4, {n: 4 * M + u}) == M
    assert substitute(x, {}) is x
    with pytest.raises(KeyError, match="C"):
        evaluate(x, {A: 1, B: 1})


def test_linear_in() -> None:
    assert linear_in(B * i + 4 * i + j, i) == (B + 4, j)
    assert linear_in(j // 2, i) == (0, j // 2)
    assert linear_in(7, i) == (0, 7)
    assert linear_in(i * i, i) is None
    assert linear_in(i + i // 2, i) is None
    assert linear_in(i * (i % 2), i) is None


def test_structure() -> None:
    x = 4 * A * A + B // 2 + 3
    assert isinstance(x, Dim)
    half = B // 2
    assert x.terms == ((4, (A, A)), (1, (half,)), (3, ()))
    assert isinstance(half, FloorDiv) and (half.a, half.b) == (B, 2)
    least, greatest = dim_min(A, 4), dim_max(A, B, 4)
    assert isinstance(least, Min) and least.args == (A, 4)
    assert isinstance(greatest, Max) and greatest.args == (A, B, 4)
    assert A.terms == ((1, (A,)),)
    assert exact_div(A * B, B) == A and exact_div(A + B, B) is None and exact_div(12, 5) is None


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (4 * A * B + n // 2 + 3, "4*A*B + n//2 + 3"),
        ((A + 1) % 4, "(A + 1) % 4"),
        (4 * (A % 2), "4*(A % 2)"),
        (dim_min(A, B), "min(A, B)"),
        (dim_max(A, 4) - B, "-B + max(A, 4)"),
        (-(A // 3), "-(A//3)"),
        (-A // 3, "-A//3"),
        (B * -(A // 3), "-B*(A//3)"),
        (A // 3 % B, "A//3 % B"),
        (A // (B // 2), "A//(B//2)"),
        (A // Z, "A//Z"),
        ((A * B) // (Z * C), "A*B//(C*Z)"),
        (A - 2 * B - 1, "A - 2*B - 1"),
        (-3 // Z, "-3//Z"),
    ],
)
def test_text(x: Size, text: str) -> None:
    assert str(x) == text
    assert parse(text, NAMES) == x


def test_odd_names_are_quoted() -> None:
    for name in ("batch size", "min", "a`b\\c", "", "é", "2x", "x)\n", "N//2"):
        symbol = Symbol(name)
        assert parse(str(symbol * 2 + N), {**NAMES, name: symbol}) == symbol * 2 + N
    assert Symbol("a[0,None)") != Symbol("a") and Symbol("a[0").key != Symbol("a").key


@pytest.mark.parametrize("text", ["", "A +", "A B", "(A", "A)", "min()", "4..", "A ** 2", "%", "`A", "A,B"])
def test_malformed_text(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse(text, NAMES)


def test_unknown_name_in_text() -> None:
    with pytest.raises(KeyError, match="other"):
        parse("A + other", NAMES)


def test_pickle_and_copy() -> None:
    x = (i * B + j) // 4 + dim_max(A, Z) % 3
    assert pickle.loads(pickle.dumps(x)) == x and copy.deepcopy(x) == x


def test_text_is_the_same_in_every_process() -> None:
    program = (
        "from intaglio.compiler.scalar.dim import *\n"
        "s = [Symbol(c) for c in 'qwertyuiop']\n"
        "print(prod(x + 1 for x in s[:5]), dim_min(*s), sum(a * b // 3 for a in s for b in s))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1


def test_order_of_building_does_not_matter() -> None:
    parts = [n // 8 * 8, n % 8, 3 * B, -(n // 4) * 4, n]
    assert len({prod([1]) * sum(order) for order in itertools.permutations(parts)}) == 1
