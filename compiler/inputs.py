"""Inputs for a model: read from files, or random with the declared types and shapes.

In: descriptions of inputs (name, shape, type) as `session.get_inputs()` gives them; files. Out: {name: array}.
It must never guess silently: a file that fits no input, and an input that two files claim, are errors.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any, Protocol

import numpy as np

from ..runtime.dtypes import numpy_dtype
from ..runtime.errors import InvalidArgument
from .frontend.load import tensor_from_bytes

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]


class InputSpec(Protocol):
    """The description of an input, such as `NodeArg`."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> Any: ...  # ints, names of symbolic dimensions, None
    @property
    def type(self) -> str: ...  # "tensor(float)", ...


def random_inputs(
    specs: Iterable[InputSpec], dims: Mapping[str, int], metadata: Mapping[str, str] | None = None, seed: int = 0
) -> Feeds:
    """A random array for each input; a symbolic dimension that `dims` does not bind is 1. Floats are normal.

    Integers (and booleans) are 0 or 1, unless the model's metadata says `range.<input>` = "low:high" (high excluded).
    Strings are letters. Raises InvalidArgument for inputs that are no tensors.
    """
    rng = np.random.default_rng(seed)
    feeds: Feeds = {}
    for spec in specs:
        shape = tuple(dim if isinstance(dim, int) else dims.get(str(dim), 1) for dim in spec.shape)
        if not spec.type.startswith("tensor("):
            raise InvalidArgument(f"cannot make up values of type {spec.type}: give input '{spec.name}' in a file")
        dtype = numpy_dtype(spec.type)
        if spec.type.startswith(("tensor(int", "tensor(uint", "tensor(bool")):
            low, high = (metadata or {}).get(f"range.{spec.name}", "0:2").split(":")
            feeds[spec.name] = rng.integers(int(low), int(high), shape).astype(dtype)
        elif spec.type == "tensor(string)":
            feeds[spec.name] = rng.choice(np.array(list(ascii_lowercase), object), shape)
        else:
            feeds[spec.name] = rng.standard_normal(shape, np.float32).astype(dtype)
    return feeds


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
