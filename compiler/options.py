"""The options of the compiler: `Options`, which are part of every cache key, and `Environment`, which is not.

The environment variables are described in runtime/variables.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..runtime import cpus, variables
from .precision import ON_GPU, Precision, Rounding, precision


@dataclass(frozen=True)
class Options:
    """How to compile. Fields up to `tuning` change the code; they are plain data, since the cache key has them as JSON.

    level: onnxruntime's graph optimization level: 0 (no passes), 1, 2, 3 (see passes/), 99 (all, and algorithms that
    round differently). precision: of products of f32, one of precision.py; "exact" is "strict" below level 99.
    target: names of target.py, separated by commas. allow_tf32: on a GPU, "exact" products of f32 may round to TF32.
    check_data: a run fails where data violate the demands of an operator (an index out of range, a division of integers
    by zero); else such an index is clamped, and such a quotient is 0.
    free_dimensions: ("name:batch" or "denotation:DATA_BATCH", size), which fix symbolic dimensions.
    external_data_folder: the folder of external data, "" for that of the model.
    outputs: values in the graph that become outputs as well. fed: initializers that become inputs.
    checked: kernels check every access to memory (templates/c/bounds.h). sanitize: "", or an argument of the C
    compiler's -fsanitize=.
    given: (name, digest) of tensors and files that replace the model's; `data` has them, by the same names.
    operators: those that are functions of Python, "domain::name", with the ONNX type and the rank of each output.
    tuning: the files of measured schedules to use, with a digest of each (runtime/store/tuning.py).
    verify, dump: see the environment variables, which are the defaults.
    """

    level: int = 99
    precision: Precision = "exact"
    target: str = "native"
    allow_tf32: bool = False
    check_data: bool = True
    free_dimensions: tuple[tuple[str, int], ...] = ()
    external_data_folder: str = ""
    outputs: tuple[str, ...] = ()
    fed: tuple[str, ...] = ()
    checked: bool = False
    sanitize: str = ""
    given: tuple[tuple[str, str], ...] = ()
    operators: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    tuning: tuple[tuple[str, str], ...] = ()
    verify: bool = field(default_factory=lambda: environment().verify)
    dump: Path | None = field(default_factory=lambda: environment().dump)
    data: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises InvalidArgument for an unknown precision."""
        precision(self.precision)

    @property
    def rounding(self) -> Precision:
        """The precision of products at this level."""
        return "strict" if self.precision == "exact" and self.level < 99 else self.precision

    @property
    def rounding_on_gpu(self) -> Rounding:
        """What happens to factors of f32 on a GPU; most of AMD's have no TF32."""
        rounding: Rounding = "tf32" if self.precision == "exact" and self.allow_tf32 else ON_GPU[self.precision]
        return "bf16x3" if rounding == "tf32" and "hip:" in self.target else rounding

    @property
    def dims(self) -> dict[str, int]:
        """The sizes of named dimensions. With a negative size, dimensions of that name need not be equal."""
        return self._sizes("name:")

    @property
    def denoted(self) -> dict[str, int]:
        """The sizes of dimensions by denotation."""
        return {name: size for name, size in self._sizes("denotation:").items() if size >= 0}

    def _sizes(self, kind: str) -> dict[str, int]:
        return {n[len(kind) :]: size for n, size in self.free_dimensions if n.startswith(kind)}

    @property
    def tensors(self) -> dict[str, Any]:
        """Arrays that replace initializers of the model, by name."""
        return {name: data for name, data in self.data.items() if not isinstance(data, bytes)}

    @property
    def files(self) -> dict[str, bytes]:
        """External data in memory, by its location in the model."""
        return {name: data for name, data in self.data.items() if isinstance(data, bytes)}


@dataclass(frozen=True)
class Environment:
    """The environment variables that do not change the result."""

    cc: str | None
    dump: Path | None
    verify: bool
    jobs: int


def environment() -> Environment:
    """Reads the variables. Raises InvalidArgument for invalid values."""
    dump = variables.DUMP.text()
    return Environment(
        cc=variables.CC.text() or variables.ANY_CC.text(),
        dump=Path(dump) if dump else None,
        verify=bool(variables.VERIFY.value()),
        jobs=variables.JOBS.value() or cpus.usable(),
    )
