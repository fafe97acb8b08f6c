"""ONNX sequences and optionals.

In: values, lists and objects. Out: the same. A sequence of known length is a Python list at import, and nothing at run
time; where the length, or a position, is known only when the model runs, it is an object, and so are its functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import Unsupported
from ...graph.ir import Value, constant
from ...scalar.dim import Size
from ...scalar.dtype import BOOL, I64
from ..load import UNKNOWN, Type
from ..objects import as_object, host, host_object, joined, sequence_type, tensor_type, type_of, value_of
from ..registry import Imported, Object, onnx_op
from ..values import concat, scalar, shape_arg
from .control import stack
from .shape import split_sizes


def _check(sequence: Imported) -> None:
    if not isinstance(sequence, list) and not (isinstance(sequence, Object) and sequence.type.kind == "sequence"):
        raise ValueError("a sequence is needed")


def _place(position: Value | None, count: int, last: int) -> int | None:
    """A position in a sequence of `count`, by default the `last` one; None where it is not known.

    Negative ones count from the end."""
    if position is None:
        return last
    at = shape_arg(position, "position")[0]
    if not isinstance(at, int):
        return None
    if not -count <= at <= last:
        raise ValueError(f"position {at} in a sequence of {count}")
    return at + count if at < 0 else at


def _given(position: Value | None) -> list[Value]:
    return [] if position is None else [position]


@onnx_op("SequenceEmpty", since=11)
def sequence_empty(*, dtype: int = 1) -> list[Value]:
    return []


@onnx_op("SequenceConstruct", since=11)
def sequence_construct(*values: Imported) -> Imported:
    tensors = [v for v in values if isinstance(v, Value)]
    if len(tensors) == len(values):
        return tensors
    return host_object(sequence_type(values), "sequence", [as_object(v) for v in values])


@onnx_op("SequenceLength", since=11)
def sequence_length(sequence: Imported) -> Value:
    _check(sequence)
    if isinstance(sequence, list):
        return constant(np.array(len(sequence), np.int64))
    return host("length", [as_object(sequence)], (I64, ()))[0]


@onnx_op("SequenceAt", since=11)
def sequence_at(sequence: Imported, position: Value) -> Imported:
    _check(sequence)
    if isinstance(sequence, list):
        at = _place(position, len(sequence), len(sequence) - 1)
        if at is not None:
            return sequence[at]
    whole = as_object(sequence)
    return value_of(host_object(whole.type.element or UNKNOWN, "at", [whole, position]))


@onnx_op("SequenceInsert", since=11)
def sequence_insert(sequence: Imported, value: Imported, position: Value | None = None) -> Imported:
    _check(sequence)
    if isinstance(sequence, list) and isinstance(value, Value):
        at = _place(position, len(sequence), len(sequence))
        if at is not None:
            return [*sequence[:at], value, *sequence[at:]]
    whole = as_object(sequence)
    type = Type("sequence", element=joined(whole.type.element or UNKNOWN, type_of(value)))
    item = value if isinstance(value, Value) else as_object(value)
    return host_object(type, "insert", [whole, item, *_given(position)])


@onnx_op("SequenceErase", since=11)
def sequence_erase(sequence: Imported, position: Value | None = None) -> Imported:
    _check(sequence)
    if isinstance(sequence, list):
        at = _place(position, len(sequence), len(sequence) - 1)
        if at is not None:
            return sequence[:at] + sequence[at + 1 :]
    whole = as_object(sequence)
    return host_object(whole.type, "erase", [whole, *_given(position)])


@onnx_op("ConcatFromSequence", since=11)
def concat_from_sequence(sequence: Imported, *, axis: int, new_axis: int = 0) -> Imported:
    _check(sequence)
    if isinstance(sequence, list):
        if not sequence:
            raise ValueError("a sequence of no tensors cannot be joined")
        return stack(sequence, axis) if new_axis else concat(sequence, axis)
    whole = as_object(sequence)
    element = whole.type.element or UNKNOWN
    rank = None if element.shape is None else len(element.shape) + bool(new_axis)
    type = tensor_type(element.dtype, rank)
    return value_of(host_object(type, "join", [whole], axis=axis, new_axis=bool(new_axis)))


@onnx_op("SplitToSequence", since=11)
def split_to_sequence(x: Value, split: Value | None = None, *, axis: int = 0, keepdims: int = 1) -> Imported:
    sizes = _sizes(x.shape[x.axis(axis)], split)
    squeezed = split is None and not keepdims
    if sizes is not None:
        parts = split_sizes(x, axis, sizes)
        return [p.squeeze(axis) for p in parts] if squeezed else list(parts)
    type = Type("sequence", element=tensor_type(x.dtype, x.rank - squeezed))
    return host_object(type, "split", [x, *_given(split)], axis=x.axis(axis), squeezed=squeezed)


def _sizes(extent: Size, split: Value | None) -> Sequence[Size] | None:
    """The sizes of the parts of an axis; None where their number is not known."""
    if split is None:
        return [1] * extent if isinstance(extent, int) else None
    if split.rank != 0:
        try:
            return shape_arg(split, "split")
        except Unsupported:
            return None
    size = shape_arg(split, "split")[0]
    if not isinstance(size, int) or not isinstance(extent, int):
        return None
    if size <= 0:
        raise ValueError(f"parts of the size {size}")
    return [min(size, extent - start) for start in range(0, extent, size)]


# -- optionals -------------------------------------------------------------------------------------------------------


@onnx_op("Optional", since=15)
def optional(value: Imported = None, *, type: Type | None = None) -> Imported:
    return value


@onnx_op("OptionalHasElement", since=15)
def optional_has_element(value: Imported = None) -> Value:
    if isinstance(value, Object) and value.type.kind == "optional":
        return host("has_element", [value], (BOOL, ()))[0]
    return scalar(value is not None, BOOL)


@onnx_op("OptionalGetElement", since=15)
def optional_get_element(value: Imported) -> Imported:
    if value is None:
        raise ValueError("the optional is empty")
    if isinstance(value, Object) and value.type.kind == "optional":
        return value_of(host_object(value.type.element or UNKNOWN, "element", [value]))
    return value
