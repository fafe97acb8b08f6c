"""Options of a session and of a run, with onnxruntime's names, defaults and checks, and the environment variables.

Fields that have no meaning here (memory patterns, execution modes) are kept and otherwise ignored. What reaches the
compiler, and so is part of the cache key, is `SessionOptions.compiler_settings()`; `SessionOptions.given` is the data
that goes with it.
"""

from __future__ import annotations

import ctypes
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .. import cpus, variables
from ..dtypes import type_of_name
from ..enums import ExecutionMode, ExecutionOrder, GraphOptimizationLevel, OrtExecutionProviderDevicePolicy
from ..errors import Fail, InvalidArgument
from ..provider_names import CPU, KNOWN
from ..store import tuning
from ..values.value import OrtValue
from .providers import get_available_providers

if TYPE_CHECKING:
    from ...adapters import LoraAdapter
    from ..values.devices import OrtEpDevice

# Session entries of our own.
CHECK_DATA = "session.intaglio.check_data"  # "0": indices out of range are clamped, and no error
TUNING = "intaglio.tuning"  # "use" measured schedules, "off", or "search:60s": look for some first, once for each model
PRECISION = "intaglio.precision"  # of products of f32: "strict", "exact" (the default), "high" or "bf16"
TARGET = "session.intaglio.target"  # what to compile for, in the place of the variable INTAGLIO_TARGET


class _Checked:
    """Attributes are those of `_FIELDS`, each with the type of its default."""

    _FIELDS: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        for name, value in self._FIELDS.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_config", {})

    def __setattr__(self, name: str, value: object) -> None:
        if name not in self._FIELDS:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        object.__setattr__(self, name, _converted(type(self._FIELDS[name]), value, f"{type(self).__name__}.{name}"))

    def _add_config(self, method: str, key: str, value: str) -> None:
        key, value = _converted(str, key, method), _converted(str, value, method)
        if not key or len(key) > 1024:
            raise RuntimeError("Config key is empty or longer than maximum length 1024")
        self._config[key] = value

    def _get_config(self, key: str) -> str:
        if key not in self._config:
            raise RuntimeError(f"{type(self).__name__} does not have configuration with key: {key}")
        value: str = self._config[key]
        return value

    _config: dict[str, str]


def _converted(expected: type, value: Any, where: str) -> Any:
    """`value` as onnxruntime's binding takes it: integers of any kind, truth of anything but text. Raises TypeError."""
    if isinstance(value, expected) and not (expected is int and isinstance(value, bool)):
        return value
    if expected is int and hasattr(type(value), "__index__"):
        return operator.index(value)
    if expected is bool and (value is None or hasattr(type(value), "__bool__")):
        return bool(value)
    if expected is str and isinstance(value, bytes):
        return value.decode()
    raise TypeError(f"{where}(): incompatible function arguments: it takes {expected.__name__}, not {value!r}")


