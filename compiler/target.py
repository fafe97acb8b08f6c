"""What code is generated for: a CPU (instruction sets, vector width, registers, compiler flags), and GPUs beside it.

In: the text of `--target` ("native", "x86-64-v2", "x86-64-v3", "x86-64-v4", "generic", "cuda:sm_90", "hip:gfx942",
several of them with commas between) and, for "native", what the operating system tells about this CPU. Out: a `Target`
and `Gpu`s, frozen and hashable, part of the key of every object.
It never compiles or runs anything. Features are passed to the compiler one by one, as `-march=native` of a compiler
older than the CPU tunes for something else and prefers narrow vectors.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..runtime.cpus import architecture
from ..runtime.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Target:
    """A CPU to generate code for.

    name: as in `--target`; vector_bytes: width of the widest vectors; registers: vector registers there are;
    fma: fused multiply-add; flags: what adds all that to a C compiler set to the baseline of the architecture (the
    default of gcc and clang; `zig cc` must be told -mcpu=x86_64); features: the optional instruction sets;
    architecture: as in runtime/cpus.py, "" for that of any compiler.
    """

    name: str
    vector_bytes: int
    registers: int
    fma: bool
    flags: tuple[str, ...]
    features: tuple[str, ...] = ()
    architecture: str = "x86_64"

    def lanes(self, itemsize: int) -> int:
        """Elements of `itemsize` bytes in one vector."""
        return self.vector_bytes // itemsize


# The psABI's micro-architecture levels as features in gcc's and clang's spelling; each level includes those before it.
_V2 = ("sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "cx16", "sahf")
_V3 = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_V4 = ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
# Beyond v4, for "native": the kernel's name in /proc/cpuinfo -> the compiler's.
_EXTRAS = {"avx512_vnni": "avx512vnni", "avx512_bf16": "avx512bf16"}
# What /proc/cpuinfo calls the features that decide the level.
_NEEDED_V2 = {"ssse3", "sse4_1", "sse4_2", "popcnt", "cx16"}
_NEEDED_V3 = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}
_NEEDED_V4 = set(_V4)


def _flags(features: tuple[str, ...], vector_bytes: int) -> tuple[str, ...]:
    width = ("-mprefer-vector-width=512",) if vector_bytes == 64 else ()
    return (*(f"-m{feature}" for feature in features), *width)


_V3_ALL, _V4_ALL = (*_V2, *_V3), (*_V2, *_V3, *_V4)
_NAMED = {
    "x86-64-v2": Target("x86-64-v2", 16, 16, False, _flags(_V2, 16)),
    "x86-64-v3": Target("x86-64-v3", 32, 16, True, _flags(_V3_ALL, 32)),
    "x86-64-v4": Target("x86-64-v4", 64, 32, True, _flags(_V4_ALL, 64)),
    # Plain C for any CPU of the compiler's own architecture; 16-byte vectors exist or are emulated everywhere.
    "generic": Target("generic", 16, 16, False, (), architecture=""),
    "aarch64": Target("aarch64", 16, 32, True, (), architecture="aarch64"),
}
NAMES = ("native", *_NAMED)


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU to generate code for.

    name: as in `--target`; backend: "cuda", "hip", or "interpreter" for no binary at all: sources that Triton's
    interpreter runs; arch: 90 for sm_90, "gfx942"; warp: threads of a warp; shared: bytes of shared memory that a
    program may have.
    """

    name: str
    backend: str
    arch: int | str
    warp: int
    shared: int


# Bytes of shared memory of a thread block at most, by compute capability: CUDA C++ Programming Guide, Table
# "Technical Specifications per Compute Capability"; of CDNA, the size of its local data share.
_SHARED = {75: 64, 80: 163, 86: 99, 87: 163, 89: 99, 90: 227, 100: 227, 103: 227, 120: 99}
_GPUS = {
    "gpu:interpreter": Gpu("gpu:interpreter", "interpreter", 0, 32, 1 << 30),
    **{f"cuda:sm_{sm}": Gpu(f"cuda:sm_{sm}", "cuda", sm, 32, kib << 10) for sm, kib in _SHARED.items()},
    **{f"hip:{name}": Gpu(f"hip:{name}", "hip", name, 64, 64 << 10) for name in ("gfx90a", "gfx942")},
}


def targets(names: str) -> tuple[Target, tuple[Gpu, ...]]:
    """The CPU ("native" where none is named) and the GPUs of a list with commas. Raises InvalidArgument."""
    parts = [part.strip() for part in names.split(",")]
    unknown = [part for part in parts if ":" in part and part not in _GPUS]
    if unknown:
        raise InvalidArgument(f"unknown GPU '{unknown[0]}'; choose of: {', '.join(_GPUS)}")
    hosts = [part for part in parts if ":" not in part]
    if len(hosts) > 1:
        raise InvalidArgument(f"a model is compiled for one CPU, not for {' and '.join(hosts)}")
    return target(hosts[0] if hosts else "native"), tuple(dict.fromkeys(_GPUS[p] for p in parts if ":" in p))


def target(name: str = "native") -> Target:
    """The CPU of that name. Raises InvalidArgument, naming the choices, for an unknown one."""
    if name == "native":
        return _native()
    if name not in _NAMED:
        raise InvalidArgument(
            f"unknown target '{name}'; choose one of: native, {', '.join(_NAMED)}; or a GPU, such as cuda:sm_90"
        )
    return _NAMED[name]


def ensure_buildable(target: Target) -> None:
    """Raises InvalidArgument for a CPU of another architecture than this machine's, for which compilers make code."""
    here = architecture()
    if target.architecture not in ("", here):
        raise InvalidArgument(
            f"the target '{target.name}' is of the architecture {target.architecture}, and this machine is {here}: "
            "compile the model on a machine of the target's architecture"
        )


@lru_cache
def _native() -> Target:
    """The best description of this machine; "generic" code where the operating system does not tell its features."""
    machine = platform.machine().lower()
    if machine in ("aarch64", "arm64"):
        return _NAMED["aarch64"]
    if machine not in ("x86_64", "amd64"):
        return _NAMED["generic"]
    have = cpu_flags()
    if have >= _NEEDED_V2 | _NEEDED_V3 | _NEEDED_V4:
        extras = tuple(sorted(_EXTRAS[flag] for flag in have & _EXTRAS.keys()))
        return Target("native", 64, 32, True, _flags((*_V4_ALL, *extras), 64), extras)
    level = "x86-64-v3" if have >= _NEEDED_V2 | _NEEDED_V3 else "x86-64-v2" if have >= _NEEDED_V2 else "generic"
    return _NAMED[level]


@lru_cache
def cpu_flags() -> frozenset[str]:
    """Features of this CPU in the names of Linux's /proc/cpuinfo; empty where there is no such file."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return frozenset()
    lines = info.read_text().splitlines()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))
