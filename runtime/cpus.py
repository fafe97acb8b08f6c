"""The processor of this machine: which instructions it has, and how many CPUs this process may use.

It must never start a process or load a library: both are asked on every warm start.
"""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from pathlib import Path


@cache
def architecture() -> str:
    """`x86_64`, `aarch64`, ..."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


@cache
def features() -> frozenset[str]:
    """Names of the CPU's instruction set extensions as Linux spells them (`avx2`, `avx512f`, `asimd`).

    Empty where the system does not tell; artifacts that need features are then not refused.
    """
    if sys.platform != "linux":
        return frozenset()
    try:
        with open("/proc/cpuinfo", "rb") as file:
            text = file.read(16384)  # the first CPU's block; the whole file takes long where there are many
    except OSError:
        return frozenset()
    for line in text.decode("latin-1").split("\n"):
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


@cache
def vendor() -> str:
    """Who made the CPU, `AMD` or `Intel`, else as Linux names it; empty where unknown."""
    try:
        with open("/proc/cpuinfo", "rb") as file:
            text = file.read(16384).decode("latin-1")
    except OSError:
        return ""
    names = {"AuthenticAMD": "AMD", "GenuineIntel": "Intel"}
    found = next((line.partition(":")[2].strip() for line in text.split("\n") if line.startswith("vendor_id")), "")
    return names.get(found, found)


def usable() -> int:
    """How many CPUs this process may keep busy: affinity, then the quota of its control group; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = cgroup_quota()
    if quota is not None:
        count = min(count, int(quota + 0.5))
    return max(count, 1)


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
