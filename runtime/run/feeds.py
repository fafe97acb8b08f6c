"""Checks what a run is fed, and turns it into arrays that a program can read.

In: names and anything array-like. Out: C-contiguous arrays of the declared dtypes (what is in the memory of a GPU
stays there), and the values of the symbolic dimensions. Errors are onnxruntime's, in its order: missing names, values
that cannot be converted, unknown names, dtypes, ranks and dimensions. It must never cast an array: a wrong dtype is an
error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..device.memory import DeviceTensor, Tensor
from ..dtypes import is_object, numpy_dtype, type_name
from ..errors import Fail, InvalidArgument
from ..host.feeds import checked
from ..values import dlpack
from ..values.value import OrtValue
from .seeds import random_bits

Array = np.ndarray[Any, Any]

_LEAST = -(1 << 63) + 1  # of the values of symbols: the negative of one less wraps around
_REQUIRED = 0x101  # flags of an array that a kernel can read: C-contiguous, aligned
_ANY = np.dtype("V1")  # of inputs that are no tensors: no array has it
_NO_ARRAY = "Input must be a list of dictionaries or a single numpy array for input '{}'."
_FIX = "Please fix either the inputs/outputs or the model."


class Disagreement(Exception):
    """Dimensions of one name that differ; `symbols`: all names of which that is so. Never leaves the runtime."""

    def __init__(self, text: str, symbols: tuple[str, ...]):
        super().__init__(text)
        self.text, self.symbols = text, symbols


@dataclass(frozen=True)
class Input:
    """A graph input: its dtype as ONNX and as numpy call it, and its shape as the model declares it."""

    name: str
    type: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...]


def inputs_of(entries: Sequence[Mapping[str, Any]]) -> list[Input]:
    """The inputs that a list of the manifest describes."""
    return [
        Input(each["name"], each["type"], numpy_dtype(each["type"]) if not is_object(each["type"]) else _ANY,
              tuple(each["shape"]))
        for each in entries
    ]  # fmt: skip


def convert(feed: Mapping[str, Any], inputs: Sequence[Input], optional: Sequence[Input] = ()) -> dict[str, Tensor]:
    """The arrays of a feed by name, those that are None left out.

    Raises ValueError for a missing name, RuntimeError for what is no array.
    """
    names = list(feed.keys())
    missing = [each.name for each in inputs if each.name not in feed and not each.type.startswith("optional(")]
    if missing:
        raise ValueError(f"Required inputs ({missing}) are missing from input feed ({names}).")
    declared = {each.name: each for each in (*inputs, *optional)}
    arrays: dict[str, Tensor] = {}
    for name, value in feed.items():
        if not isinstance(name, str):
            kind = type(name).__name__
            raise TypeError(f"run(): incompatible function arguments: input names must be str, not {kind}")
        entry = declared.get(name)
        if entry is not None and is_object(entry.type):
            arrays[name] = boxed(value)
        elif value is not None:
            arrays[name] = _array(value, name, entry)
    for each in inputs:
        if each.name not in feed:  # an optional one
            arrays[each.name] = boxed(None)
    return arrays


def plain(feed: Any, inputs: Sequence[Input]) -> list[Array] | None:
    """The arrays of a dict that has what a program reads: what `convert`, `fit` and `in_order` then make of it, but
    that shapes are not looked at. None for any other."""
    if type(feed) is not dict or len(feed) != len(inputs):
        return None
    arrays = []
    for each in inputs:
        array = feed.get(each.name)
        if type(array) is not np.ndarray or array.dtype is not each.dtype or array.flags.num & _REQUIRED != _REQUIRED:
            return None
        arrays.append(array)
    return arrays


def fit(arrays: Mapping[str, Tensor], inputs: Sequence[Input], optional: Sequence[Input] = ()) -> dict[str, Tensor]:
    """The same arrays, checked against the model one by one, in the byte order and the layout that a program reads.

    Raises InvalidArgument for what does not fit.
    """
    declared = {each.name: each for each in (*inputs, *optional)}
    fitted: dict[str, Tensor] = {}
    for name, array in arrays.items():
        if name not in declared:
            raise InvalidArgument(f"Invalid input name: {name}")
        entry = declared[name]
        if isinstance(array, np.ndarray) and is_object(entry.type):
            fitted[name] = boxed(checked(array[()], entry.type, name))
        else:
            fitted[name] = _ready(_shaped(_typed(array, entry), entry))
    return fitted


def in_order(arrays: Mapping[str, Tensor], inputs: Sequence[Input]) -> list[Tensor]:
    """The arrays as a program takes them. Raises Fail for an input that was None."""
    for each in inputs:
        if each.name not in arrays:
            raise Fail(f"Missing Input: {each.name}")
    return [arrays[each.name] for each in inputs]


def boxed(value: Any) -> Array:
    """A value as the one element of an array."""
    array = np.empty((), object)
    array[()] = value
    return array


def _array(value: Any, name: str, declared: Input | None) -> Tensor:
    """Anything array-like as an array; plain Python values take the declared dtype, as onnxruntime has it for lists."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "c" or type_name(value.dtype) is None:
            raise RuntimeError(f"Numpy_type {value.dtype.num} can't be converted to MLDataType.")
        return np.asarray(value)
    if isinstance(value, OrtValue):
        value = value.content()
    if isinstance(value, (np.ndarray, DeviceTensor)):
        return value
    if isinstance(value, Mapping):
        raise _no_map(value, declared)
    if isinstance(value, (str, bytes)):
        raise RuntimeError(_NO_ARRAY.format(name))
    try:
        if isinstance(value, (list, tuple, int, float, bool, complex)) and declared is not None:
            return np.asarray(value, dtype=declared.dtype)
        if hasattr(value, "__dlpack__"):
            return dlpack.read(value)
        array = np.asarray(value)
    except (TypeError, ValueError, OverflowError):
        if isinstance(value, list):
            raise RuntimeError("Could not create tensor from given input list") from None
        raise RuntimeError(f"Unable to handle object of type {type(value)}") from None
    if array.dtype == object:
        if isinstance(value, Iterable):
            raise RuntimeError(_NO_ARRAY.format(name))
        raise RuntimeError(f"Unable to handle object of type {type(value)}")
    return array


