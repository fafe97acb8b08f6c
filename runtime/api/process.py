"""Functions of the whole process: what this build is, and settings that onnxruntime has and this runtime needs not."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from .. import VERSION, cpus
from ..errors import Fail
from ..values.devices import OrtArenaCfg, OrtMemoryInfo


def get_build_info() -> str:
    return f"ORT Build Info: Intaglio {VERSION}, {cpus.architecture()}, Python {platform.python_version()}"


def create_and_register_allocator(memory_info: OrtMemoryInfo, arena_cfg: OrtArenaCfg | None) -> None:
    """Accepted; all sessions use the memory of the process."""


def create_and_register_allocator_v2(
    provider_type: str, memory_info: OrtMemoryInfo, options: Mapping[str, str], arena_cfg: OrtArenaCfg | None
) -> None:
    """See create_and_register_allocator."""


def enable_telemetry_events() -> None:
    """Accepted; nothing is ever sent anywhere."""


def disable_telemetry_events() -> None:
    """Accepted; nothing is ever sent anywhere."""


def has_collective_ops() -> bool:
    """Whether models can be spread over processes: no."""
    return False


def preload_dlls(cuda: bool = True, cudnn: bool = True, msvc: bool = True, directory: Any = None) -> None:
    """Accepted; this build needs no libraries of a GPU."""


def print_debug_info() -> None:
    """Prints what a report of an error should tell."""
    print(f"Intaglio {VERSION}\nPlatform: {platform.platform()}\nPython: {platform.python_version()}")
    print(f"CPU: {cpus.architecture()}, {cpus.vendor()}, {cpus.usable()} usable")


def register_execution_provider_library(registration_name: str, library_path: str) -> None:
    """Raises Fail: execution providers of onnxruntime's cannot be loaded."""
    raise Fail(f"Failed to load library {library_path} with error: Intaglio has no execution provider libraries")


def unregister_execution_provider_library(registration_name: str) -> None:
    """Raises Fail: none was registered."""
    raise Fail(f"Execution provider library: {registration_name} was not registered.")
