"""The interface of an exported model: what its header declares.

In: a model and its program. Out: an `Interface`, names and types in C. What a program by itself cannot have, such as
strings and calls of Python, is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...runtime import errors
from ...runtime.dtypes import is_numbered
from ..codegen.c.expr import ctype
from ..frontend.load import Model
from ..graph.ir import Value
from ..kernel.program import Program
from ..package.manifest import manifest
from ..plan.memory import region_numbers, region_of
from ..scalar.dim import LONG, Dim, Size, Symbol, substitute
from ..scalar.dtype import BOOL, I32, I64, DType
from . import names

Name = Callable[[str], str]  # a name of the model as an identifier that is not taken


@dataclass(frozen=True)
class Parameter:
    """A symbol whose value the caller says, and the least that may be."""

    name: str
    least: int


@dataclass(frozen=True)
class Source:
    """Where a symbol has its value from: a parameter, or an element (input, index), or else a random number."""

    parameter: Parameter | None
    element: tuple[int, int] | None = None

    @property
    def is_random(self) -> bool:
        return self.parameter is None and self.element is None

    @property
    def name(self) -> str:
        return self.parameter.name if self.parameter else ""

    @property
    def least(self) -> int:
        return self.parameter.least if self.parameter else 0


@dataclass(frozen=True)
class Tensor:
    """An input or output.

    name, shape_name: of parameters; described: dtype, shape and the model's name of it, for people. Of an input: sizes,
    numbers and names of parameters; is_read, whether a size is one of its elements. Of an output: is_made, whether its
    shape depends on data."""

    name: str
    shape_name: str
    dtype: DType
    described: str
    rank: int
    sizes: tuple[str, ...] = ()
    is_read: bool = False
    is_made: bool = False

    @property
    def type(self) -> str:
        """The C type of an element; of types that C lacks the bits."""
        return "bool" if self.dtype == BOOL else ctype(self.dtype)

    @property
    def bytes(self) -> int:
        return self.dtype.itemsize

    @property
    def kind(self) -> str:
        """How the example shows an element: see main.c.j2."""
        if self.dtype.is_float:
            return {32: "FLOAT", 64: "DOUBLE"}.get(self.dtype.bits, "BITS")
        return "SIGNED" if self.dtype.kind == "i" else "UNSIGNED"


@dataclass(frozen=True)
class Interface:
    """prefix: of the names of functions; symbols: of the program, in order; refusals: how many of the messages are of
    sizes that the model refuses; messages: of the statuses 1, 2, ..., as C strings."""

    prefix: str
    symbols: tuple[Source, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    refusals: int
    messages: tuple[str, ...]

    @property
    def upper(self) -> str:
        return self.prefix.upper()

    @property
    def sizes(self) -> list[Parameter]:
        return [s.parameter for s in self.symbols if s.parameter]

    @property
    def makes(self) -> bool:
        return any(t.is_made for t in self.outputs)

    @property
    def is_random(self) -> bool:
        return any(s.is_random for s in self.symbols)

    @property
    def has_shapes_parameters(self) -> bool:
        """Whether the function that tells shapes has parameters."""
        return bool(self.sizes or any(t.is_read for t in self.inputs) or any(t.rank for t in self.outputs))

    @property
    def work(self) -> int:
        """The size of the work area: see standalone.h."""
        return len(self.symbols) + 4 + sum(t.rank for t in self.outputs)


def interface(model: Model, program: Program, stem: str) -> Interface:
    """The interface of a model that is called `stem`. Raises NotImplemented for what needs Python's runtime, and
    InvalidArgument for a program that runs on a GPU."""
    if any(launch.device for launch in program.launches):
        raise errors.InvalidArgument("C by itself is for CPUs: compile the model with a --target that names no GPU")
    entries = manifest(model, program)
    _refuse(entries)
    taken: set[str] = set()

    def name(text: str) -> str:
        found = names.identifier(text, taken)
        taken.add(found)
        return found

    graph = program.graph
    sources = [_source(s, name) for s in entries["symbols"]]
    parameters = {s: Symbol(each.parameter.name) for s, each in zip(program.symbols(), sources) if each.parameter}
    read = {each.element[0] for each in sources if each.element}
    inputs = tuple(_input(v, i in read, name, parameters) for i, v in enumerate(graph.inputs))
    regions = region_numbers(program.bound())
    outputs = tuple(
        _output(text, v, any(region_of(d, regions) for d in v.shape), name, parameters)
        for text, v in zip(graph.output_names, graph.outputs)
    )
    failures = (*entries["asserts"], *entries["errors"])
    messages = tuple(names.string(each["text"].replace("{{", "{").replace("}}", "}")) for each in failures)
    return Interface(names.prefix(stem), tuple(sources), inputs, outputs, len(entries["asserts"]), messages)


def _refuse(entries: Mapping[str, Any]) -> None:
    """Raises NotImplemented with all that a model has and a program by itself cannot have."""
    reasons = [
        f"{kind} '{each['name']}' is a {each['type']}: there are only tensors of numbers"
        for kind in ("input", "output")
        for each in entries[f"{kind}s"]
        if each.get("object") or is_numbered(each["type"])
    ]
    reasons += [
        f"node '{call['node'][1]}' ({call['node'][0]}) is computed by a function of the Python runtime"
        for call in entries.get("host", ())
    ]
    if reasons:
        raise errors.NotImplemented(
            "\n".join(["This model cannot be C by itself:", *(f"  {each}" for each in reasons)])
        )


def _source(entry: Mapping[str, Any], name: Name) -> Source:
    """A symbol of the manifest."""
    if "bind" in entry:
        return Source(Parameter(name(entry["name"]), max(entry["lower"], 0)))
    if "element" in entry:
        return Source(None, (entry["element"][0], entry["element"][1]))
    return Source(None)


def _input(value: Value, is_read: bool, name: Name, parameters: Mapping[Symbol, Symbol]) -> Tensor:
    if is_read and value.dtype not in (I32, I64):
        raise errors.NotImplemented(f"Sizes are elements of the input '{value.name}', which are no int32 or int64.")
    shape = [parameters[d].name if isinstance(d, Symbol) else str(d) for d in value.shape]
    found = name(value.name or "input")
    described = _described(found, value.name, value.dtype, shape)
    return Tensor(found, "", value.dtype, described, value.rank, tuple(shape), is_read)


def _output(text: str, value: Value, is_made: bool, name: Name, parameters: Mapping[Symbol, Symbol]) -> Tensor:
    found = name(text)
    described = _described(found, text, value.dtype, [_formula(substitute(d, parameters)) for d in value.shape])
    return Tensor(found, name(f"{found}_shape"), value.dtype, described, value.rank, is_made=is_made)


def _described(name: str, text: str, dtype: DType, shape: Sequence[str]) -> str:
    """An input or output, for people."""
    called = f", '{text}' in the model" if text != name else ""
    return names.comment(f"{dtype.ort.removeprefix('tensor(').removesuffix(')')} [{', '.join(shape)}]{called}")


def _formula(size: Size) -> str:
    return "..." if isinstance(size, Dim) and size.length > LONG else str(size)