def _no_map(value: Mapping[Any, Any], declared: Input | None) -> Exception:
    """What is wrong with a map: there are no inputs of maps."""
    if not value:
        return RuntimeError("Size of dictionary is empty, unable to run the prediction.")
    kind = f"map({'int64' if isinstance(next(iter(value)), int) else 'string'},tensor(float))"
    expected = declared.type if declared is not None else ""
    return InvalidArgument(f"Unexpected input data type. Actual: (({kind})) , expected: (({expected}))")


def _typed(array: Tensor, declared: Input) -> Tensor:
    if array.dtype == declared.dtype:
        return array
    if isinstance(array, np.ndarray):
        if array.dtype.newbyteorder("=") == declared.dtype:  # big-endian: swapped, where onnxruntime misreads it
            return array.astype(declared.dtype)
        if declared.type == "tensor(string)" and array.dtype.kind in "US":
            return _strings(array)
    actual = type_name(array.dtype) or str(array.dtype)
    raise InvalidArgument(
        f"Unexpected input data type. Actual: ({actual}) , expected: ({declared.type}) for input: {declared.name}"
    )


def _strings(array: Array) -> Array:
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    return array.astype(object)


def _shaped(array: Tensor, declared: Input) -> Tensor:
    """Checks the rank and the fixed dimensions."""
    name, shape = declared.name, declared.shape
    if array.ndim != len(shape):
        raise InvalidArgument(f"Invalid rank for input: {name} Got: {array.ndim} Expected: {len(shape)} {_FIX}")
    wrong = [
        f" index: {index} Got: {got} Expected: {expected}\n"
        for index, (got, expected) in enumerate(zip(array.shape, shape))
        if isinstance(expected, int) and got != expected
    ]
    if wrong:
        raise InvalidArgument(
            f"Got invalid dimensions for input: {name} for the following indices\n{''.join(wrong)} {_FIX}"
        )
    return array


def _ready(array: Tensor) -> Tensor:
    """C-contiguous and aligned; a copy where it has to be."""
    if isinstance(array, DeviceTensor) or array.flags.num & _REQUIRED == _REQUIRED:
        return array
    return np.array(array, order="C", copy=True)


def bind(symbols: Sequence[Mapping[str, Any]], inputs: Sequence[Input], arrays: Sequence[Array]) -> list[int]:
    """The value of each symbol: a dimension, or an element of a small integer input on which shapes depend.

    Raises Disagreement where dimensions of a name differ, and might broadcast; InvalidArgument where they cannot, or a
    value is too small."""
    values = []
    differing: list[tuple[str, str, bool]] = []  # symbols, what is wrong, whether it might broadcast
    for symbol in symbols:
        if "element" in symbol:
            source, position = symbol["element"]
            values.append(max(int(arrays[source].reshape(-1)[position]), _LEAST))
            continue
        if "random" in symbol:
            values.append(random_bits())
            continue
        (first, axis), *others = symbol["bind"]
        value = arrays[first].shape[axis]
        text = symbol.get("text", symbol["name"])
        for other, other_axis in others:
            if arrays[other].shape[other_axis] != value:
                reason = (
                    f"Got invalid dimensions for input: {inputs[other].name} for the following indices\n"
                    f" index: {other_axis} Got: {arrays[other].shape[other_axis]} Expected: {value}\n"
                    f" (dimension '{text}' is {value} in input {inputs[first].name}) {_FIX}"
                )
                differing.append((symbol["name"], reason, 1 in (value, arrays[other].shape[other_axis])))
        if value < symbol.get("lower", 0):
            raise InvalidArgument(
                f"Got invalid dimensions for input: {inputs[first].name} for the following indices\n"
                f" index: {axis} Got: {value} Expected: at least {symbol['lower']}\n {_FIX}"
            )
        values.append(value)
    for _, reason, broadcasts in differing:
        if not broadcasts:
            raise InvalidArgument(reason)
    if differing:
        raise Disagreement(differing[0][1], tuple(sorted({name for name, _, _ in differing})))
    return values


def names_of(wanted: Iterable[str] | None) -> list[str]:
    """The outputs that are asked for; none: all. Raises TypeError for what is no sequence of names."""
    if isinstance(wanted, (str, bytes)):
        raise TypeError(
            "run(): incompatible function arguments: output_names must be a sequence of names, not the "
            f"{type(wanted).__name__} {wanted!r}"
        )
    names = [name.decode() if isinstance(name, bytes) else name for name in wanted or ()]
    for name in names:
        if not isinstance(name, str):
            kind = type(name).__name__
            raise TypeError(f"run(): incompatible function arguments: output names must be str, not {kind}")
    return names
