"""Strings, as arrays of objects."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from .registry import function

Array = np.ndarray[Any, Any]


def _each(f: Callable[..., Any], *arrays: Array, dtype: Any = object) -> Array:
    """f of each element, or of the elements at one place."""
    result: Array = np.empty(arrays[0].size, dtype)
    for i, args in enumerate(zip(*(a.reshape(-1).tolist() for a in arrays))):
        result[i] = f(*args)
    shaped: Array = result.reshape(arrays[0].shape)
    return shaped


@function("ranks")
def ranks(x: Array) -> Array:
    """The position of each string among the different ones, sorted by their bytes in UTF-8."""
    known = {text: i for i, text in enumerate(sorted(set(x.reshape(-1).tolist()), key=_bytes))}
    return _each(known.__getitem__, x, dtype=np.int64)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


@function("parse")
def parse(x: Array, *, dtype: str) -> Array:
    """Numbers of a numpy dtype from their texts."""
    kinds: dict[str, Callable[[str], Any]] = {"f": float, "b": _truth}
    read = kinds.get(np.dtype(dtype).kind, _integer)
    values = _each(read, x)
    try:
        return values.astype(dtype)
    except OverflowError as error:
        raise ValueError(str(error)) from None


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return int(float(text))


def _truth(text: str) -> bool:
    lower = text.strip().lower()
    return lower == "true" or (lower != "false" and float(lower) != 0)


@function("format")
def format(x: Array) -> Array:
    """The texts of numbers."""
    if x.dtype.kind == "f":
        return _each(_float, x.astype(np.float64))
    return _each(lambda number: str(int(number)), x)


def _float(number: float) -> str:
    """With as many digits as onnxruntime gives to every type."""
    if number != number:
        return "NaN"
    if number in (np.inf, -np.inf):
        return "INF" if number > 0 else "-INF"
    return f"{number:.8g}"


@function("concat")
def concat(a: Array, b: Array) -> Array:
    return _each(lambda x, y: x + y, a, b)


@function("match")
def match(x: Array, *, pattern: str) -> Array:
    """Whether all of a string matches a pattern of RE2's syntax."""
    return _each(lambda text: _compiled(pattern).fullmatch(text) is not None, x, dtype=bool)


@lru_cache(64)
def _compiled(pattern: str) -> re.Pattern[str]:
    """RE2's classes are of ASCII, and it ends a text by \\z. What it has beyond Python's syntax is not known here:
    classes of Unicode (\\p), and flags in the middle of a pattern; back references, which it lacks, are."""
    for name, characters in _POSIX.items():
        pattern = pattern.replace(f"[:{name}:]", characters)
    try:
        return re.compile(pattern.replace("\\z", "\\Z"), re.ASCII)
    except re.error as error:
        raise ValueError(f"Invalid pattern: {error}") from None


_POSIX = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "digit": "0-9", "lower": "a-z", "upper": "A-Z", "space": "\\s",
    "word": "\\w", "xdigit": "0-9A-Fa-f", "blank": " \\t", "punct": "!-/:-@\\[-`{-~",
}  # fmt: skip


@function("split_text")
def split_text(x: Array, *, delimiter: str, most: int | None = None) -> tuple[Array, Array]:
    """The parts of each string, filled up with empty ones, and how many there are. delimiter: "" is any white space;
    most: splits of a string."""
    limit = -1 if most is None else most
    parts = [_split(text, delimiter, limit) for text in x.reshape(-1).tolist()]
    counts = np.array([len(words) for words in parts], np.int64)
    return _filled(parts, "", x.shape), counts.reshape(x.shape)


def _filled(rows: list[list[str]], padding: str, shape: tuple[int, ...]) -> Array:
    """Rows of strings, one for each element of a tensor of `shape`, filled up to the longest."""
    width = max(map(len, rows), default=0)
    filled: Array = np.full((*shape, width), padding, object)
    for row, words in zip(filled.reshape(len(rows), width), rows):
        row[: len(words)] = words
    return filled


