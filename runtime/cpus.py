"""The processor of this machine: its name, instructions and caches, which CPUs this process may use, and how the system
runs them.

What is asked on every warm start must never start a process or load a library: all but `model_name` and
`tiles_permitted`.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@cache
def architecture() -> str:
    """`x86_64`, `aarch64`, ..."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


@cache
def _described() -> dict[str, str]:
    """What Linux tells of the first CPU in /proc/cpuinfo; empty where the system does not tell."""
    if sys.platform != "linux":
        return {}
    try:
        with open("/proc/cpuinfo", "rb") as file:
            text = file.read(16384)  # the first CPU's block; the whole file takes long where there are many
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.decode("latin-1").partition("\n\n")[0].split("\n"))
    return {name.strip(): value.strip() for name, _, value in pairs}


@cache
def features() -> frozenset[str]:
    """Names of the CPU's instruction set extensions as Linux spells them (`avx2`, `avx512f`, `asimd`).

    Empty where the system does not tell; artifacts that need features are then not refused.
    """
    told = _described()
    return frozenset((told.get("flags") or told.get("Features", "")).split())


def vendor() -> str:
    """Who made the CPU, `AMD` or `Intel`, else as Linux names it; empty where unknown."""
    name = _described().get("vendor_id", "")
    return {"AuthenticAMD": "AMD", "GenuineIntel": "Intel"}.get(name, name)


def model() -> tuple[int, int]:
    """Family and model number of an x86 CPU, as its maker counts; zeros where unknown."""
    told = _described()
    family, number = told.get("cpu family", ""), told.get("model", "")
    return (int(family), int(number)) if family.isdigit() and number.isdigit() else (0, 0)


def identity() -> str:
    """What tells CPUs apart whose names are alike, as those of virtual machines are: name, family, model number."""
    return " ".join((model_name(), *map(str, model())))


def model_name() -> str:
    """What the CPU is called."""
    return _described().get("model name") or platform.processor() or architecture()


def tiles_permitted() -> bool | None:
    """Whether Linux lets this process use its CPU's matrix unit (AMX), for which it asks; None if there is no unit."""
    if "amx_tile" not in features():
        return None
    arch_prctl, request, tile_data = 158, 0x1023, 18  # Documentation/arch/x86/xstate.rst of Linux
    return int(ctypes.CDLL(None).syscall(arch_prctl, request, tile_data)) == 0


@dataclass(frozen=True, slots=True)
class Cache:
    """A cache of data: its bytes, in how many places of it a line may lie, and how many CPUs share it."""

    bytes: int
    ways: int
    shared: int = 1


def caches(folder: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> dict[int, Cache]:
    """The caches of data of the first CPU, by level; those that the system does not describe are missing."""
    found = {}
    for entry in sorted(folder.glob("index*")):
        try:
            level, kind, size, ways, sharing = (
                (entry / name).read_text().strip()
                for name in ("level", "type", "size", "ways_of_associativity", "shared_cpu_list")
            )
            if kind != "Instruction" and size.endswith("K"):
                found[int(level)] = Cache(int(size[:-1]) << 10, int(ways), _count(sharing))
        except (OSError, ValueError):
            continue
    return {level: cache for level, cache in found.items() if cache.bytes > 0 and cache.ways > 0}


def _count(cpus: str) -> int:
    """How many CPUs are in a list such as "0-3,8"."""
    bounds = (part.partition("-") for part in cpus.split(","))
    return sum(int(last or first) - int(first) + 1 for first, _, last in bounds)


def affinity() -> frozenset[int]:
    """The numbers of the CPUs that this process may run on; all where the system has no affinity."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def usable() -> int:
    """How many CPUs this process may keep busy: affinity, then the quota of its control group; at least 1."""
    count = len(affinity())
    quota = cgroup_quota()
    if quota is not None:
        count = min(count, int(quota + 0.5))
    return max(count, 1)


_CPUS = Path("/sys/devices/system/cpu")


def cores(numbers: Iterable[int], folder: Path = _CPUS) -> int | None:
    """How many cores these CPUs are, of which some may be two threads of one; None where the system does not tell."""
    siblings = {_told(folder / f"cpu{number}/topology/thread_siblings_list") for number in numbers}
    return None if "" in siblings else len(siblings)


def governors(numbers: Iterable[int], folder: Path = _CPUS) -> frozenset[str]:
    """What decides the frequencies of these CPUs, such as `performance`; empty where the system does not tell."""
    return frozenset(_told(folder / f"cpu{number}/cpufreq/scaling_governor") for number in numbers) - {""}


def huge_pages(file: Path = Path("/sys/kernel/mm/transparent_hugepage/enabled")) -> str:
    """Who gets huge pages unasked: `always`, `madvise` (who asks for them) or `never`; "" where it is not told."""
    return _told(file).partition("[")[2].partition("]")[0]


def _told(file: Path) -> str:
    """The line that a file of the system holds; "" where there is none."""
    try:
        return file.read_text().strip()
    except (OSError, ValueError):
        return ""


def cgroup_quota(root: Path = Path("/sys/fs/cgroup"), self_cgroup: Path = Path("/proc/self/cgroup")) -> float | None:
    """CPUs that the process's control group and its ancestors allow (version 2 or 1), None without a limit.

    In a container the group's own path usually is not visible below `root`, and `root` is the group itself.
    """
    try:
        lines = self_cgroup.read_text().splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root if not controllers else next((p for p in (root / controllers, root / "cpu") if p.is_dir()), root)
        folder = base / path.lstrip("/")
        while True:
            limit = _quota_v1(folder) if controllers else _quota_v2(folder)
            if limit is not None:
                limits.append(limit)
            if folder == base or base not in folder.parents:
                break
            folder = folder.parent
    return min(limits, default=None)


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
