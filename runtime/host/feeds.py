"""Checks what a run is fed for an input that is no tensor.

In: a value of the user and an ONNX type, such as `seq(tensor(float))`, `map(int64,tensor(float))`,
`optional(tensor(float))`. Out: lists of arrays, dicts, None, copied where the user might change them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..dtypes import numpy_dtype, type_name
from ..errors import InvalidArgument
from ..values.value import OrtValue


def checked(value: Any, type: str, name: str) -> Any:
    """A value of this type. Raises InvalidArgument for one of another type."""
    if isinstance(value, OrtValue):
        value = value.content()
    kind, _, inside = type.partition("(")
    inside = inside[:-1]
    if kind == "optional":
        return None if value is None else checked(value, inside, name)
    if kind == "seq":
        if not isinstance(value, (list, tuple)):
            raise _wrong(_of(value), type, name)
        return [checked(each, inside, name) for each in value]
    if kind == "map":
        if not isinstance(value, Mapping):
            raise _wrong(_of(value), type, name)
        key, _, element = inside.partition(",")
        keys = str if key == "string" else int
        for each in value:
            if not isinstance(each, (keys, np.integer) if keys is int else keys):
                raise _wrong(f"map({'string' if isinstance(each, str) else 'int64'},{element})", type, name)
        return {keys(k): _plain(v) for k, v in value.items()}
    array = np.array(value)
    if array.dtype.kind in "US" and type == "tensor(string)":
        array = array.astype(object)
    if array.dtype != numpy_dtype(type):
        raise _wrong(_of(array), type, name)
    return array


def _plain(value: Any) -> Any:
    """The number or string of a map."""
    return value.item() if isinstance(value, (np.generic, np.ndarray)) else value


def _of(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return type_name(value.dtype) or str(value.dtype)
    if isinstance(value, (list, tuple)):
        return "seq"
    return "map" if isinstance(value, Mapping) else type(value).__name__


def _wrong(actual: str, expected: str, name: str) -> InvalidArgument:
    text = f"Unexpected input data type. Actual: ({actual}) , expected: ({expected}) for input: {name}"
    return InvalidArgument(text)
