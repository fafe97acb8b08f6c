"""Which Python function builds which ONNX operator.

    @onnx_op("Softmax", since=13)
    def softmax(x: Value, *, axis: int = -1) -> Value: ...

Positional parameters are the operator's inputs (None where optional ones are omitted, `*xs` for variadic ones), keyword
parameters its attributes with the standard's defaults. Some keyword parameters are filled in by the importer:
`n_outputs`, the number of outputs that the node names; `opset_version`; `run`, which inlines a sub-graph; and `trace`,
which makes a graph of its own of it. Several versions stand side by side; the newest `since` not above the model's
opset counts, and `until` is the last opset that has an operator. A function that cannot do what an attribute asks for
raises `Unsupported`, and ValueError where the node is wrong.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, TypeVar, Union

import numpy as np

from ..errors import Unsupported
from ..graph.ir import Value
from ..scalar.dim import Size, Symbol

Imported = Union[Value, "list[Value]", None]  # a tensor, a sequence of known length, or an omitted optional
Captures = dict[Value, Value]  # what a sub-graph takes from around it: its inputs for that, or constants
Build = TypeVar("Build", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Shaped:
    """A tensor whose rank is known when the model runs: its elements [n], and its sizes [ranks], -1 for those that it
    lacks. Outputs of the model may be such."""

    flat: Value
    sizes: Value


@dataclass(frozen=True, slots=True)
class Traced:
    """A sub-graph as imported: its outputs, what it captures of the graph around it (with the inputs for that), and its
    own symbols with their values, and with what these never exceed."""

    outputs: list[Value | Shaped]
    captures: Captures
    bindings: dict[Symbol, Value]
    upper: Mapping[Symbol, Size] = field(default_factory=dict)


Capture = Callable[[Value], Value]
Rest = Callable[[Any], "list[Any]"]  # what follows a branch, as a function of the results of one side


class Diverging(Exception):
    """Raised for a branch whose sides give what no single value stands for: tensors of different ranks, say.

    resume(rest): imports both sides, each followed by `rest`, which continues on the results of that side; gives what
    the two make of it together. Raises Unsupported where even that has no value."""

    def __init__(self, resume: Callable[[Rest], list[Any]]) -> None:
        super().__init__()
        self.resume = resume


@dataclass(frozen=True, slots=True)
class OnnxOp:
    name: str
    domain: str
    since: int
    until: float
    build: Callable[..., Any]
    attributes: frozenset[str]
    needed: tuple[str, ...]  # the attributes that may not be omitted
    required: tuple[int, ...]  # the inputs that may not be omitted
    most: int | None  # inputs; None: any number
    defaults: Mapping[str, float]  # of attributes that are floats: these have 32 bits, also beside float64

    def __call__(self, inputs: Sequence[Imported], attrs: dict[str, Any], **given: Any) -> Any:
        """given: what the importer offers; a function gets of it what it has keyword parameters for."""
        unknown = sorted(attrs.keys() - self.attributes)
        if unknown:
            raise Unsupported(f"attribute '{unknown[0]}'")
        for name in self.needed:
            if name not in attrs and name not in given:
                raise ValueError(f"Required attribute '{name}' is missing")
        if any(i >= len(inputs) or inputs[i] is None for i in self.required):
            raise ValueError(f"one of its {len(self.required)} required inputs is missing")
        if self.most is not None and len(inputs) > self.most:
            raise Unsupported(f"{len(inputs)} inputs")
        offered = {k: v for k, v in given.items() if k in self.attributes}
        return self.build(*inputs, **{**self.defaults, **attrs}, **offered)


REGISTRY: dict[tuple[str, str], list[OnnxOp]] = {}


def onnx_op(*names: str, since: int = 1, until: float = math.inf, domain: str = "") -> Callable[[Build], Build]:
    """Registers the function below it as ONNX operator(s) `names`, from opset `since` on, and not beyond `until`."""

    def register(build: Build) -> Build:
        parameters = inspect.signature(build).parameters.values()
        attributes = frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        needed = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty)
        positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        optional = ("None" in str(p.annotation) or p.default is not p.empty for p in positional)
        required = tuple(i for i, omitted in enumerate(optional) if not omitted)
        variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        most = None if variadic else len(positional)
        floats = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and isinstance(p.default, float)}
        defaults = {name: float(np.float32(value)) for name, value in floats.items()}
        for name in names:
            versions = REGISTRY.setdefault((domain, name), [])
            op = OnnxOp(name, domain, since, until, build, attributes, needed, required, most, defaults)
            versions.append(op)
            versions.sort(key=lambda op: -op.since)
        return build

    return register


def lookup(name: str, domain: str, version: int) -> OnnxOp | None:
    """The function for an operator in an opset, or None."""
    return next((op for op in REGISTRY.get((domain, name), ()) if op.since <= version <= op.until), None)


def dropped(name: str, domain: str, version: int) -> bool:
    """Whether an opset no longer has the operator."""
    return any(op.until < version for op in REGISTRY.get((domain, name), ()))


def in_compute_type(build: Build) -> Build:
    """For functions that take more than one primitive: of narrow floats in f32, rounded once, at the end.

    So are the inputs that have the type of the first one, which the result has, too."""

    @wraps(build)
    def widened(x: Value, *args: Any, **kwargs: Any) -> Any:
        if not x.dtype.is_float:
            return build(x, *args, **kwargs)
        wide = x.dtype.compute
        others = [a.cast(wide) if isinstance(a, Value) and a.dtype == x.dtype else a for a in args]
        return build(x.cast(wide), *others, **kwargs).cast(x.dtype)

    return widened  # type: ignore[return-value]
