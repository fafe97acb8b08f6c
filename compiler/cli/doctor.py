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

from ...runtime import cpus, variables
from ...runtime.api.options import SessionOptions
from ...runtime.device import cuda, gpu
from ...runtime.errors import Status
from ...runtime.store import cache
from ..codegen.c import build, toolchain
from ..target import target

_PACKAGES = ("intaglio", "numpy", "onnx", "jinja2", "ml_dtypes")
_PROBE = '__attribute__((visibility("default"))) int intaglio_probe(int a) { return a + 1; }\n'


@dataclass(frozen=True)
class Finding:
    """One line of the report. ok: None where nothing can be wrong."""

    topic: str
    text: str
    ok: bool | None = None


def examine() -> list[Finding]:
    """Examines everything that decides whether, and how fast, models compile and run here."""
    checks: dict[str, Callable[[], list[Finding]]] = {
        "software": _software,
        "cpu": _cpu,
        "threads": _threads,
        "compiler": _compiler,
        "cache": _cache,
        "environment": _environment,
        "gpu": _gpu,
    }
    findings = []
    for topic, check in checks.items():
        try:
            findings += check()
        except Exception as error:  # a broken machine is what this command is for
            findings.append(Finding(topic, str(getattr(error, "text", error)), False))
    return findings


def version(package: str) -> str:
    """The installed version of a package, or "(not installed)"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


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
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = cpus.cgroup_quota()
    limit = "no quota" if quota is None else f"a quota of {quota:g} CPUs"
    return [
        Finding(
            "threads",
            f"{SessionOptions().threads()} by default ({os.cpu_count()} CPUs, affinity to {affinity}, cgroup: {limit})",
        )
    ]


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
    return [Finding("cache", f"{folder}: can be written, {len(entries)} compiled models, {size / 1e6:.1f} MB", True)]


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
