"""The CPU that code is generated for: instruction sets, vector width, registers, and the compiler flags that say so.

In: the text of `--target` ("native", "x86-64-v2", "x86-64-v3", "x86-64-v4", "generic") and, for "native", what the
operating system tells about this CPU. Out: a `Target`, frozen and hashable, part of the key of every object.
It never compiles or runs anything. Features are passed to the compiler one by one, as `-march=native` of a compiler
older than the CPU tunes for something else and prefers narrow vectors.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..runtime.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Target:
    """A CPU to generate code for.

    name: as in `--target`; vector_bytes: width of the widest vectors; registers: vector registers there are;
    fma: fused multiply-add; flags: what adds all that to a C compiler set to the baseline of the architecture (the
    default of gcc and clang; `zig cc` must be told -mcpu=x86_64); features: the optional instruction sets.
    """

    name: str
    vector_bytes: int
    registers: int
    fma: bool
    flags: tuple[str, ...]
    features: tuple[str, ...] = ()

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
    "generic": Target("generic", 16, 16, False, ()),
    "aarch64": Target("aarch64", 16, 32, True, ()),
}
NAMES = ("native", *_NAMED)


def target(name: str = "native") -> Target:
    """The target of that name. Raises InvalidArgument, naming the choices, for an unknown one."""
    if name == "native":
        return _native()
    if name not in _NAMED:
        raise InvalidArgument(f"unknown target '{name}'; choose one of: native, {', '.join(_NAMED)}")
    return _NAMED[name]


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