def _split(text: str, delimiter: str, most: int) -> list[str]:
    if not text:
        return []
    return text.split(delimiter, most) if delimiter else text.strip().split(None, most)


@function("StringNormalizer")
def string_normalizer(x: Array, *, stopwords: list[str], change: str, case_sensitive: bool) -> Array:
    """x, [C] or [1, C], without stop words, in another case; one empty string where none is left."""
    if not x.size:
        raise ValueError("Single dimension value must be greater than 0")
    cases: dict[str, Callable[[str], str]] = {"UPPER": _upper, "LOWER": _lower}
    cased = cases.get(change, str)
    compared = str if case_sensitive else cases.get(change, _lower)
    stops = {compared(word) for word in stopwords}
    words = [cased(text) for text in x.reshape(-1).tolist() if compared(text) not in stops] or [""]
    return np.array(words, object).reshape((*x.shape[:-1], len(words)))


def _lower(text: str) -> str:
    return "".join(low if len(low := c.lower()) == 1 else c for c in text)


def _upper(text: str) -> str:
    return "".join(up if len(up := c.upper()) == 1 else c for c in text)


@function("Tokenizer")
def tokenizer(
    x: Array,
    *,
    mark: bool,
    padding: str,
    least: int,
    separators: list[str] | None = None,
    expression: str | None = None,
) -> Array:
    """The tokens of each string, [..., most tokens]. expression: what a token is; else `separators` stand between them,
    each a pattern, or "" between all characters. least: characters of a token; mark: whether tokens are put between
    the characters of the beginning and the end of a text."""
    rows = []
    for string in x.reshape(-1).tolist():
        if expression is not None:
            tokens = [found.group() for found in _compiled(expression).finditer(string)]
        elif separators == [""]:
            tokens = list(string)
        else:
            tokens = [string]
            for separator in separators or []:
                pattern = _compiled(separator)
                tokens = [part for token in tokens for part in _between(pattern, token)]
        tokens = [token for token in tokens if len(token) >= max(least, 1)]
        rows.append(tokens)
    if mark and any(rows):
        rows = [["\x02", *tokens, "\x03"] for tokens in rows]
    return _filled(rows, padding, x.shape)


def _between(pattern: re.Pattern[str], text: str) -> list[str]:
    """The parts of a text between matches; what follows an empty match is lost, as by onnxruntime."""
    parts, begin = [], 0
    for match in pattern.finditer(text):
        parts.append(text[begin : match.start()])
        begin = match.end()
        if match.start() == begin:
            return parts
    return [*parts, text[begin:]]


@function("MurmurHash3")
def murmur_hash_3(x: Array, *, seed: int, positive: bool) -> Array:
    """MurmurHash3_x86_32 of the bytes of each string (https://github.com/aappleby/smhasher)."""
    hashes = _each(lambda text: _murmur(_bytes(text), seed), x, dtype=np.uint32)
    return hashes if positive else hashes.view(np.int32)


def _murmur(data: bytes, seed: int) -> int:
    h = seed & 0xFFFFFFFF
    whole = len(data) // 4 * 4
    blocks = [int.from_bytes(data[i : i + 4], "little") for i in range(0, whole, 4)]
    for block in blocks:
        h ^= _mixed(block)
        h = ((h << 13 | h >> 19) * 5 + 0xE6546B64) & 0xFFFFFFFF
    if data[whole:]:
        h ^= _mixed(int.from_bytes(data[whole:], "little"))
    h ^= len(data)
    h = ((h ^ h >> 16) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ h >> 13) * 0xC2B2AE35) & 0xFFFFFFFF
    return h ^ h >> 16


def _mixed(block: int) -> int:
    block = (block * 0xCC9E2D51) & 0xFFFFFFFF
    return ((block << 15 | block >> 17) * 0x1B873593) & 0xFFFFFFFF
