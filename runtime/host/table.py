"""The objects of a run by number: its strings, and every sequence, map and optional.

A program moves, compares and selects numbers. Equal strings have one number, and those of the model the first ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dtypes import is_object

Array = np.ndarray[Any, Any]


class Table:
    """strings: those of the model, by their numbers; numbers: the same the other way round, shared by all runs."""

    def __init__(self, strings: Sequence[str], numbers: dict[str, int]) -> None:
        self._objects: list[Any] = list(strings)
        self._model, self._own = numbers, dict[str, int]()

    def __getitem__(self, number: int) -> Any:
        return self._objects[number]

    def add(self, thing: Any) -> int:
        """The number of a new object."""
        self._objects.append(thing)
        return len(self._objects) - 1

    def numbers(self, strings: Array) -> Array:
        """The numbers of an array of strings, i64."""
        found: Array = np.empty(strings.size, np.int64)
        for i, each in enumerate(strings.reshape(-1).tolist()):
            text = each if type(each) is str else _text(each)
            number = self._model.get(text)
            if number is None:
                number = self._own.get(text)
                if number is None:
                    number = self._own[text] = self.add(text)
            found[i] = number
        shaped: Array = found.reshape(strings.shape)
        return shaped

    def strings(self, numbers: Array) -> Array:
        """The strings with these numbers, as objects."""
        objects = self._objects
        found: Array = np.empty(numbers.size, object)
        found[:] = [objects[i] for i in numbers.reshape(-1).tolist()]
        shaped: Array = found.reshape(numbers.shape)
        return shaped

    def stored(self, value: Any, type: str) -> Array:
        """A value of an ONNX type as a program has it."""
        if type == "tensor(string)":
            return self.numbers(value)
        return np.array(self.add(value), np.int64) if is_object(type) else np.asarray(value)

    def fed(self, tensor: Any, type: str) -> Any:
        """A fed tensor as a program has it; of a type that is no tensor, the one element of an array."""
        if isinstance(tensor, np.ndarray) and tensor.dtype == object:
            return self.stored(tensor[()] if is_object(type) else tensor, type)
        return tensor

    def loaded(self, array: Array, type: str) -> Any:
        """What a program has for a value, as that value."""
        if type == "tensor(string)":
            return self.strings(array)
        return self[int(array)] if is_object(type) else array


def _text(each: Any) -> str:
    return each.decode("utf-8", "surrogateescape") if isinstance(each, bytes) else str(each)
