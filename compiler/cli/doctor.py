"""`intaglio doctor`: the properties of this machine, and whether models can be compiled and run on it.

In: the machine and the environment. Out: `Finding`s. It must not change anything but the cache folder, and returns
findings whatever is broken.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...runtime import cpus, variables
from ...runtime.api.options import SessionOptions
from ...runtime.device import cuda, gpu
from ...runtime.errors import Status
from ...runtime.store import cache
from ..codegen.c import build, toolchain
from ..driver import Progress, silent
from ..tables import megabytes
from ..target import target

_PACKAGES = ("intaglio", "numpy", "onnx", "jinja2", "ml_dtypes")
NOT_INSTALLED = "(not installed)"
_OPENMP = ("torch", "scikit-learn", "faiss-cpu", "lightgbm", "xgboost")  # packages that bring a pool of OpenMP along
_ROOM = 1 << 30  # bytes for models, below which few fit
_PROBE = '__attribute__((visibility("default"))) int intaglio_probe(int a) { return a + 1; }\n'


@dataclass(frozen=True)
class Finding:
    """One line of the report. ok: whether it works, None where nothing can be wrong; a remedy with None is of what only
    makes models slower."""

    topic: str
    text: str
    ok: bool | None = None
    remedy: str = ""

    @property
    def mark(self) -> str:
        """What stands beside it, for people."""
        return {True: "ok", False: "NOT OK", None: "advice" if self.remedy else ""}[self.ok]


def examine(progress: Progress = silent) -> list[Finding]:
    """Examines everything that decides whether, and how fast, models compile and run here."""
    checks: dict[str, Callable[[], list[Finding]]] = {
        "software": _software,
        "cpu": _cpu,
        "threads": _threads,
        "clock": _clock,
        "memory": _memory,
        "pools": _pools,
        "compiler": _compiler,
        "cache": _cache,
        "environment": _environment,
        "gpu": _gpu,
    }
    findings = []
    for topic, check in checks.items():
        progress(topic)
        try:
            findings += check()
        except Exception as error:  # a broken machine is what this command is for
            findings.append(Finding(topic, str(getattr(error, "text", error)), False))
    return findings


def version(package: str) -> str:
    """The installed version of a package, or NOT_INSTALLED."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return NOT_INSTALLED


def _software() -> list[Finding]:
    versions = " ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return [Finding("software", f"{versions}, Python {platform.python_version()}, {platform.platform()}")]


def _cpu() -> list[Finding]:
    best = target()
    features = " ".join(best.extras)
    text = f"{cpus.model_name()}: target {best.name}, vectors of {best.vector_bytes} bytes, {best.registers} registers"
    sizes = ", ".join(f"{cache.bytes >> 10} KiB" for cache in (best.l1, best.l2, best.l3))
    found = [Finding("cpu", f"{text}{', ' + features if features else ''}, caches of {sizes}")]
    permitted = cpus.tiles_permitted()
    if permitted:
        found.append(Finding("tiles", "products of float32, bfloat16 and bytes use the matrix unit (AMX)", True))
    elif permitted is not None:
        remedy = "Linux 5.16, and a sandbox that allows arch_prctl, would permit it"
        found.append(Finding("tiles", f"the system permits no use of the matrix unit (AMX): {remedy}", False))
    return found


def _threads() -> list[Finding]:
    threads, numbers, quota = SessionOptions().threads(), cpus.affinity(), cpus.cgroup_quota()
    cores = cpus.cores(numbers)
    limit = "no quota" if quota is None else f"a quota of {quota:g} CPUs"
    counted = "" if cores is None else f" of {cores} cores"
    text = f"{threads} by default ({os.cpu_count()} CPUs, affinity to {len(numbers)}{counted}, cgroup: {limit})"
    found = [Finding("threads", text)]
    if quota is not None and quota < threads:
        text = f"{threads} threads use up the quota of {quota:g} CPUs before its period ends, and all wait for the next"
        found.append(Finding("quota", text, None, f"INTAGLIO_NUM_THREADS={max(1, int(quota))}, or a larger quota"))
    if cores is not None and cores < threads:
        text = f"{threads} threads share {cores} cores, and the units of these"
        found.append(Finding("cores", text, None, f"INTAGLIO_NUM_THREADS={cores}, if that is faster"))
    return found


def _clock() -> list[Finding]:
    """Whether the CPUs are fast at once when a run begins."""
    governors = cpus.governors(cpus.affinity())
    slow = ", ".join(sorted(governors - {"performance"}))
    if slow:
        remedy = "`cpupower frequency-set -g performance`, where latency counts"
        return [Finding("clock", f"the governor {slow} lets idle CPUs slow down", None, remedy)]
    return [Finding("clock", "the governor is performance", True)] if governors else []


