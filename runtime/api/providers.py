"""The providers a session is asked for, checked as onnxruntime checks them.

In: the `providers` and `provider_options` arguments. Out: the providers the session has, in order, CPU always last.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..device import gpu
from ..errors import Fail
from ..provider_names import AVAILABLE, CPU, CUDA, KNOWN


def get_all_providers() -> list[str]:
    """Every provider name that onnxruntime knows, best first."""
    return list(KNOWN)


def get_available_providers() -> list[str]:
    """The providers that sessions can have on this machine, best first."""
    return [CUDA, *AVAILABLE] if gpu.present() else list(AVAILABLE)


def get_device() -> str:
    """The best kind of device that sessions can run on here: "GPU" or "CPU"."""
    return "GPU" if gpu.present() else "CPU"


def normalize(providers: object, provider_options: object, available: Sequence[str]) -> dict[str, dict[str, str]]:
    """Provider name -> options, in the order given.

    Raises onnxruntime's ValueErrors for malformed arguments; warns, as it does, for names that are not available and
    for duplicates.
    """
    if providers is None:
        return {}
    names = _sequence(providers, "providers")
    if provider_options is not None:
        options = _sequence(provider_options, "provider_options")
        if len(names) != len(options):
            raise ValueError("'providers' and 'provider_options' should be the same length if both are given.")
        if not all(isinstance(name, str) for name in names):
            raise ValueError("Only string values for 'providers' are supported if 'provider_options' is given.")
        if not all(isinstance(each, dict) for each in options):
            raise ValueError("'provider_options' values must be dicts.")
        pairs = list(zip(names, options))
    else:
        pairs = [_pair(value) for value in names]
    result: dict[str, dict[str, str]] = {}
    for name, each in pairs:
        if name not in available:
            warnings.warn(  # the missing space is onnxruntime's; people match on the text
                f"Specified provider '{name}' is not in available provider names."
                f"Available providers: '{', '.join(available)}'",
                stacklevel=5,
            )
        if name in result:
            warnings.warn(f"Duplicate provider '{name}' encountered, ignoring.", stacklevel=5)
            continue
        result[name] = {str(key): str(value) for key, value in each.items()}
    return result


def _sequence(value: object, what: str) -> Sequence[Any]:
    """`value`, if it is a sequence; onnxruntime's ValueError otherwise."""
    if not isinstance(value, Sequence):
        raise ValueError(f"'{what}' should be a sequence.")
    return value


def _pair(value: Any) -> tuple[str, dict[Any, Any]]:
    if isinstance(value, str):
        return value, {}
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict):
        return value[0], value[1]
    raise ValueError("'providers' values must be either strings or (string, dict) tuples.")


def choose(providers: object, provider_options: object) -> tuple[list[str], dict[str, dict[str, str]]]:
    """The providers that are named, and the session's with their options, which leaves out those that onnxruntime knows
    and this build lacks.

    Raises ValueError and RuntimeError for arguments that make no sense.
    """
    available = get_available_providers()
    wanted = normalize(providers, provider_options, available)
    for name in wanted:
        if name not in KNOWN:
            raise RuntimeError(f"Unknown Provider Type: {name}")
    chosen = {name: options for name, options in wanted.items() if name in available}
    if CUDA in chosen:
        chosen[CUDA] = cuda_options(chosen[CUDA])
    # The CPU in the place it was given, else at the end; onnxruntime reports no options of it.
    return list(wanted), {**chosen, CPU: {}}


def gpu_options(chosen: Mapping[str, Mapping[str, str]]) -> dict[str, str] | None:
    """The options of the GPU's provider where it comes before the CPU's; None where the CPU takes all."""
    for name, options in chosen.items():
        if name == CUDA:
            return dict(options)
        if name == CPU:
            break
    return None


def gpu_settings(options: Mapping[str, str], target: str) -> dict[str, Any]:
    """What the provider's options, all of them, mean for the compiler (`compiler.options.Options`), given its target so
    far."""
    hosts = [part for part in target.split(",") if part and ":" not in part and part != "native"]
    settings: dict[str, Any] = {"target": ",".join([*hosts, gpu.present()[int(options["device_id"])]])}
    if options["use_tf32"] == "1":
        settings["allow_tf32"] = True
    return settings


def _truth(value: str) -> str:
    if value not in ("0", "1", "false", "true", "False", "True"):
        raise ValueError(f'Failed to parse value: "{value}"')
    return "01"[value in ("1", "true", "True")]


def _number(value: str) -> str:
    try:
        return str(int(value))
    except ValueError:
        raise ValueError(f'Failed to parse value: "{value}"') from None


def _one_of(*names: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in names:
            raise ValueError(f"Failed to map enum name to value: {value}")
        return value

    return parse


def _device(value: str) -> str:
    number, there = _number(value), len(gpu.present())
    if not 0 <= int(number) < there:
        raise ValueError(f"Invalid device ID: {number}, must be between 0 (inclusive) and {there} (exclusive).")
    return number


# What onnxruntime's provider knows: how a value is read, and the default. Three have a meaning here: the device, TF32,
# and graphs, which are on (runs are captured whatever memory they use). The others are about onnxruntime's kernels.
_CUDA_OPTIONS: dict[str, tuple[Callable[[str], str], str]] = {
    "device_id": (_device, "0"),
    "use_tf32": (_truth, "1"),
    "enable_cuda_graph": (_truth, "1"),
    "gpu_mem_limit": (_number, str((1 << 64) - 1)),
    "arena_extend_strategy": (_one_of("kNextPowerOfTwo", "kSameAsRequested"), "kNextPowerOfTwo"),
    "cudnn_conv_algo_search": (_one_of("EXHAUSTIVE", "HEURISTIC", "DEFAULT"), "EXHAUSTIVE"),
    "do_copy_in_default_stream": (_truth, "1"),
    "has_user_compute_stream": (_truth, "0"),
    "user_compute_stream": (_number, "0"),
    "gpu_external_alloc": (_number, "0"),
    "gpu_external_free": (_number, "0"),
    "gpu_external_empty_cache": (_number, "0"),
    "cudnn_conv_use_max_workspace": (_truth, "1"),
    "cudnn_conv1d_pad_to_nc1d": (_truth, "0"),
    "enable_cudnn": (_truth, "1"),
    "tunable_op_enable": (_truth, "0"),
    "tunable_op_tuning_enable": (_truth, "0"),
    "tunable_op_max_tuning_duration_ms": (_number, "0"),
    "enable_skip_layer_norm_strict_mode": (_truth, "0"),
    "prefer_nhwc": (_truth, "0"),
    "use_ep_level_unified_stream": (_truth, "0"),
    "fuse_conv_bias": (_truth, "0"),
    "sdpa_kernel": (_number, "0"),
}


def cuda_options(given: Mapping[str, str]) -> dict[str, str]:
    """All options of the GPU's provider, those that are not given with their defaults.

    Raises RuntimeError, with onnxruntime's text, for what it does not know.
    """
    options = {name: default for name, (_, default) in _CUDA_OPTIONS.items()}
    for name, value in given.items():
        if name not in _CUDA_OPTIONS:
            raise RuntimeError(str(Fail(f'Unknown provider option: "{name}".')))
        try:
            options[name] = _CUDA_OPTIONS[name][0](value)
        except ValueError as error:
            raise RuntimeError(str(Fail(f'Failed to parse provider option "{name}": {error}'))) from None
    options["has_user_compute_stream"] = "01"[options["user_compute_stream"] != "0"]
    return options
