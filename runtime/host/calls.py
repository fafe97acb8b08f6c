"""Runs the host calls of a program on its buffers.

In: the manifest's list of calls, and for each call the addresses of its buffers and their sizes. Out: the buffers of
its outputs, written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import errors
from ..dtypes import is_object, stored_dtype
from ..errors import WHILE_RUNNING, Fail
from ..values.dlpack import array_at
from . import images, maps, sequences, text  # registers their functions  # noqa: F401
from .registry import FUNCTIONS
from .table import Table


class Calls:
    """The calls of one program. entries: see `host` in runtime/store/artifact.py; strings: those of the model;
    operators: functions of the user, by "domain::name". Raises NotImplemented for functions that are not there."""

    def __init__(
        self, entries: Sequence[Mapping[str, Any]], strings: Sequence[str], operators: Mapping[str, Any] | None = None
    ) -> None:
        functions = {**FUNCTIONS, **(operators or {})}
        lacking = sorted({entry["function"] for entry in entries} - functions.keys())
        if lacking:
            text = f"The model needs operators that are not registered (register_custom_op): {', '.join(lacking)}"
            raise errors.NotImplemented(text)
        self._functions = [functions[entry["function"]] for entry in entries]
        self._entries = entries
        self._strings = strings
        self._numbers = {string: number for number, string in enumerate(strings)}

    def table(self) -> Table:
        """The objects of a new run."""
        return Table(self._strings, self._numbers)

    def run(self, number: int, table: Table, buffers: Any, sizes: Any) -> None:
        """Runs call `number`. buffers: addresses; sizes: of all buffers, one after the other. Raises Fail."""
        entry = self._entries[number]
        takes, gives = entry["takes"], entry["gives"]
        arrays, at = [], 0
        for i, (type, rank) in enumerate(zip((*takes, *gives), entry["ranks"])):
            arrays.append(array_at(buffers[i], stored_dtype(type), tuple(sizes[at : at + rank])))
            at += rank
        inputs = [table.loaded(array, type) for array, type in zip(arrays, takes)]
        if any(map(is_object, gives)):  # which may hold them
            inputs = [np.array(x) if x is array else x for x, array in zip(inputs, arrays)]
        try:
            results = self._functions[number](*inputs, **entry["arguments"])
            results = results if isinstance(results, tuple) else (results,)
            for array, type, result in zip(arrays[len(takes) :], gives, results):
                made = table.stored(result, type)
                if made.shape != array.shape:
                    raise ValueError(f"a result of the shape {list(made.shape)}, where {list(array.shape)} is needed")
                if made.dtype != array.dtype:
                    raise ValueError(f"a result of {made.dtype}, where {array.dtype} is needed")
                array[...] = made
        except ValueError as error:
            raise Fail(WHILE_RUNNING.format(*entry["node"]) + str(error)) from error