def _memory() -> list[Finding]:
    enabled = cpus.huge_pages()
    if enabled == "always":
        return [Finding("memory", "huge pages for all large blocks", True)]
    if enabled == "madvise":
        remedy = "GLIBC_TUNABLES=glibc.malloc.hugetlb=1 asks for them, in programs with glibc 2.35 or newer"
        return [Finding("memory", "huge pages only for programs that ask for them", None, remedy)]
    remedy = "`echo madvise > /sys/kernel/mm/transparent_hugepage/enabled`, and GLIBC_TUNABLES=glibc.malloc.hugetlb=1"
    return [Finding("memory", "no huge pages", None, remedy)] if enabled else []


def _pools() -> list[Finding]:
    """Threads of other libraries that poll beside ours while they have nothing to do."""
    found = []
    polling = [each for each in (variables.KMP_BLOCKTIME, variables.GOMP_SPINCOUNT) if each.text() not in (None, "0")]
    policy = (variables.OMP_WAIT_POLICY.text() or "").lower()
    if policy == "active":
        polling.append(variables.OMP_WAIT_POLICY)
    libraries = ", ".join(name for name in _OPENMP if version(name) != NOT_INSTALLED)
    if polling or (libraries and policy != "passive"):
        who = " ".join(f"{each.name}={each.text()}" for each in polling) or libraries
        text = f"idle threads of OpenMP poll ({who}), and take CPUs from a run that follows"
        found.append(Finding("openmp", text, None, "OMP_WAIT_POLICY=passive"))
    threads = variables.OPENBLAS_NUM_THREADS.text() or str(cpus.usable())
    if threads != "1" and "openblas" in _blas():
        text = f"{threads} threads of numpy's OpenBLAS poll for a moment after each product of numpy"
        found.append(Finding("openblas", text, None, "OPENBLAS_NUM_THREADS=1, where numpy multiplies between runs"))
    return found


def _blas() -> str:
    """The name of numpy's library of products."""
    return str(np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"])


def _compiler() -> list[Finding]:
    """Whether the C compiler works: compiles a function, as models are compiled, and calls it."""
    folder = cache.root()
    compiler = toolchain.find(folder)
    with tempfile.TemporaryDirectory(prefix="intaglio-doctor-") as name:
        library = Path(name, "probe.so")
        start = time.perf_counter()
        build.build([build.Source("probe", _PROBE)], library, compiler, target(), Path(name, "objects"))
        seconds = time.perf_counter() - start
        answer = ctypes.CDLL(str(library)).intaglio_probe(41)
    command = " ".join(compiler.command)
    if answer != 42:
        return [Finding("compiler", f"{command} makes wrong code; name another in INTAGLIO_CC", False)]
    return [Finding("compiler", f"{command} works (compiled and loaded a function in {seconds:.2f} s)", True)]


def _cache() -> list[Finding]:
    folder = cache.root()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder):
        pass
    entries = cache.entries(folder)
    size = sum(entry.bytes for entry in entries)
    written = f"{folder}: can be written, {len(entries)} compiled models, {megabytes(size)}"
    found = [Finding("cache", written, True)]
    system = os.statvfs(folder)
    room = min(system.f_bavail * system.f_frsize, cache.most_bytes())
    if room < _ROOM:
        text = f"room for {megabytes(room)} of models, and each is as large as its weights"
        found.append(
            Finding("room", text, None, "INTAGLIO_CACHE_DIR names another folder, INTAGLIO_CACHE_SIZE its size")
        )
    if system.f_flag & getattr(os, "ST_NOEXEC", 0):
        text = "no code may be run from there (noexec): each process keeps a copy of a model's code in its memory"
        found.append(Finding("code", text, None, "INTAGLIO_CACHE_DIR in a file system that is mounted without noexec"))
    return found


def _environment() -> list[Finding]:
    text = " ".join(f"{each.name}={each.text()}" for each in variables.VARIABLES if each.text())
    return [Finding("environment", text or "no variables are set that change anything")]


def _gpu() -> list[Finding]:
    """The GPUs, which are optional, and whether kernels can be built for them."""
    builds = f"triton {version('triton')}" if version("triton")[0].isdigit() else "no triton: no kernels can be built"
    if gpu.interpreted():
        return [Finding("gpu", f"Triton's interpreter stands in for one (TRITON_INTERPRET=1); {builds}")]
    try:
        gpus = ", ".join(cuda.names()) or "none"
    except Status as error:
        gpus = f"none: {error.text}"
    return [Finding("gpu", f"{gpus}; {builds}")]
