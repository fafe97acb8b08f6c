"""What may be fed for an input that is no tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from intaglio.runtime.errors import InvalidArgument
from intaglio.runtime.host.feeds import checked

F = np.ones(2, np.float32)


@pytest.mark.parametrize("type, value", [
    ("seq(tensor(float))", [F, F]), ("seq(tensor(float))", (F,)), ("seq(tensor(float))", []),
    ("seq(tensor(string))", [np.array(["a"])]), ("map(int64,tensor(float))", {np.int64(1): np.float32(2)}),
    ("map(string,tensor(int64))", {"a": 1}), ("seq(map(string,tensor(float)))", [{"a": 1.0}, {}]),
    ("optional(seq(tensor(float)))", None), ("optional(tensor(float))", F),
])  # fmt: skip
def test_what_fits(type: str, value: Any) -> None:
    assert repr(checked(value, type, "x")) == repr(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {_plain(k): _plain(v) for k, v in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    return value.astype(object) if getattr(value, "dtype", F.dtype).kind == "U" else value


@pytest.mark.parametrize("type, value", [
    ("seq(tensor(float))", F), ("seq(tensor(float))", [F.astype(np.float64)]), ("seq(tensor(float))", {}),
    ("map(int64,tensor(float))", {"a": 1.0}), ("map(string,tensor(float))", {1: 1.0}),
    ("map(int64,tensor(float))", [1]),
    ("seq(tensor(float))", None), ("optional(tensor(float))", [F, F.astype(np.int32)]),
])  # fmt: skip
def test_what_does_not_fit(type: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match="Unexpected input data type"):
        checked(value, type, "x")


def test_what_is_fed_may_change_later() -> None:
    kept = checked([F, F], "seq(tensor(float))", "x")
    assert not np.shares_memory(kept[0], F)
