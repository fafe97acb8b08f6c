"""The registry of the functions: name -> Python function of arrays, strings (as arrays of objects) and objects.

A function gets its inputs by position and its constants by name, and returns its one output, or a tuple of several. It
keeps no input as it is but in an object. It raises ValueError where data is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

FUNCTIONS: dict[str, Callable[..., Any]] = {}
Function = TypeVar("Function", bound=Callable[..., Any])


def function(name: str) -> Callable[[Function], Function]:
    """Registers the decorated function."""

    def register(run: Function) -> Function:
        FUNCTIONS[name] = run
        return run

    return register
