"""Numbers of strings and of other objects."""

from __future__ import annotations

import numpy as np

from intaglio.runtime.host.table import Table

STRINGS = ["b", "a", ""]


def table() -> Table:
    return Table(STRINGS, {text: i for i, text in enumerate(STRINGS)})


def test_equal_strings_have_one_number() -> None:
    t = table()
    texts = np.array([["a", "new"], ["", "new"]], object)
    numbers = t.numbers(texts)
    assert numbers.dtype == np.int64 and numbers.tolist() == [[1, 3], [2, 3]]
    assert t.numbers(np.array("new", object)).item() == 3
    assert t.strings(numbers).tolist() == texts.tolist()


def test_runs_know_nothing_of_each_other() -> None:
    first, second = table(), table()
    assert first.numbers(np.array(["x"], object)).tolist() == [3]
    assert second.numbers(np.array(["y", "x"], object)).tolist() == [3, 4]
    assert STRINGS == ["b", "a", ""]


def test_other_objects() -> None:
    t = table()
    things = [[np.ones(2)], {1: 2.0}, None, "a"]
    stored = [t.stored(thing, "object") for thing in things]
    assert [each.shape for each in stored] == [()] * 4
    assert len({int(each) for each in stored}) == 4 and int(stored[-1]) != 1  # an optional string is no string
    assert all(t.loaded(each, "seq(tensor(float))") is thing for each, thing in zip(stored, things))


def test_numbers_are_themselves() -> None:
    x = np.arange(3.0)
    assert table().stored(x, "tensor(double)") is x is table().loaded(x, "tensor(double)")


def test_bytes_are_utf_8() -> None:
    t = table()
    made = t.strings(t.numbers(np.array(["grün".encode(), b"\xff"], object)))
    assert made.tolist() == ["grün", "\udcff"]
