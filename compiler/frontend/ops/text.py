"""Operators on strings and images, which call functions of the runtime. What moves or compares strings is elsewhere.

In: values and attributes of a node. Out: values.
"""

from __future__ import annotations

import re

from ...graph.ir import Value
from ...graph.tensor import broadcast_shapes
from ...scalar.dtype import BOOL, F32, I64, STRING, U8, DType
from ..load import Type
from ..objects import host, host_object, tensor, tensor_type
from ..registry import Object, onnx_op

_LOCALE = re.compile(r"|POSIX|(C|[a-z]{2,3}([-_][A-Za-z]{2,4})?)([.@][\w-]+)*")  # changes nothing: case is Unicode's


def parsed(x: Value, dtype: DType) -> Value:
    """The numbers that strings tell."""
    if dtype.kind == "f" and dtype.bits < 32:
        return parsed(x, F32).cast(dtype)
    return host("parse", [x], (dtype.compute, x.shape), dtype=dtype.compute.numpy)[0].cast(dtype)


def formatted(x: Value) -> Value:
    """The texts of numbers."""
    return host("format", [x.cast(x.dtype.compute)], (STRING, x.shape))[0]


def ranked(x: Value) -> Value:
    """Numbers that are ordered as the strings of x are, and equal where these are."""
    return host("ranks", [x], (I64, x.shape))[0]


@onnx_op("ImageDecoder", since=20)
def image_decoder(encoded: Value, *, pixel_format: str = "RGB") -> Value:
    """The pixels, [height, width, channels], of an image in a file of any common format, [bytes]."""
    if pixel_format not in ("RGB", "BGR", "Grayscale"):
        raise ValueError(f"there is no pixel_format '{pixel_format}'")
    channels = 1 if pixel_format == "Grayscale" else 3
    type = Type("tensor", U8, (None, None, channels))
    return tensor(host_object(type, "ImageDecoder", [encoded], pixel_format=pixel_format))


@onnx_op("StringConcat", since=20)
def string_concat(x: Value, y: Value) -> Value:
    shape = broadcast_shapes(x.shape, y.shape)
    return host("concat", [x.broadcast(*shape), y.broadcast(*shape)], (STRING, shape))[0]


@onnx_op("StringSplit", since=20)
def string_split(x: Value, *, delimiter: str = "", maxsplit: int | None = None) -> tuple[Value, Value]:
    """The parts of each string, [..., most parts], and their numbers."""
    parts, counts = host("split_text", [x], (None, ()), (I64, x.shape), delimiter=delimiter, most=maxsplit)
    return tensor(Object(parts, tensor_type(STRING, x.rank + 1)), x.shape), counts


@onnx_op("RegexFullMatch", since=20)
def regex_full_match(x: Value, *, pattern: str) -> Value:
    if any("\ud800" <= c <= "\udfff" for c in pattern):
        raise ValueError("Invalid regex pattern: it is no UTF-8")
    return host("match", [x], (BOOL, x.shape), pattern=pattern)[0]


@onnx_op("StringNormalizer", since=10)
def string_normalizer(
    x: Value, *, case_change_action: str = "NONE", is_case_sensitive: int = 0, locale: str = "",
    stopwords: list[str] | None = None,
) -> Value:  # fmt: skip
    """x, [C] or [1, C], without stop words, in lower or upper case."""
    if x.rank not in (1, 2) or (x.rank == 2 and x.shape[0] != 1 and isinstance(x.shape[0], int)):
        raise ValueError(f"Input dimensions are either [C > 0] or [1][C > 0] allowed, not {list(x.shape)}")
    if 0 in x.shape:
        raise ValueError("Single dimension value must be greater than 0")
    if x.rank == 2:
        x = x.ensure_shape(1, x.shape[1], text="Input dimensions are either [C > 0] or [1][C > 0] allowed")
    used = case_change_action != "NONE" or (stopwords and not is_case_sensitive)
    if used and not _LOCALE.fullmatch(locale):
        raise ValueError(f"Failed to construct locale with name: {locale}")
    if case_change_action not in ("NONE", "LOWER", "UPPER"):
        raise ValueError(f"there is no case_change_action '{case_change_action}'")
    return tensor(host_object(
        tensor_type(STRING, x.rank), "StringNormalizer", [x], stopwords=stopwords or [], change=case_change_action,
        case_sensitive=bool(is_case_sensitive),
    ))  # fmt: skip
