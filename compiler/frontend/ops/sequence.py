"""ONNX sequences and optionals of known length: Python lists at import, nothing at run time.

In: values and lists of them. Out: the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import Unsupported
from ...graph.ir import Value, constant
from ...scalar.dim import Size
from ...scalar.dtype import BOOL
from ..load import Type
from ..registry import Imported, onnx_op
from ..values import concat, scalar, shape_arg
from .control import stack
from .shape import split_sizes


def _list(sequence: Imported) -> list[Value]:
    if not isinstance(sequence, list):
        raise ValueError("a sequence is needed")
    return sequence


def _place(position: Value | None, count: int, last: int) -> int:
    """A position in a sequence of `count`, by default the `last` one; negative ones count from the end."""
    if position is None:
        return last
    at = shape_arg(position, "position")[0]
    if not isinstance(at, int):
        raise Unsupported(f"the position {at}")
    if not -count <= at <= last:
        raise ValueError(f"position {at} in a sequence of {count}")
    return at + count if at < 0 else at


@onnx_op("SequenceEmpty", since=11)
def sequence_empty(*, dtype: int = 1) -> list[Value]:
    return []


@onnx_op("SequenceConstruct", since=11)
def sequence_construct(*values: Value) -> list[Value]:
    return list(values)


@onnx_op("SequenceLength", since=11)
def sequence_length(sequence: list[Value]) -> Value:
    return constant(np.array(len(_list(sequence)), np.int64))


@onnx_op("SequenceAt", since=11)
def sequence_at(sequence: list[Value], position: Value) -> Value:
    values = _list(sequence)
    return values[_place(position, len(values), len(values) - 1)]


@onnx_op("SequenceInsert", since=11)
def sequence_insert(sequence: list[Value], value: Value, position: Value | None = None) -> list[Value]:
    values = list(_list(sequence))
    values.insert(_place(position, len(values), len(values)), value)
    return values


@onnx_op("SequenceErase", since=11)
def sequence_erase(sequence: list[Value], position: Value | None = None) -> list[Value]:
    values = list(_list(sequence))
    del values[_place(position, len(values), len(values) - 1)]
    return values


@onnx_op("ConcatFromSequence", since=11)
def concat_from_sequence(sequence: list[Value], *, axis: int, new_axis: int = 0) -> Value:
    values = _list(sequence)
    return stack(values, axis) if new_axis else concat(values, axis)


@onnx_op("SplitToSequence", since=11)
def split_to_sequence(x: Value, split: Value | None = None, *, axis: int = 0, keepdims: int = 1) -> list[Value]:
    dim = x.shape[x.axis(axis)]
    if split is None:
        sizes: Sequence[Size] = [1] * _known(dim)
    elif split.rank == 0:
        size, dim = _known(shape_arg(split, "split")[0]), _known(dim)
        sizes = [min(size, dim - start) for start in range(0, dim, size)]
    else:
        sizes = shape_arg(split, "split")
    parts = split_sizes(x, axis, sizes)
    return [p.squeeze(axis) for p in parts] if split is None and not keepdims else list(parts)


def _known(size: Size) -> int:
    if not isinstance(size, int):
        raise Unsupported(f"a sequence of the symbolic length {size}")
    return size


# -- optionals -------------------------------------------------------------------------------------------------------


@onnx_op("Optional", since=15)
def optional(value: Imported = None, *, type: Type | None = None) -> Imported:
    return value


@onnx_op("OptionalHasElement", since=15)
def optional_has_element(value: Imported = None) -> Value:
    return scalar(value is not None, BOOL)


@onnx_op("OptionalGetElement", since=15)
def optional_get_element(value: Imported) -> Imported:
    if value is None:
        raise ValueError("the optional is empty")
    return value
