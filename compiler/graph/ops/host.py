"""host: a function of the runtime, for values that are no numbers: strings, sequences, maps, optionals.

In the graph such a value is a number: each string of a run, and each other object, has one (runtime/host/table.py). So
tensors of strings move, are compared and selected as numbers, and what asks for characters or elements calls `host`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir import Array, Signature, Trait, Value
from .common import Attrs, check, register

OBJECT = "object"  # the type of a scalar that is the number of any object; strings have ONNX's own


def _infer_host(inputs: Sequence[Value], attrs: Attrs) -> list[Signature]:
    """host(*xs; function, arguments, takes, gives, results): the results of runtime.host's `function`.

    arguments: pairs of a name and a constant that JSON can represent; takes, gives: the ONNX type of each input and
    output, or OBJECT; results: the shape and dtype of each output."""
    check(len(attrs["takes"]) == len(inputs), "host: {} inputs", len(inputs))
    return list(attrs["results"])


def _evaluate_host(arrays: Sequence[Array], attrs: Attrs) -> list[Array]:
    raise TypeError(f"host function {attrs['function']} is a part of a run")


register("host", _infer_host, _evaluate_host, "function arguments takes gives results", traits=Trait.HEAVY)