class SessionOptions(_Checked):
    """How a model is compiled and run. A session takes a copy: later changes have no effect on it."""

    _FIELDS: ClassVar[dict[str, Any]] = {
        "enable_cpu_mem_arena": True,
        "enable_mem_pattern": True,
        "enable_mem_reuse": True,
        "enable_profiling": False,
        "profile_file_prefix": "onnxruntime_profile_",
        "optimized_model_filepath": "",
        "execution_mode": ExecutionMode.ORT_SEQUENTIAL,
        "execution_order": ExecutionOrder.DEFAULT,
        "graph_optimization_level": GraphOptimizationLevel.ORT_ENABLE_ALL,
        "inter_op_num_threads": 0,
        "intra_op_num_threads": 0,
        "log_severity_level": -1,
        "log_verbosity_level": 0,
        "logid": "",
        "use_deterministic_compute": False,
        "use_per_session_threads": True,
    }
    intra_op_num_threads: int
    graph_optimization_level: GraphOptimizationLevel
    enable_profiling: bool
    profile_file_prefix: str

    enable_mem_pattern: bool
    log_severity_level: int
    logid: str
    optimized_model_filepath: str
    use_per_session_threads: bool

    def __init__(self) -> None:
        super().__init__()
        for name in ("_free_dimensions", "_initializers", "_files", "_providers", "_cancelled", "_operators"):
            object.__setattr__(self, name, {})

    _free_dimensions: dict[str, int]  # "name:batch" or "denotation:DATA_BATCH" -> size; the first value wins
    _initializers: dict[str, OrtValue]  # tensors to use in the place of the model's
    _files: dict[str, bytes]  # external data by location
    _providers: dict[str, dict[str, str]]
    _operators: dict[str, tuple[Callable[..., Any], tuple[tuple[str, int], ...]]]  # of Python, by "domain::name"
    _cancelled: dict[str, bool]  # {"flag": True}; shared by copies, so that loading can be cancelled from outside

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Raises RuntimeError for an empty or very long key."""
        self._add_config("add_session_config_entry", key, value)

    def get_session_config_entry(self, key: str) -> str:
        """Raises RuntimeError where it was not added."""
        return self._get_config(key)

    def add_free_dimension_override_by_name(self, name: str, size: int) -> None:
        """Compiles the model for this value of a named dimension."""
        self._override("name", name, size)

    def add_free_dimension_override_by_denotation(self, denotation: str, size: int) -> None:
        """Compiles the model for this value of the dimensions that the model denotes so, as in DATA_BATCH."""
        self._override("denotation", denotation, size)

    def _override(self, kind: str, name: str, size: int) -> None:
        where = f"add_free_dimension_override_by_{kind}"
        self._free_dimensions.setdefault(f"{kind}:{_converted(str, name, where)}", _converted(int, size, where))

    def add_initializer(self, name: str, ort_value: OrtValue) -> None:
        """A tensor to use in the place of the model's initializer of that name."""
        if not isinstance(ort_value, OrtValue):
            raise RuntimeError("The provided Python object must be an OrtValue")
        self._initializers[name] = ort_value

    def add_external_initializers(self, names: list[str], ort_values: list[OrtValue]) -> None:
        """Tensors to use in the place of initializers whose data the model keeps in files of its own."""
        if len(names) != len(ort_values):
            raise RuntimeError("Expecting names and ort_values lists to have equal length")
        for name, value in zip(names, ort_values):
            self._initializers[name] = value._ortvalue

    def add_external_initializers_from_files_in_memory(
        self, names: Sequence[str], buffers: Sequence[Any], lengths: Sequence[int]
    ) -> None:
        """The contents of the files that the model names as external data, by the names it has for them."""
        if not len(names) == len(buffers) == len(lengths):
            raise RuntimeError(
                "add_external_initializers_from_files_in_memory: expecting 'names', 'buffers' and 'lengths' to have "
                "equal length"
            )
        for name, buffer, length in zip(names, buffers, lengths):
            self._files[name] = bytes(memoryview(buffer).cast("B")[:length])

    def add_provider(self, name: str, options: Mapping[str, str]) -> None:
        """Adds an execution provider. Raises RuntimeError and InvalidArgument for what cannot be had here."""
        if name not in KNOWN:
            raise RuntimeError(f"Unknown Provider Type: {name}")
        if name not in get_available_providers():
            raise InvalidArgument(
                f"Failed to add provider of type '{name}' to SessionOptions. Provider configuration is not supported."
            )
        self._providers[name] = {str(key): str(value) for key, value in options.items()}

    def add_provider_for_devices(self, devices: Sequence[OrtEpDevice], options: Mapping[str, str]) -> None:
        for device in devices:
            self.add_provider(device.ep_name, options)

    def has_providers(self) -> bool:
        return bool(self._providers)

    def set_provider_selection_policy(self, policy: OrtExecutionProviderDevicePolicy) -> None:
        """Accepted; there is one device to select."""
        _converted(OrtExecutionProviderDevicePolicy, policy, "set_provider_selection_policy")
        self._providers.setdefault(CPU, {})

    def set_provider_selection_policy_delegate(self, delegate: Callable[..., Any]) -> None:
        """Accepted; there is one device to select."""
        self._providers.setdefault(CPU, {})

    def register_custom_ops_library(self, path: str) -> None:
        """Raises Fail: operators of shared libraries of onnxruntime's cannot be compiled."""
        if not os.path.exists(path):
            reason = f"{path}: cannot open shared object file: No such file or directory"
        else:
            reason = "Intaglio compiles operators from their definition, and cannot call onnxruntime's custom kernels"
        raise Fail(f"Failed to load library {path} with error: {reason}")

    def register_custom_op(
        self, domain: str, name: str, function: Callable[..., Any], outputs: Sequence[tuple[str, int]]
    ) -> None:
        """Lets models use an operator that is a Python function, of arrays by position and of the node's attributes by
        name, which returns an array, or a tuple of several. It has to return the same for the same arguments.

        outputs: the ONNX type and the rank of each, such as ("tensor(float)", 2). The model is compiled around it, and
        a compiled model needs it registered as well. This is Intaglio's own, beside onnxruntime's libraries."""
        for type, rank in outputs:
            if type_of_name(type) is None or rank < 0:
                raise InvalidArgument(f"{type} of rank {rank} is no tensor that an operator can return")
        self._operators[f"{domain}::{name}"] = function, tuple((type, int(rank)) for type, rank in outputs)

    def operators(self) -> dict[str, Callable[..., Any]]:
        """The registered functions, by "domain::name"."""
        return {name: function for name, (function, _) in self._operators.items()}

    def set_load_cancellation_flag(self, value: bool) -> None:
        """True ends the loading and compiling of sessions with these options, also in progress, with
        ModelLoadCanceled."""
        self._cancelled["flag"] = bool(value)

    def set_ep_context_data_read_func(self, read_func: Callable[..., Any], max_data_size: int) -> None:
        """Accepted; there are no models with contexts of execution providers here."""

    def clear_ep_context_data_read_func(self) -> None:
        """Accepted; see set_ep_context_data_read_func."""

    @property
    def cancelled(self) -> bool:
        return self._cancelled.get("flag", False)

    def config(self, key: str, default: str = "") -> str:
        """A configuration entry, or the default."""
        return self._config.get(key, default)

    def copied(self) -> SessionOptions:
        """An independent copy; what a session keeps."""
        other = SessionOptions()
        for name in self._FIELDS:
            object.__setattr__(other, name, getattr(self, name))
        for name in ("_config", "_free_dimensions", "_initializers", "_files", "_providers", "_operators"):
            object.__setattr__(other, name, dict(getattr(self, name)))
        object.__setattr__(other, "_cancelled", self._cancelled)
        return other

    def compiler_settings(self, model: str | bytes = b"") -> dict[str, Any]:
        """What of these options changes the compiled code, as keyword arguments of `compiler.options.Options`.

        model: its path, beside which measured schedules may be. Only what differs from the defaults, so that equal
        settings have equal cache keys.
        """
        settings: dict[str, Any] = {}
        if self.graph_optimization_level != GraphOptimizationLevel.ORT_ENABLE_ALL:
            settings["level"] = int(self.graph_optimization_level)
        if self._free_dimensions:
            settings["free_dimensions"] = tuple(sorted(self._free_dimensions.items()))
        if self.config(CHECK_DATA, "1") == "0":
            settings["check_data"] = False
        precision = self.config(PRECISION, "exact")
        if precision != "exact":
            settings["precision"] = precision
        target = self.config(TARGET) or variables.TARGET.text()
        if target:
            settings["target"] = target
        if (variables.VERIFY.value() or 0) > 1:
            settings["checked"] = True
        sanitize = variables.SANITIZE.text()
        if sanitize:
            settings["sanitize"] = sanitize
        folder = self._config.get("session.model_external_initializers_file_folder_path")
        if folder:
            settings["external_data_folder"] = folder
        if self._initializers or self._files:
            settings["given"] = (*_digests(self._initializers), *_digests(self._files))
        if self._operators:
            settings["operators"] = tuple(sorted((name, outputs) for name, (_, outputs) in self._operators.items()))
        measured = tuning.state(tuning.files(model)) if self.config(TUNING, "use") != "off" else ()
        if measured:
            settings["tuning"] = measured
        return settings

    def search_seconds(self) -> float:
        """How long to look for faster schedules before the model is loaded; 0 for not at all. Raises InvalidArgument
        for an entry that says neither that, "use" nor "off"."""
        text = self.config(TUNING, "use")
        if text in ("use", "off"):
            return 0.0
        kind, _, time = text.partition(":")
        number, unit = time[:-1], {"s": 1, "m": 60, "h": 3600}.get(time[-1:])
        if kind != "search" or not unit or not number.isdecimal() or int(number) == 0:
            raise InvalidArgument(f'{TUNING} is "use", "off", or a time as in "search:60s", not {text!r}')
        return float(int(number) * unit)

    @property
    def given(self) -> dict[str, Any]:
        """The data behind the setting "given": arrays by name of the initializer, bytes by location of the file."""
        return {**{name: value.numpy() for name, value in self._initializers.items()}, **self._files}

    def threads(self) -> int:
        """How many threads one run may use: the option, the environment, or all CPUs this process may use.

        Raises RuntimeError or InvalidArgument for variables that are no numbers.
        """
        if not self.use_per_session_threads and global_threads:
            return global_threads[0] or cpus.usable()
        wanted = self.intra_op_num_threads or _config_int(self._config.get("session.intra_op_num_threads", ""))
        if wanted > 0:
            return wanted
        return variables.NUM_THREADS.value() or _onnxruntime_threads() or cpus.usable()

    def negative_dimensions(self) -> dict[Any, int]:
        """Named dimensions that are overridden by no size: onnxruntime shows the number, and checks nothing."""
        return {key[5:]: size for key, size in self._free_dimensions.items() if size < 0 and key.startswith("name:")}

    def check(self, cpu_chosen: bool) -> None:
        """Raises what onnxruntime raises for options that a session cannot have. cpu_chosen: by name."""
        if self.use_per_session_threads and global_threads:
            raise RuntimeError("use_per_session_threads must be false when using a global thread pool")
        if not self.use_per_session_threads and not global_threads:
            raise RuntimeError(
                "When the session is not configured to use per session threadpools, the env must be created with the "
                "the CreateEnvWithGlobalThreadPools API."
            )
        if self.config("session.disable_cpu_ep_fallback") == "1":
            if cpu_chosen:
                raise InvalidArgument(
                    "Conflicting session configuration: explicitly added the CPU EP to the session, but also disabled "
                    "fallback to the CPU EP via session configuration options."
                )
            raise Fail(
                "This session contains graph nodes that are assigned to the default CPU EP, but fallback to CPU EP has "
                "been explicitly disabled by the user."
            )
        self.affinities()

    def affinities(self) -> list[list[int]]:
        """The CPUs, from 0, that each thread of the pool may run on; empty where that is left to the system.

        Raises RuntimeError for what is no list of CPUs, or not one for each thread but the caller's.
        """
        text = self._config.get("session.intra_op_thread_affinities")
        if text is None:
            return []
        if not text:
            raise RuntimeError("Affinity string must not be empty")
        sets = [_processors(each) for each in text.split(";") if each]
        if self.intra_op_num_threads > 1 and len(sets) != self.intra_op_num_threads - 1:
            raise RuntimeError(
                f"Number of affinities does not equal to thread_pool_size minus one, affinities: {len(sets)}, "
                f"thread_pool_size: {self.intra_op_num_threads}"
            )
        return sets

    def float_flags(self) -> int:
        """INTAGLIO_FLUSH_DENORMALS of runtime_abi.h, when asked for."""
        return 1 if self._config.get("session.set_denormal_as_zero") == "1" else 0


