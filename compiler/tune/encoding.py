"""Schedules as plain data, for the database, and digests of kernels.

In: a schedule. Out: its fields as JSON has them, and back: from there nothing is trusted, as files come from anywhere.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ..kernel.ir import Kernel, Schedule
from ..kernel.text import print_kernel
from ..scalar import dim
from ..schedule import SCHEDULES

_KINDS = {each.__name__: each for kinds in SCHEDULES.values() for each in kinds}


def encoded(schedule: Schedule) -> dict[str, Any]:
    """The fields of a schedule that is not closed yet, and its type."""
    return {"type": type(schedule).__name__, **_fields(schedule)}


def _fields(value: Any) -> dict[str, Any]:
    return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _fields(value)
    return [*map(_plain, value)] if isinstance(value, tuple) else value


def decoded(data: dict[str, Any]) -> Schedule | None:
    """The schedule; None where the data are none of this version."""
    kind = _KINDS.get(str(data.get("type")))
    rest = {name: value for name, value in data.items() if name != "type"}
    try:
        found = None if kind is None else _made(kind, rest)
    except (TypeError, ValueError):
        return None
    return found if isinstance(found, Schedule) else None


def _made(kind: type, data: Any) -> Any:
    """An object of a data class. Raises TypeError or ValueError for fields that are none of its own."""
    hints = _hints(kind)
    if not isinstance(data, dict) or set(data) != set(hints):
        raise ValueError("other fields")
    return kind(**{name: _typed(hints[name], value) for name, value in data.items()})


@lru_cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind, localns=vars(dim))  # in which a Size is defined by names
    return {f.name: hints[f.name] for f in fields(kind)}


def _typed(hint: Any, value: Any) -> Any:
    if is_dataclass(hint):
        assert isinstance(hint, type)
        return _made(hint, value)
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        return tuple(_typed(inner, each) for each in value)
    allowed = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if type(value) not in allowed:  # a bool is no int here
        raise ValueError(f"{value!r} is no {hint}")
    return value


def digest(kernel: Kernel) -> str:
    """Of a closed kernel without a schedule: equal kernels of different models have equal ones."""
    return hashlib.sha256(print_kernel(kernel).encode()).hexdigest()[:24]
