"""Calls on buffers."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from intaglio.runtime.errors import Fail
from intaglio.runtime.host.calls import Calls
from intaglio.runtime.host.registry import FUNCTIONS


def entry(function: str, takes: list[str], gives: list[str], ranks: list[int], **arguments: Any) -> dict[str, Any]:
    node = [function, "the node"]
    return {"function": function, "arguments": arguments, "takes": takes, "gives": gives, "ranks": ranks, "node": node}


def run(calls: Calls, table: Any, arrays: list[np.ndarray[Any, Any]]) -> None:
    buffers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    sizes = [n for a in arrays for n in a.shape]
    calls.run(0, table, buffers, (ctypes.c_int64 * len(sizes))(*sizes))


@pytest.mark.parametrize("shape", [(2, 3), (0, 3), ()])
def test_strings_are_numbers(shape: tuple[int, ...]) -> None:
    calls = Calls([entry("concat", ["tensor(string)"] * 2, ["tensor(string)"], [len(shape)] * 3)], ["b", "a"])
    table = calls.table()
    a, b, out = np.zeros(shape, np.int64), np.ones(shape, np.int64), np.full(shape, -1)
    run(calls, table, [a, b, out])
    assert table.strings(out).tolist() == np.full(shape, "ba", object).tolist()


def test_objects_keep_no_memory_of_the_program() -> None:
    calls = Calls([entry("sequence", ["tensor(float)"], ["object"], [1, 0])], [])
    table, x, out = calls.table(), np.ones(2, np.float32), np.zeros((), np.int64)
    run(calls, table, [x, out])
    x[:] = 5
    assert table[int(out)][0].tolist() == [1, 1]


def test_what_goes_wrong_names_the_node() -> None:
    calls = Calls([entry("parse", ["tensor(string)"], ["tensor(float)"], [0, 0], dtype="float32")], ["no number"])
    with pytest.raises(Fail, match=r"running parse node. Name:'the node' Status Message: could not convert"):
        run(calls, calls.table(), [np.zeros((), np.int64), np.zeros((), np.float32)])


def test_results_have_the_shapes_that_were_promised() -> None:
    calls = Calls([entry("sizes", ["tensor(float)"], ["tensor(int64)"], [1, 1])], [])
    with pytest.raises(Fail, match=r"a result of the shape \[1\], where \[2\] is needed"):
        run(calls, calls.table(), [np.zeros(3, np.float32), np.zeros(2, np.int64)])


def test_functions_have_different_names() -> None:
    assert len({f.__module__ + f.__qualname__ for f in FUNCTIONS.values()}) == len(FUNCTIONS)