class RunOptions(_Checked):
    """Options of one run. `terminate` may be set from another thread while the run is in progress."""

    _FIELDS: ClassVar[dict[str, Any]] = {
        "log_severity_level": -1,
        "log_verbosity_level": 0,
        "logid": "",
        "only_execute_path_to_fetches": False,
    }

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "_terminate", ctypes.c_int32(0))
        object.__setattr__(self, "_adapters", [])

    _terminate: ctypes.c_int32  # the running program looks at it
    _adapters: list[LoraAdapter]
    log_severity_level: int
    logid: str

    @property
    def terminate(self) -> bool:
        return bool(self._terminate.value)

    @property
    def shrinks_memory(self) -> bool:
        """Whether memory is given back to the system after the run."""
        return bool(self._config.get("memory.enable_memory_arena_shrinkage"))

    def check(self) -> None:
        """Raises InvalidArgument for entries that onnxruntime refuses when a run begins."""
        if not self._config:
            return
        for device in self._config.get("memory.enable_memory_arena_shrinkage", "").split(";"):
            kind, _, number = device.partition(":")
            if device and kind not in ("cpu", "gpu"):
                raise InvalidArgument(f"Unsupported device specified in the memory arena shrink list: {kind}")
            if kind == "cpu" and number not in ("", "0"):
                raise InvalidArgument(
                    "Did not find an arena based allocator registered for device-id combination in the memory arena "
                    f"shrink list: {device}"
                )
        graph = self._config.get("gpu_graph_id", "0")
        if not graph.lstrip("-").isdigit():
            raise InvalidArgument(f"Failed to parse the cuda graph annotation id: {graph}")

    @property
    def terminate_address(self) -> int:
        """Where the flag is, for a running program to look at."""
        return ctypes.addressof(self._terminate)

    def __setattr__(self, name: str, value: object) -> None:
        if name != "terminate":
            super().__setattr__(name, value)
        else:
            self._terminate.value = _converted(bool, value, "RunOptions.terminate")

    def add_active_adapter(self, adapter: LoraAdapter) -> None:
        """Feeds the tensors of the adapter in each `run` and `run_with_ort_values` with these options; other ways to
        run do not look at it, as with onnxruntime."""
        if not hasattr(adapter, "Load"):
            raise TypeError(
                "add_active_adapter(): incompatible function arguments: it takes a LoraAdapter, not "
                f"{type(adapter).__name__}"
            )
        self._adapters.append(adapter)

    @property
    def adapted(self) -> dict[str, OrtValue]:
        """What the adapters feed."""
        return {name: value for adapter in self._adapters for name, value in adapter.values().items()}

    def add_run_config_entry(self, key: str, value: str) -> None:
        self._add_config("add_run_config_entry", key, value)

    def get_run_config_entry(self, key: str) -> str:
        return self._get_config(key)


