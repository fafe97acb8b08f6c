"""What can be asked of the compiler: `Options`, which are part of every cache key, and `Environment`, which is not.

    INTAGLIO_CC           the C compiler; else $CC, gcc, clang, cc, zig of the package `ziglang`
    INTAGLIO_DUMP         a folder in which every stage is written down, in text
    INTAGLIO_VERIFY       1: the graph, and the lowered program, are verified after every stage
    INTAGLIO_JOBS         how many C compilers run at once; the CPUs this process may use where unset

Those of the runtime stand where they are read: INTAGLIO_CACHE_DIR and INTAGLIO_CACHE_SIZE in runtime/store/cache.py,
INTAGLIO_NUM_THREADS, INTAGLIO_TARGET and those that change the code (INTAGLIO_VERIFY=2, INTAGLIO_SANITIZE) in
runtime/api/options.py, INTAGLIO_SPIN_US in runtime/run/program.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..runtime import cpus, variables


@dataclass(frozen=True)
class Options:
    """How to compile. All up to `given` change the code; they are plain data, as they go into the cache key as JSON.

    level: onnxruntime's graph optimization level: 0 (no passes), 1, 2, 3 (see passes/), 99 (all, and algorithms that
    round differently: Winograd). target: names of target.py, with commas between. allow_tf32: on a GPU, products of
    f32 matrices may round to TF32. check_data: a run fails where data are not what an operator requires (an index out
    of range, a division of integers by zero); else such an index is clamped, and such a quotient is 0.
    free_dimensions: ("name:batch" or "denotation:DATA_BATCH", size) to fix symbolic dimensions with.
    external_data_folder: where external data is, "" for the folder of the model.
    outputs: values in the graph to give out as well. fed: initializers to take as inputs.
    checked: kernels check every access to memory (templates/c/bounds.h). sanitize: "", or what the C compiler's
    -fsanitize= takes.
    given: (name, digest) of tensors and files in the place of the model's; `data` has them, by the same names.
    verify, dump: see the environment variables, which are the defaults.
    """

    level: int = 99
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
    verify: bool = field(default_factory=lambda: environment().verify)
    dump: Path | None = field(default_factory=lambda: environment().dump)
    data: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def dims(self) -> dict[str, int]:
        """The named dimensions to fix. A negative size: the name says nothing, each dimension may be another."""
        return self._sizes("name:")

    @property
    def denoted(self) -> dict[str, int]:
        """The dimensions to fix by their denotation."""
        return {name: size for name, size in self._sizes("denotation:").items() if size >= 0}

    def _sizes(self, kind: str) -> dict[str, int]:
        return {n[len(kind) :]: size for n, size in self.free_dimensions if n.startswith(kind)}

    @property
    def tensors(self) -> dict[str, Any]:
        """Arrays in the place of the model's initializers."""
        return {name: data for name, data in self.data.items() if not isinstance(data, bytes)}

    @property
    def files(self) -> dict[str, bytes]:
        """External data in memory, by the location that the model has for it."""
        return {name: data for name, data in self.data.items() if isinstance(data, bytes)}


@dataclass(frozen=True)
class Environment:
    """What the environment variables say that do not change the result."""

    cc: str | None
    dump: Path | None
    verify: bool
    jobs: int


def environment() -> Environment:
    """Reads the variables. Raises InvalidArgument for values that make no sense."""
    dump = variables.DUMP.text()
    return Environment(
        cc=variables.CC.text() or variables.ANY_CC.text(),
        dump=Path(dump) if dump else None,
        verify=bool(variables.VERIFY.value()),
        jobs=variables.JOBS.value() or cpus.usable(),
    )
