"""The registry of ONNX operators: which Python function builds which operator.

    @onnx_op("Softmax", since=13)
    def softmax(x: Value, *, axis: int = -1) -> Value: ...

Positional parameters are the operator's inputs (None where optional ones are omitted, `*xs` for variadic ones), keyword
parameters its attributes with the standard's defaults. Some keyword parameters are filled in by the importer:
`n_outputs`, the number of outputs that the node names; `opset_version`; `run`, which inlines a sub-graph; and `trace`,
which imports a sub-graph as a graph of its own. Several versions stand side by side; the newest `since` not above the
model's opset counts, and `until` is the last opset that has the operator. A function raises `Unsupported` for what it
does not implement, and ValueError where the node is wrong.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, TypeVar, Union

import numpy as np

from ..errors import Unsupported
from ..graph.ir import Value
from ..scalar.dim import Size, Symbol
from .load import Type

# A tensor, a sequence of known length, an omitted optional, or what is known of only when the model runs.
Imported = Union[Value, "list[Value]", None, "Object"]
Captures = dict[Value, Value]  # value of the graph around a sub-graph -> the sub-graph's input for it, or a constant
Build = TypeVar("Build", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Object:
    """What exists only when the model runs: a sequence, a map, an optional, or a tensor of unknown rank.

    value: its number, a scalar of strings."""

    value: Value
    type: Type


@dataclass(frozen=True, slots=True)
class Shaped:
    """A tensor whose rank is known only when the model runs: its elements [n], and its sizes [largest rank], where -1
    fills up for a smaller rank. Outputs of the model may be such."""

    flat: Value
    sizes: Value


@dataclass(frozen=True, slots=True)
class Traced:
    """An imported sub-graph: its outputs, its captures, and its own symbols with their values and upper bounds."""

    outputs: list[Imported | Shaped]
    captures: Captures
    bindings: dict[Symbol, Value]
    upper: Mapping[Symbol, Size] = field(default_factory=dict)


Capture = Callable[[Value], Value]
Rest = Callable[[Any], "list[Any]"]  # imports what follows a branch, given the results of one side


class Diverging(Exception):
    """Raised for a branch whose results no single value represents, such as tensors of different ranks.

    resume(rest) imports both sides, each followed by `rest` on the results of that side, and returns the joined results
    of `rest`. It raises Unsupported where no value represents these either."""

    def __init__(self, resume: Callable[[Rest], list[Any]]) -> None:
        super().__init__()
        self.resume = resume


@dataclass(frozen=True, slots=True)
class OnnxOp:
    """One version of an operator: the function that builds it, and what that function's signature says."""

    name: str
    domain: str
    since: int
    until: float
    build: Callable[..., Any]
    attributes: frozenset[str]
    required_attributes: tuple[str, ...]
    required_inputs: tuple[int, ...]
    max_inputs: int | None  # None: any number
    tensors_only: tuple[bool, ...]  # of each input; the last one stands for all that follow it
    defaults: Mapping[str, float]  # of float attributes, rounded to 32 bits as the format stores them

    def __call__(self, inputs: Sequence[Imported], attrs: dict[str, Any], **context: Any) -> Any:
        """Builds the operator. context: what the importer offers; the function gets what it has parameters for."""
        unknown = sorted(attrs.keys() - self.attributes)
        if unknown:
            raise Unsupported(f"attribute '{unknown[0]}'")
        for name in self.required_attributes:
            if name not in attrs and name not in context:
                raise ValueError(f"Required attribute '{name}' is missing")
        if any(i >= len(inputs) or inputs[i] is None for i in self.required_inputs):
            raise ValueError(f"one of its {len(self.required_inputs)} required inputs is missing")
        if self.max_inputs is not None and len(inputs) > self.max_inputs:
            raise Unsupported(f"{len(inputs)} inputs")
        for i, value in enumerate(inputs):
            if isinstance(value, (list, Object)) and self.tensors_only[min(i, len(self.tensors_only) - 1)]:
                raise Unsupported(f"input {i} that is no tensor of a known rank")
        offered = {k: v for k, v in context.items() if k in self.attributes}
        return self.build(*inputs, **{**self.defaults, **attrs}, **offered)


REGISTRY: dict[tuple[str, str], list[OnnxOp]] = {}


def onnx_op(*names: str, since: int = 1, until: float = math.inf, domain: str = "") -> Callable[[Build], Build]:
    """Registers the decorated function as ONNX operator(s) `names`, from opset `since` up to and including `until`."""

    def register(build: Build) -> Build:
        parameters = inspect.signature(build).parameters.values()
        attributes = frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        required_attributes = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty)
        positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        optional = ("None" in str(p.annotation) or p.default is not p.empty for p in positional)
        required_inputs = tuple(i for i, may_be_omitted in enumerate(optional) if not may_be_omitted)
        taken = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
        tensors_only = tuple(not {"Imported", "Object", "list"} & set(re.findall(r"\w+", p.annotation)) for p in taken)
        variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        max_inputs = None if variadic else len(positional)
        floats = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and isinstance(p.default, float)}
        defaults = {name: float(np.float32(value)) for name, value in floats.items()}
        for name in names:
            versions = REGISTRY.setdefault((domain, name), [])
            versions.append(
                OnnxOp(
                    name, domain, since, until, build, attributes, required_attributes, required_inputs, max_inputs,
                    tensors_only, defaults,
                )
            )  # fmt: skip
            versions.sort(key=lambda op: -op.since)
        return build

    return register


def lookup(name: str, domain: str, version: int) -> OnnxOp | None:
    """The function for an operator in an opset, or None."""
    return next((op for op in REGISTRY.get((domain, name), ()) if op.since <= version <= op.until), None)


def dropped(name: str, domain: str, version: int) -> bool:
    """Whether the operator ended before this opset."""
    return any(op.until < version for op in REGISTRY.get((domain, name), ()))


def in_compute_type(build: Build) -> Build:
    """Makes a function of several primitives compute narrow floats in f32 and round once, at the end.

    The first input is widened, and the others of its type; the result has that type again."""

    @wraps(build)
    def widened(x: Value, *args: Any, **kwargs: Any) -> Any:
        if not x.dtype.is_float:
            return build(x, *args, **kwargs)
        wide = x.dtype.compute
        others = [a.cast(wide) if isinstance(a, Value) and a.dtype == x.dtype else a for a in args]
        return build(x.cast(wide), *others, **kwargs).cast(x.dtype)

    return widened  # type: ignore[return-value]
