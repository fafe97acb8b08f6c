"""Inputs for a model: read from files, or random with the declared types and shapes.

In: descriptions of inputs (name, shape, type) as `session.get_inputs()` gives them; files; the model's graph, where it
is to be asked which integers make sense. Out: {name: array}.
It must never guess silently: a file that fits no input, and an input that two files claim, are errors.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..runtime.api.metadata import NodeArg
from ..runtime.dtypes import numpy_dtype
from ..runtime.errors import InvalidArgument
from .frontend.load import tensor_from_bytes
from .graph.conditions import conditions
from .graph.ir import Graph, Trait, Value
from .scalar.dim import Symbol, evaluate, symbols

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]
Ranges = Mapping[str, "tuple[int, int]"]  # of integers, the end excluded


def declared(manifest: Mapping[str, Any]) -> list[NodeArg]:
    """The descriptions of a compiled model's inputs."""
    return [NodeArg.of(each["name"], each["type"], each["shape"]) for each in manifest["inputs"]]


class InputSpec(Protocol):
    """The description of an input, such as `NodeArg`."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> Any: ...  # ints, names of symbolic dimensions, None
    @property
    def type(self) -> str: ...  # "tensor(float)", ...


class _Input(NamedTuple):
    """An `InputSpec`."""

    name: str
    shape: Any
    type: str


def random_inputs(
    specs: Iterable[InputSpec],
    dims: Mapping[str, int],
    metadata: Mapping[str, str] | None = None,
    seed: int = 0,
    ranges: Ranges | None = None,
) -> Feeds:
    """A random array for each input; a symbolic dimension that `dims` does not bind is 1. Floats are normal.

    Integers (and booleans) are 0 or 1, unless the model's metadata says `range.<input>` = "low:high" (high excluded),
    or else `ranges` does (see `ranges_of`). Strings are letters. Raises InvalidArgument for inputs that are no tensors.
    """
    rng = np.random.default_rng(seed)
    feeds: Feeds = {}
    for spec in specs:
        shape = tuple(dim if isinstance(dim, int) else dims.get(str(dim), 1) for dim in spec.shape)
        if not spec.type.startswith("tensor("):
            raise InvalidArgument(f"cannot make up values of type {spec.type}: give input '{spec.name}' in a file")
        dtype = numpy_dtype(spec.type)
        if spec.type.startswith(("tensor(int", "tensor(uint", "tensor(bool")):
            derived = ":".join(map(str, (ranges or {}).get(spec.name, (0, 2))))
            low, high = map(int, (metadata or {}).get(f"range.{spec.name}", derived).split(":"))
            feeds[spec.name] = rng.integers(low, high, shape).astype(dtype)
        elif spec.type == "tensor(string)":
            feeds[spec.name] = rng.choice(np.array(list(ascii_lowercase), object), shape)
        else:
            feeds[spec.name] = rng.standard_normal(shape, np.float32).astype(dtype)
    return feeds


def fitting_inputs(
    graph: Graph,
    specs: Sequence[InputSpec],
    dims: Mapping[str, int],
    metadata: Mapping[str, str] | None = None,
    given: Mapping[str, Array] | None = None,
    seed: int = 0,
) -> Feeds:
    """Random inputs that make sense to the imported model `graph`, beside the `given` ones; all of these are taken.

    Symbolic dimensions that neither `dims` nor given inputs bind get sizes with which the model's conditions hold.
    Indices lie in what they index. A mask (by its name) is ones, then zeros, as padding is; positions (by their name)
    count up along the last axis."""
    given = given or {}
    bound = _fitting_sizes(graph, dict(dims) | sizes(specs, given))  # random inputs have the sizes of the others
    ranges = ranges_of(graph, bound)
    rng = np.random.default_rng(seed)
    shapes = {v.name: tuple(d if isinstance(d, int) else str(d) for d in v.shape) for v in graph.inputs}
    missing = [_Input(s.name, shapes.get(s.name, s.shape), s.type) for s in specs if s.name not in given]
    feeds = random_inputs(missing, bound, metadata, seed, ranges)
    for name, x in feeds.items():
        if x.dtype.kind not in "biu" or not x.size or not x.ndim:
            continue
        line = np.arange(x.shape[-1])
        if "mask" in name.lower() and x.max() <= 1:
            x[...] = line < rng.integers(1, x.shape[-1] + 1, (*x.shape[:-1], 1))
        elif "position" in name.lower():
            low, high = ranges.get(name, (0, x.shape[-1]))
            x[...] = np.clip(line + low, low, high - 1)
    return {spec.name: given[spec.name] if spec.name in given else feeds[spec.name] for spec in specs}


# What symbolic dimensions may be: different sizes, then the sizes of images, then the same size for all.
_CANDIDATES = ((2, 5, 3, 7, 4, 6), (2, 64), (1, 64), (64,), (1, 224), (224,), (2,), (1,))


def _fitting_sizes(graph: Graph, known: Mapping[str, int]) -> dict[str, int]:
    """Sizes of all symbolic dimensions with which the conditions hold that are known before a run, if any are found."""
    dims = dict.fromkeys(str(d) for v in graph.inputs for d in v.shape if isinstance(d, Symbol))
    free = [name for name in dims if name not in known]
    demanded = [c for c in conditions(graph) if {str(s) for s in c.symbols} <= set(dims)]
    for candidate in _CANDIDATES:
        sizes = dict(known) | {name: candidate[min(i, len(candidate) - 1)] for i, name in enumerate(free)}
        if all(c.met({s: sizes[str(s)] for s in c.symbols}) for c in demanded):
            return sizes
    return dict(known)


def ranges_of(graph: Graph, dims: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """The integers that inputs may have, by what they are indices of, or lengths; a dimension not in `dims` is 1."""
    found: dict[str, tuple[int, int]] = {}

    def note(value: Value, low: int, high: int) -> None:
        source = _source(value)
        if source is not None:
            value, shift = source
            before = found.get(value.name, (low - shift, high - shift))
            found[value.name] = max(before[0], low - shift), min(before[1], high - shift)

    def size(d: Any) -> int:
        return evaluate(d, {s: dims.get(str(s), 1) for s in symbols(d)})

    for node in graph.nodes():
        if node.op.name in ("gather", "scatter"):
            axes, where = node.attrs["axes"], node.inputs[1 if node.op.name == "gather" else 2 :]
            for axis, index in zip(axes, where):
                note(index, 0, size(node.inputs[0].shape[axis]))
        elif node.op.name == "recurrent" and "lengths" in node.attrs["has"]:
            note(node.inputs[2 + node.attrs["has"].index("lengths")], 1, size(node.inputs[0].shape[0]) + 1)
    return {name: (low, high) for name, (low, high) in found.items() if low < high}


def _source(value: Value) -> tuple[Value, int] | None:
    """The input whose elements, plus a number, the elements of `value` are, where these are not negative."""
    shift = 0
    while value.op != "input":
        prim, inputs = value.node.attrs.get("prim"), value.node.inputs
        if Trait.VIEW in value.node.op.traits or prim == "cast":
            (value, *_) = inputs
        elif prim == "require":
            value = inputs[1]
        elif prim == "select":  # the second side is for indices that count from the end
            value = inputs[2]
        elif prim in ("add", "sub") and inputs[1].data is not None and inputs[1].data.size == 1:
            shift += int(inputs[1].data.item()) * (1 if prim == "add" else -1)
            value = inputs[0]
        elif prim == "add" and inputs[0].data is not None and inputs[0].data.size == 1:
            shift += int(inputs[0].data.item())
            value = inputs[1]
        elif prim in ("min", "max") and inputs[1].data is not None:
            value = inputs[0]
        else:
            return None
    return value, shift


def read_inputs(arguments: Sequence[str], specs: Sequence[InputSpec]) -> Feeds:
    """Reads `FILE` or `NAME=FILE` arguments: .npy, .npz (arrays by name), .pb (a TensorProto, which may have a name).

    Arrays without a name are assigned to the remaining inputs, in order. Raises InvalidArgument, and OSError for files
    that cannot be read.
    """
    names = [spec.name for spec in specs]
    feeds: Feeds = {}
    nameless: list[tuple[str, Array]] = []
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or Path(argument).exists():
            name, path = "", argument
        for stored, array in _read(Path(path)).items():
            target = name or stored
            if target in feeds:
                raise InvalidArgument(f"input '{target}' is given twice, the second time by {path}")
            if target in names:
                feeds[target] = array
            elif name or path.endswith(".npz"):
                raise InvalidArgument(f"the model has no input '{target}' (it has {', '.join(names) or 'none'})")
            else:
                nameless.append((path, array))
    free = [name for name in names if name not in feeds]
    if len(nameless) > len(free):
        raise InvalidArgument(f"there is no input left for {nameless[len(free)][0]}")
    feeds.update(zip(free, (array for _, array in nameless)))
    return feeds


def sizes(specs: Iterable[InputSpec], feeds: Mapping[str, Array]) -> dict[str, int]:
    """The values of the symbolic dimensions according to the shapes of `feeds`."""
    return {
        dim: size
        for spec in specs
        if spec.name in feeds
        for dim, size in zip(spec.shape, feeds[spec.name].shape)
        if isinstance(dim, str)
    }


def _read(path: Path) -> Feeds:
    """The arrays of a file by their names in it, "" for one without a name."""
    try:
        if path.suffix == ".pb":
            tensor = tensor_from_bytes(path.read_bytes())
            return {tensor.name: tensor.array}
        if path.suffix in (".npy", ".npz"):
            stored = np.load(path, allow_pickle=False)
            return {"": stored} if path.suffix == ".npy" else dict(stored)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidArgument(f"cannot read {path}: {error}") from None
    raise InvalidArgument(f"cannot read {path}: inputs are .npy, .npz or .pb files")
