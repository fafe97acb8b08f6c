"""The providers a session is asked for, checked as onnxruntime checks them.

In: the `providers` and `provider_options` arguments. Out: the providers the session has, in order, CPU always last.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from . import gpu
from .errors import EPFail
from .names import AVAILABLE, CPU, CUDA, KNOWN
from .options import check_sequence


def get_all_providers() -> list[str]:
    """Every provider name that onnxruntime knows, best first."""
    return list(KNOWN)


def get_available_providers() -> list[str]:
    """The providers that sessions can have on this machine, best first."""
    return [CUDA, *AVAILABLE] if gpu.present() else list(AVAILABLE)


def normalize(providers: object, provider_options: object, available: Sequence[str]) -> dict[str, dict[str, str]]:
    """Provider name -> options, in the order given.

    Raises onnxruntime's ValueErrors for malformed arguments; warns, as it does, for names that are not available and
    for duplicates.
    """
    if providers is None:
        return {}
    names = check_sequence(providers, "providers")
    if provider_options is not None:
        options = check_sequence(provider_options, "provider_options")
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
    """What the provider's options mean for the compiler (`compiler.options.Options`), given its target so far.

    Raises EPFail for a device that is not there. use_tf32 is 1 where it is not given, as with onnxruntime.
    """
    there, number = gpu.present(), int(options.get("device_id", "0"))
    if number >= len(there):
        raise EPFail(f"CUDA failure 101: invalid device ordinal: device_id is {number}, GPUs there are {len(there)}.")
    hosts = [part for part in target.split(",") if part and ":" not in part and part != "native"]
    settings: dict[str, Any] = {"target": ",".join([*hosts, there[number]])}
    if options.get("use_tf32", "1") != "0":
        settings["allow_tf32"] = True
    return settings