global_threads: list[int] = []  # what set_global_thread_pool_sizes was told, once


def set_global_thread_pool_sizes(intra_op_num_threads: int = 0, inter_op_num_threads: int = 0) -> None:
    """The number of threads for sessions with `use_per_session_threads=False`; 0: all CPUs. Raises Fail twice."""
    if global_threads:
        raise Fail("Global thread pools have already been created, cannot replace them")
    global_threads.append(int(intra_op_num_threads))


def _processors(text: str) -> list[int]:
    """The CPUs, from 0, of `1,2` or of `1-4`, which count from 1. Raises RuntimeError."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        ends = [first, last] if dash else [first]
        for end in ends:
            if not end.isdigit():
                raise RuntimeError(f"Processor id must consist of only digits: {part}")
            if int(end) == 0:
                raise RuntimeError(f"Processor id must start from 1: {part}")
        numbers = [int(end) for end in ends]
        if numbers[0] > numbers[-1]:
            raise RuntimeError(f"Invalid processor interval: {part}")
        found += range(numbers[0] - 1, numbers[-1])
    return found


def _onnxruntime_threads() -> int:
    text = variables.ORT_THREADS.text()
    try:
        return int(text or 0)
    except ValueError:
        reason = f'Failed to parse environment variable - name: "{variables.ORT_THREADS.name}", value: "{text}"'
        raise RuntimeError(reason) from None


def _config_int(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _digests(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and digest of each, for the cache key."""
    import hashlib  # takes 3 ms

    result = []
    for name, value in sorted(data.items()):
        array = value.numpy() if isinstance(value, OrtValue) else None
        head = f"{value.data_type()}{value.shape()}" if isinstance(value, OrtValue) else ""
        content = hashlib.sha256(head.encode() + (value if array is None else array.tobytes()))
        result.append((name, content.hexdigest()[:32]))
    return result
