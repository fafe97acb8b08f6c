"""The targets of code generation: a CPU, in one table of facts, and GPUs beside it.

In: the text of `--target` ("native", "x86-64-v3", "znver4", "generic", "cuda:sm_90", several of them separated by
commas; facts of a CPU can be changed: "znver4+l2=512K+fma_latency=5", "x86-64-v3+avxvnni") and, for "native", the
operating system's description of this CPU. Out: a `Target` and `Gpu`s, frozen and hashable.
It never compiles or runs anything. Features are passed to the compiler one by one, as `-march=native` of a compiler
older than the CPU tunes for another one and prefers narrow vectors.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ..runtime import cpus
from ..runtime.cpus import Cache
from ..runtime.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Target:
    """A CPU to generate code for.

    name: as in `--target`; architecture: as in runtime/cpus.py, "" for that of any compiler; features: instruction
    sets, in the spelling of gcc and clang; vector_bytes: width of the widest vectors; registers: number of vector
    registers; fma_latency: cycles from a fused multiply-add (without one, an addition) to the use of its result;
    fma_bytes: bytes of vectors that are multiplied and added in a cycle; l1, l2, l3: data caches.
    """

    name: str
    architecture: str
    features: tuple[str, ...]
    vector_bytes: int
    registers: int
    fma_latency: int
    fma_bytes: int
    l1: Cache
    l2: Cache
    l3: Cache

    def lanes(self, itemsize: int) -> int:
        """Elements of `itemsize` bytes in one vector."""
        return self.vector_bytes // itemsize

    @property
    def extras(self) -> tuple[str, ...]:
        """The features beyond the levels: units for products of narrow types."""
        return tuple(feature for feature in self.features if feature in _EXTRAS)

    @property
    def sums(self) -> int:
        """The independent sums (vectors) that keep the multiply-add units busy."""
        return self.fma_latency * max(1, self.fma_bytes // self.vector_bytes)

    @property
    def flags(self) -> tuple[str, ...]:
        """Compiler flags for the features that a C compiler uses by itself, on top of the architecture's baseline (the
        default of gcc and clang; `zig cc` needs -mcpu=x86_64)."""
        width = ("-mprefer-vector-width=512",) if self.vector_bytes == 64 else ()
        return (*(f"-m{feature}" for feature in self.features if feature not in _EXPLICIT), *width)

    @property
    def required(self) -> list[str]:
        """The features that the code requires of the CPU, by their names in runtime/cpus.py."""
        return sorted(_LINUX.get(feature, feature) for feature in self.features if feature not in _UNUSED)


# The psABI's micro-architecture levels as features in gcc's and clang's spelling; each level includes those before it.
_V2 = ("sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "cx16", "sahf")
_V3 = (*_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_UNUSED = ("amx-tile", "amx-int8", "amx-bf16")  # by kernels, and by compilers
_EXPLICIT = ("avxvnni", *_UNUSED)  # no compiler uses them by itself, and older ones lack them
_EXTRAS = ("avx512vnni", "avx512bf16", *_EXPLICIT)  # beyond the levels
# Linux's names of features, where they differ.
_LINUX = {
    "sse3": "pni", "sse4.1": "sse4_1", "sse4.2": "sse4_2", "sahf": "lahf_lm", "lzcnt": "abm", "bmi": "bmi1",
    "avx512vnni": "avx512_vnni", "avx512bf16": "avx512_bf16", "avxvnni": "avx_vnni", "amx-tile": "amx_tile",
    "amx-int8": "amx_int8", "amx-bf16": "amx_bf16",
}  # fmt: skip


def _x86(
    name: str,
    level: tuple[str, ...],
    extras: tuple[str, ...] = (),
    latency: int = 4,
    units: int = 2,
    l1: tuple[int, int] = (32, 8),
    l2: tuple[int, int] = (512, 8),
    l3: tuple[int, int] = (2048, 16),
) -> Target:
    """units: multiply-adds of the widest vectors in a cycle; l1, l2, l3: KiB (l3: a core's share) and ways."""
    width, registers = (64, 32) if level == _V4 else (32, 16) if level == _V3 else (16, 16)
    caches = (Cache(kib << 10, ways) for kib, ways in (l1, l2, l3))
    return Target(name, "x86_64", (*level, *extras), width, registers, latency, units * width, *caches)


_VNNI, _BF16 = ("avx512vnni",), ("avx512vnni", "avx512bf16")
_AMX = (*_BF16, "avxvnni", "amx-tile", "amx-int8", "amx-bf16")
# CPUs by the names of gcc's -march. Latencies and units: Fog, "Instruction tables", 2025; uops.info. Caches: the
# makers' optimization manuals.
_NAMED = {
    each.name: each
    for each in (
        _x86("x86-64-v2", _V2),
        _x86("x86-64-v3", _V3),
        _x86("x86-64-v4", _V4, l2=(1024, 16)),
        _x86("haswell", _V3, latency=5, l2=(256, 8)),
        _x86("skylake", _V3, l2=(256, 4)),
        _x86("alderlake", _V3, ("avxvnni",), l1=(48, 12), l2=(1280, 10), l3=(3072, 12)),
        _x86("skylake-avx512", _V4, l2=(1024, 16), l3=(1408, 11)),
        _x86("cascadelake", _V4, _VNNI, l2=(1024, 16), l3=(1408, 11)),
        _x86("icelake-client", _V4, _VNNI, units=1, l1=(48, 12)),
        _x86("icelake-server", _V4, _VNNI, l1=(48, 12), l2=(1280, 20), l3=(1536, 12)),
        _x86("sapphirerapids", _V4, _AMX, l1=(48, 12), l2=(2048, 16), l3=(1920, 15)),
        _x86("znver1", _V3, latency=5, units=1),
        _x86("znver2", _V3, latency=5, l3=(4096, 16)),
        _x86("znver3", _V3, l3=(4096, 16)),
        _x86("znver4", _V4, _BF16, units=1, l2=(1024, 8), l3=(4096, 16)),
        _x86("znver5", _V4, (*_BF16, "avxvnni"), l1=(48, 12), l2=(1024, 16), l3=(4096, 16)),
        # Plain C for any CPU of the compiler's default architecture; all have or emulate 16-byte vectors.
        replace(_x86("generic", ()), architecture=""),
        # As of Neoverse N1: Arm, "Neoverse N1 Software Optimization Guide".
        Target("aarch64", "aarch64", (), 16, 32, 4, 32, Cache(1 << 16, 4), Cache(1 << 20, 8), Cache(1 << 20, 16)),
    )
}
NAMES = ("native", *_NAMED)
_LEVELS = ("x86-64-v4", "x86-64-v3", "x86-64-v2", "generic")
# Vendor and family -> names of CPUs and their model numbers, the first match counts. From Linux's
# arch/x86/include/asm/intel-family.h and AMD's processor programming references.
_MODELS: dict[tuple[str, int], tuple[tuple[str, Collection[int]], ...]] = {
    ("Intel", 6): (
        ("haswell", (0x3C, 0x3D, 0x3F, 0x45, 0x46, 0x47, 0x4F, 0x56)),
        ("skylake", (0x4E, 0x5E, 0x8E, 0x9E, 0xA5, 0xA6)),
        ("skylake-avx512", (0x55,)),
        ("icelake-client", (0x7D, 0x7E, 0x8C, 0x8D, 0xA7)),
        ("icelake-server", (0x6A, 0x6C)),
        ("alderlake", (0x97, 0x9A, 0xAA, 0xAC, 0xB7, 0xBA, 0xBF)),
        ("sapphirerapids", (0x8F, 0xAD, 0xAE, 0xCF)),
    ),
    ("AMD", 0x17): (("znver1", range(0x30)), ("znver2", range(0x30, 0x100))),
    ("AMD", 0x19): (("znver4", (*range(0x10, 0x20), *range(0x60, 0xB0))), ("znver3", range(0x100))),
    ("AMD", 0x1A): (("znver5", range(0x100)),),
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU to generate code for.

    name: as in `--target`; backend: "cuda", "hip", or "interpreter", where Triton's interpreter runs the sources, and
    no binary is built; arch: 90 for sm_90, "gfx942"; warp: threads of a warp; shared: bytes of shared memory that a
    program may use.
    """

    name: str
    backend: str
    arch: int | str
    warp: int
    shared: int


# KiB of shared memory that a thread block may use, by compute capability: CUDA C++ Programming Guide, Table "Technical
# Specifications per Compute Capability". For CDNA below, the size of the local data share.
_SHARED = {75: 64, 80: 163, 86: 99, 87: 163, 89: 99, 90: 227, 100: 227, 103: 227, 120: 99}
_GPUS = {
    "gpu:interpreter": Gpu("gpu:interpreter", "interpreter", 0, 32, 1 << 30),
    **{f"cuda:sm_{sm}": Gpu(f"cuda:sm_{sm}", "cuda", sm, 32, kib << 10) for sm, kib in _SHARED.items()},
    **{f"hip:{name}": Gpu(f"hip:{name}", "hip", name, 64, 64 << 10) for name in ("gfx90a", "gfx942")},
}


def targets(names: str) -> tuple[Target, tuple[Gpu, ...]]:
    """The CPU ("native" if none is named) and the GPUs of a comma-separated list. Raises InvalidArgument."""
    parts = [part.strip() for part in names.split(",")]
    unknown = [part for part in parts if ":" in part and part not in _GPUS]
    if unknown:
        raise InvalidArgument(f"unknown GPU '{unknown[0]}'; choose of: {', '.join(_GPUS)}")
    hosts = [part for part in parts if ":" not in part]
    if len(hosts) > 1:
        raise InvalidArgument(f"a model is compiled for one CPU, not for {' and '.join(hosts)}")
    return target(hosts[0] if hosts else "native"), tuple(dict.fromkeys(_GPUS[p] for p in parts if ":" in p))


def target(text: str = "native") -> Target:
    """The CPU of that name, with changed facts, if any. Raises InvalidArgument, naming the choices."""
    name, *facts = text.split("+")
    if name != "native" and name not in _NAMED:
        raise InvalidArgument(
            f"unknown target '{name}'; choose one of: native, {', '.join(_NAMED)}; or a GPU, such as cuda:sm_90"
        )
    result = _native() if name == "native" else _NAMED[name]
    for fact in facts:
        result = _with_fact(result, fact)
    return replace(result, name=text) if facts else result


_NUMBERS = ("vector_bytes", "registers", "fma_latency", "fma_bytes")
_CACHES = ("l1", "l2", "l3")


def _with_fact(target: Target, fact: str) -> Target:
    """The target with another feature ("avxvnni") or number ("registers=16", "l2=512K"). Raises InvalidArgument."""
    name, _, value = fact.partition("=")
    match = re.fullmatch(r"([1-9]\d*)([KM]?)", value)
    if fact in _EXTRAS:
        return replace(target, features=tuple(dict.fromkeys((*target.features, fact))))
    if match and name in (*_NUMBERS, *_CACHES):
        number = int(match[1]) << {"": 0, "K": 10, "M": 20}[match[2]]
        new: Any = replace(getattr(target, name), bytes=number) if name in _CACHES else number
        return replace(target, **{name: new})
    raise InvalidArgument(
        f"unknown fact '{fact}' of the target '{target.name}'; choose of: {', '.join(_EXTRAS)}; or "
        f"{', '.join(_NUMBERS)}, {', '.join(_CACHES)}, each with a positive number, such as l2=512K"
    )


def ensure_buildable(target: Target) -> None:
    """Raises InvalidArgument for a CPU of another architecture than that of this machine, and its compilers."""
    here = cpus.architecture()
    if target.architecture not in ("", here):
        raise InvalidArgument(
            f"the target '{target.name}' is of the architecture {target.architecture}, and this machine is {here}: "
            "compile the model on a machine of the target's architecture"
        )


@lru_cache
def _native() -> Target:
    """The best description of this machine; "generic" if its architecture or features are not known."""
    if cpus.architecture() == "aarch64":
        named = _NAMED["aarch64"]
    elif cpus.architecture() == "x86_64":
        named = _x86_of(cpus.features(), _known())
    else:
        named = _NAMED["generic"]
    caches = cpus.caches()
    return replace(named, l1=caches.get(1, named.l1), l2=caches.get(2, named.l2), l3=caches.get(3, named.l3))


def _known() -> Target | None:
    """The named CPU that this machine has, if any."""
    family, model = cpus.model()
    of_family = _MODELS.get((cpus.vendor(), family), ())
    return next((_NAMED[name] for name, models in of_family if model in models), None)


def _x86_of(features: frozenset[str], known: Target | None) -> Target:
    """The highest level whose features the CPU has, with its features beyond that, and with the facts of `known`."""
    level = next(
        each for each in map(_NAMED.__getitem__, _LEVELS) if all(_LINUX.get(f, f) in features for f in each.features)
    )
    usable = (f for f in _EXTRAS if level.features == _V4 or "512" not in f)  # a virtual machine may hide a level
    extras = tuple(f for f in usable if _LINUX.get(f, f) in features)
    result = replace(level, features=(*level.features, *extras))
    if known is None:
        return result
    name = known.name if known.vector_bytes == level.vector_bytes else level.name
    result = replace(result, name=name, fma_latency=known.fma_latency, fma_bytes=known.fma_bytes)
    return replace(result, l1=known.l1, l2=known.l2, l3=known.l3)
