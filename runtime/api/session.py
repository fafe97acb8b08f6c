"""`InferenceSession`: onnxruntime's interface to a compiled model.

In: an ONNX model (path or bytes) or a compiled artifact; then feeds. Out: lists of new arrays. Sessions are stateless:
`run` may be called from any number of threads at once.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from .. import log
from ..device import gpu
from ..device.memory import Memory, Tensor
from ..enums import OrtDeviceVendorId
from ..errors import Fail, InvalidArgument, Status
from ..provider_names import CPU
from ..run import background, feeds, program
from ..run.executable import Executable
from ..run.profiler import Profiler
from ..store import artifact
from ..values.devices import OrtDevice, OrtEpDevice, OrtMemoryInfo, cpu_memory, get_ep_devices, gpu_memory
from ..values.value import OrtValue, OrtValueVector
from . import configuration, providers, tuning_results
from .binding import IOBinding, SessionIOBinding
from .load import AS_IT_IS, Interface, in_turn, load, write_optimized
from .metadata import ModelMetadata, NodeArg, OrtEpAssignedSubgraph
from .options import RunOptions, SessionOptions

Array = np.ndarray[Any, Any]
Callback = Callable[[list[Any], Any, str], object]


class Session:
    """What every session can do; `InferenceSession` makes one."""

    def __init__(self, enable_fallback: bool = True):
        self._enable_fallback = enable_fallback

    _model_path: str | None
    _model_bytes: bytes | None
    _sess_options: SessionOptions
    _providers: list[str]
    _provider_options: dict[str, dict[str, str]]
    _profiler: Profiler | None

    def _load(self) -> None:
        options = self._sess_options
        self._profiler = Profiler(options.profile_file_prefix) if options.enable_profiling else None
        start = self._profiler.now() if self._profiler else 0
        with in_turn():
            self._main: Executable | None = self._executable()
        if affinities := options.affinities():
            program.pin(affinities)
        self._variants: dict[Interface, Executable] = {}
        self._lock = threading.RLock()  # the handler of a signal may run the session as well
        main, manifest = self._main, self._main.artifact.manifest
        for conflict in manifest.get("conflicts", ()):
            if options.config("session.strict_shape_type_inference") == "1":
                raise Fail(conflict)
            log.log(log.WARNING, conflict, options.log_severity_level, name=options.logid)
        for warning in manifest.get("slow", ()):
            log.log(log.WARNING, warning, options.log_severity_level, name=options.logid)
        self._artifact = main.artifact
        if options.optimized_model_filepath:
            write_optimized(self._model(), options)
        overrides = options.negative_dimensions()
        self._inputs_meta = [_node_arg(each, overrides) for each in manifest["inputs"]]
        self._outputs_meta = [_node_arg(each, overrides) for each in manifest["outputs"]]
        self._overridable_initializers = [_node_arg(each, overrides) for each in manifest.get("overridable", ())]
        self._model_meta = ModelMetadata.of(manifest.get("modelmeta", {}))
        self._overridable = feeds.inputs_of(manifest.get("overridable", ()))
        self._fed = {each.name for each in (*main.inputs, *self._overridable)}
        self._output_types = {each.name: each.type for each in self._outputs_meta}
        # What the common case of `run` looks at.
        self._plain = None if self._profiler else main
        self._output_names = main.outputs
        if self._profiler:
            loading = "model_loading_uri" if self._model_path is not None else "model_loading_array"
            self._profiler.session_event(loading, start)
            self._profiler.session_event("session_initialization", start)
            self._profiler.describe(main.artifact.notes())

    def _executable(self, interface: Interface = AS_IT_IS) -> Executable:
        """The compiled model, with this interface."""
        options = self._sess_options
        on_gpu = self._on_gpu()
        loaded = load(self._model(), options, interface, on_gpu)
        device = None
        if "device" in loaded.manifest:
            device = gpu.open_device(loaded, on_gpu or {})
        return Executable(loaded, options.threads(), options.float_flags(), device, options.operators())

    def _on_gpu(self) -> dict[str, str] | None:
        """The options of the GPU's provider, where that runs the model."""
        return providers.gpu_options(self._provider_options)

    def _model(self) -> str | bytes:
        """The path of the model, or its bytes."""
        model = self._model_path if self._model_path is not None else self._model_bytes
        assert model is not None
        return model

    def _variant(self, interface: Interface) -> Executable:
        """The executable with this interface; compiled when it is first asked for. Raises InvalidArgument for names of
        no value, and where there is no model to compile."""
        if self._main is None:
            raise RuntimeError("The session is closed.")
        if not any(interface):
            return self._main
        with self._lock:
            found = self._variants.get(interface)
            if found is None:
                known = self._artifact.notes().get("values", ())
                for name in interface.outputs:
                    if name not in known or self._compiled_ahead:
                        raise InvalidArgument(f"Invalid output name:{name}")
                if self._compiled_ahead:
                    name = (*interface.fed, *interface.loose)[0]
                    raise InvalidArgument(f"Invalid input name: {name} (it is a constant of the compiled model)")
                with in_turn():
                    found = self._variants[interface] = self._executable(interface)
            return found

    def _loosened(self, interface: Interface, arrays: Sequence[Tensor], reason: feeds.Disagreement) -> Any:
        """The executable, the plan and the inputs as it reads them, for inputs that disagree on named dimensions:
        onnxruntime does not look at the names, and what broadcasts is a result. Raises InvalidArgument, which tells
        them, for what does not."""
        try:
            executable = self._variant(interface._replace(loose=reason.symbols))
            placed = executable.placed(arrays)
            return executable, executable.plan(placed), placed
        except Status:
            raise InvalidArgument(reason.text) from None

    @property
    def _compiled_ahead(self) -> bool:
        """Whether there is no ONNX model behind this session, only compiled code."""
        return artifact.is_artifact(self._model())

    # ---- Running --------------------------------------------------------------------------------------------------

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any], run_options: RunOptions | None = None
    ) -> list[Any]:
        """Runs the model and returns the outputs named in `output_names` (None or []: all), as new arrays.

        Names of intermediate values and of overridable initializers are taken as well: the model is then compiled
        once more, when they are first named. Raises ValueError for missing inputs, InvalidArgument for names, dtypes
        and shapes that do not fit, Fail when `run_options.terminate` is set.
        """
        # The common case, which costs about a microsecond: plain arrays that fit, in sizes seen before, all outputs.
        plain = self._plain
        if run_options is None and plain is not None and (not output_names or output_names == self._output_names):
            recalled = plain.recall(input_feed)
            if recalled is not None:
                return plain.program.run(*recalled)
        return self._execute(feeds.names_of(output_names), self._converted(input_feed, run_options), run_options)

    def _converted(self, feed: Mapping[str, Any], options: RunOptions | None) -> dict[str, Tensor]:
        """The arrays of a feed, and of the adapters in the options."""
        if isinstance(options, RunOptions) and options.adapted:
            feed = {**feed, **options.adapted}
        return feeds.convert(feed, self._inputs_of_model(), self._overridable)

    def _ignores_adapters(self, method: str, options: RunOptions | None) -> None:
        if isinstance(options, RunOptions) and options.adapted:
            text = f"{method} has active adapters specified, but won't have an effect"
            log.log(log.WARNING, text, self._sess_options.log_severity_level, name=self._name(options))

    def _inputs_of_model(self) -> list[feeds.Input]:
        if self._main is None:
            raise RuntimeError("The session is closed.")
        return self._main.inputs

    def _execute(
        self,
        names: list[str],
        arrays: Mapping[str, Tensor],
        options: RunOptions | None,
        given: Mapping[str, Tensor | Memory] | None = None,
        colon: str = ":",
    ) -> list[Any]:
        """A run on tensors by name. given: tensors to write outputs into, or a GPU's memory to make them in. colon: in
        messages of unknown outputs."""
        _check_run_options(options)
        fitted = feeds.fit(arrays, self._inputs_of_model(), self._overridable)
        intermediate = tuple([name for name in names if name not in self._output_types])
        interface = Interface(intermediate, tuple([i.name for i in self._overridable if i.name in fitted]))
        try:
            executable = self._variant(interface)
        except InvalidArgument as error:
            raise InvalidArgument(error.text.replace("output name:", f"output name{colon}")) from None
        ordered = executable.placed(feeds.in_order(fitted, executable.inputs))
        try:
            plan = executable.plan(ordered)
        except feeds.Disagreement as error:
            executable, plan, ordered = self._loosened(interface, ordered, error)
        except Status as error:
            self._told(error, options)
            raise
        terminate = None
        if options is not None:
            options.check()
            if options.terminate:
                raise Fail("Exiting due to terminate flag being set to true.")
            terminate = options.terminate_address
        profile = None if self._profiler is None else self._profiler.begin(executable, plan)
        address = None if profile is None else profile.address
        try:
            if given:
                into = [given.get(name) for name in executable.outputs]
                results = executable.program.run_into(plan, ordered, into, terminate, address)
            else:
                results = executable.program.run(plan, ordered, terminate, address)
        except Status as error:
            self._told(error, options)
            raise
        if profile is not None and self._profiler is not None:
            self._profiler.end(profile, executable is self._main, ordered, results)
        if options is not None and options.shrinks_memory:
            executable.program.shrink()
        if not names:
            return results
        by_name: dict[str, Any] = dict(zip(executable.outputs, results))
        return [by_name[name] for name in names]

    def _told(self, error: Status, options: RunOptions | None) -> None:
        """Logs what ended a run."""
        severity = -1 if options is None else options.log_severity_level
        log.log(log.ERROR, error.text, severity, self._sess_options.log_severity_level, name=self._name(options))

    def _name(self, options: RunOptions | None) -> str:
        """The name of the session, and of the run, in messages."""
        return self._sess_options.logid + (f":{options.logid}" if options is not None and options.logid else "")

    def run_async(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        callback: Callback,
        user_data: Any,
        run_options: RunOptions | None = None,
    ) -> None:
        """Runs the model on another thread, which then calls `callback(results, user_data, err)`.

        err is "" for success; else results is []. Missing inputs and what is no array are raised at once. The
        session, the feed and the options are kept alive until the callback has returned.
        """
        names = feeds.names_of(output_names)
        if run_options is not None and not isinstance(run_options, RunOptions):
            raise RuntimeError(f"run_options must be a RunOptions, not {type(run_options)}")
        self._ignores_adapters("run_async", run_options)
        converted = self._converted(input_feed, None)

        def work() -> tuple[list[Any], str]:
            try:
                return self._execute(names, converted, run_options, colon=": "), ""
            except Status as error:
                return [], error.text
            except Exception as error:
                return [], str(error)

        background.submit(work, callback, user_data)

    def io_binding(self) -> IOBinding:
        """A new binding of this session's inputs and outputs."""
        return IOBinding(self)

    def run_with_iobinding(
        self, iobinding: IOBinding | SessionIOBinding, run_options: RunOptions | None = None
    ) -> None:
        """Runs the model on what is bound. Raises ValueError for a binding of another session, RuntimeError for
        everything that is wrong with the run."""
        if iobinding._session is not self:
            raise ValueError("IOBinding must be used with the session that created it.")
        self._ignores_adapters("run_with_iobinding", run_options)
        bound = iobinding._iobinding if isinstance(iobinding, IOBinding) else iobinding
        bound.run(run_options)

    def run_with_ort_values(
        self,
        output_names: Sequence[str] | None,
        input_dict_ort_values: Mapping[str, OrtValue],
        run_options: RunOptions | None = None,
    ) -> list[OrtValue]:
        """`run` with values in and out."""
        values = {name: value._get_c_value() for name, value in input_dict_ort_values.items()}
        results = self._execute(feeds.names_of(output_names), self._converted(values, run_options), run_options)
        return [OrtValue.of(result) for result in results]

    def run_with_ortvaluevector(
        self,
        run_options: RunOptions | None,
        feed_names: Sequence[str],
        feeds: Sequence[OrtValue],
        fetch_names: Sequence[str],
        fetches: OrtValueVector,
        fetch_devices: Any,
    ) -> None:
        """`run` with lists of values; the results are put into `fetches`."""
        results = self.run_with_ort_values(fetch_names, dict(zip(feed_names, feeds)), run_options)
        fetches.clear()
        for value in results:
            fetches.push_back(value)

    def create_ortvalue_from_shape_and_type(
        self,
        shape: Sequence[int],
        element_type: Any,
        device_type: str,
        device_id: int = 0,
        vendor_id: int | OrtDeviceVendorId = -1,
    ) -> OrtValue:
        """New memory for this session. Raises RuntimeError for devices that it does not use."""
        device = OrtDevice.make(device_type, device_id, vendor_id)
        if device.device_type() != 0 and (self._on_gpu() is None or device.memory() is None):
            raise RuntimeError(f"No session allocator found for {device}")
        return OrtValue.ortvalue_from_shape_and_type(shape, element_type, device_type, device_id, vendor_id)

    # ---- What the model is ----------------------------------------------------------------------------------------

    def get_inputs(self) -> list[NodeArg]:
        """The inputs that have to be fed."""
        return self._inputs_meta

    def get_outputs(self) -> list[NodeArg]:
        return self._outputs_meta

    def get_overridable_initializers(self) -> list[NodeArg]:
        """Initializers that are graph inputs as well, and may be fed."""
        return self._overridable_initializers

    def get_modelmeta(self) -> ModelMetadata:
        return self._model_meta

    def get_input_memory_infos(self) -> list[OrtMemoryInfo]:
        return [self._memory_info(i, "host_inputs") for i in range(len(self._inputs_meta))]

    def get_output_memory_infos(self) -> list[OrtMemoryInfo]:
        return [self._memory_info(i, "host_outputs") for i in range(len(self._outputs_meta))]

    def _memory_info(self, index: int, of_host: str) -> OrtMemoryInfo:
        """Where a run reads an input, or writes an output, without a copy."""
        facts, on_gpu = self._artifact.manifest.get("device"), self._on_gpu()
        if facts is None or on_gpu is None or index in facts[of_host]:
            return cpu_memory()
        return gpu_memory(int(on_gpu["device_id"]))

    def get_input_epdevices(self) -> list[OrtEpDevice]:
        return get_ep_devices() * len(self._inputs_meta)

    def get_provider_graph_assignment_info(self) -> list[OrtEpAssignedSubgraph]:
        """Which nodes run where. Raises Fail unless the session was told to keep this."""
        if self._sess_options.config("session.record_ep_graph_assignment_info") != "1":
            raise Fail(
                "Session configuration entry 'session.record_ep_graph_assignment_info' must be set to \"1\" to "
                "retrieve EP graph assignment information."
            )
        return [OrtEpAssignedSubgraph.of(CPU, self._artifact.notes().get("nodes", []))]

    # ---- How the session is set up --------------------------------------------------------------------------------

    @property
    def _sess(self) -> Session:
        """onnxruntime's programs reach for its native object; here it is this one."""
        return self

    def get_session_options(self) -> SessionOptions:
        """The session's own options."""
        return self._sess_options

    def get_providers(self) -> list[str]:
        """In order of precedence."""
        return self._providers

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return self._provider_options

    def set_providers(
        self, providers: Sequence[Any] | None = None, provider_options: Sequence[dict[Any, Any]] | None = None
    ) -> None:
        """Chooses providers again, and loads the model for another GPU, or none, where that follows. Where that fails,
        the session stays as it was."""
        before, on_gpu = (self._providers, self._provider_options), self._on_gpu()
        self._choose_providers(providers, provider_options)
        if self._main is None or self._on_gpu() == on_gpu:
            return
        executables = (self._main, *self._variants.values())
        try:
            self._load()
        except BaseException:
            self._providers, self._provider_options = before
            raise
        for executable in executables:
            executable.program.close()

    def _choose_providers(self, names: Any, options: Any) -> list[str]:
        """Sets the providers, and returns those that were named."""
        configured = self._sess_options._providers
        if configured and (names or options):
            warnings.warn(
                "Specified 'providers'/'provider_options' when creating InferenceSession but SessionOptions has "
                "already been configured with providers. InferenceSession will only use the providers passed to "
                "InferenceSession().",
                stacklevel=4,
            )
        named, chosen = providers.choose(names if names or not configured else list(configured.items()), options)
        self._providers, self._provider_options = list(chosen), chosen
        return named

    def disable_fallback(self) -> None:
        """Of execution providers, when one fails during a run: there is none that could."""
        self._enable_fallback = False

    def enable_fallback(self) -> None:
        """See disable_fallback."""
        self._enable_fallback = True

    def release_captured_graph(self, graph_annotation_id: int = 0) -> None:
        """Of a GPU; there is none."""

    def set_ep_dynamic_options(self, options: dict[str, str]) -> None:
        """Accepted; the CPU has none. Raises RuntimeError for no options at all, as onnxruntime does."""
        if not options:
            raise RuntimeError("No options were provided")

    def get_tuning_results(self) -> list[dict[str, Any]]:
        """The measured schedules that the model uses, in onnxruntime's form; see runtime/api/tuning_results.py."""
        return tuning_results.of(self._artifact, self._model_path)

    def set_tuning_results(self, results: list[dict[str, Any]], *, error_on_invalid: bool = False) -> None:
        """Adds what another session's `get_tuning_results` has told to the database, and compiles the model with it.

        What is of another provider or CPU is ignored; with `error_on_invalid`, raises RuntimeError for it."""
        if tuning_results.add(results, error_on_invalid) and not self._compiled_ahead:
            self._load()

    # ---- Profiling ------------------------------------------------------------------------------------------------

    def end_profiling(self) -> str:
        """Writes the profile and returns its path; "" where none is being made."""
        profiler, self._profiler = self._profiler, None
        if profiler is None:
            return ""
        self._plain = self._main
        return profiler.write()

    def get_profiling_start_time_ns(self) -> int:
        """When profiling began, in nanoseconds since the epoch; 0 where it is off."""
        return self._profiler.start_ns if self._profiler else 0

    # ---- Life -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Gives back the memory of the model; the session cannot be used any more."""
        if self._main is None:
            return
        self.end_profiling()
        for executable in (self._main, *self._variants.values()):
            executable.program.close()
        self._main = self._plain = None
        self._variants.clear()
        del self._artifact

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_profiler", None):
            with contextlib.suppress(Exception):
                self.end_profiling()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles as the model (path or bytes) and the options; unpickling loads it again."""
        return InferenceSession, (self._model(), self._sess_options, list(self._provider_options.items()))


class InferenceSession(Session):
    """A model, ready to run.

    path_or_bytes: an ONNX file or its bytes, or a compiled artifact (file, directory or bytes).
    providers, provider_options: see `providers.choose`. Other keyword arguments of onnxruntime's are accepted;
    `enable_fallback=0` makes unknown providers an error.
    """

    def __init__(
        self,
        path_or_bytes: str | bytes | os.PathLike[str],
        sess_options: SessionOptions | None = None,
        providers: Sequence[str | tuple[str, dict[Any, Any]]] | None = None,
        provider_options: Sequence[dict[Any, Any]] | None = None,
        **kwargs: Any,
    ):
        super().__init__(enable_fallback=int(kwargs.get("enable_fallback", 1)) == 1)
        self._model_path = self._model_bytes = None
        if isinstance(path_or_bytes, (str, os.PathLike)):
            self._model_path = os.fsdecode(path_or_bytes)
        elif isinstance(path_or_bytes, (bytes, bytearray, memoryview)):
            self._model_bytes = bytes(path_or_bytes)
        elif hasattr(path_or_bytes, "SerializeToString"):  # an onnx.ModelProto
            self._model_bytes = path_or_bytes.SerializeToString()
        else:
            raise TypeError(f"Unable to load from type '{type(path_or_bytes)}'")
        if sess_options is not None and not isinstance(sess_options, SessionOptions):
            raise TypeError(
                "__init__(): incompatible constructor arguments: sess_options must be a SessionOptions, not "
                f"{type(sess_options).__name__}"
            )
        self._sess_options_initial = sess_options
        self._read_config_from_model = configuration.wanted()
        self._fallback_providers = [CPU]
        try:
            self._create(providers, provider_options)
        except (ValueError, RuntimeError) as error:
            if not self._enable_fallback:
                raise
            print("*************** EP Error ***************")
            print(f"EP Error {error} when using {providers}")
            print(f"Falling back to {self._fallback_providers} and retrying.")
            print("****************************************")
            try:
                self._create(self._fallback_providers, None)
            except Exception as again:
                raise again from error
            self.disable_fallback()

    def _create(self, names: Any, provider_options: Any) -> None:
        """Chooses the providers and loads the model. Raises ValueError and RuntimeError for what the options say."""
        initial = self._sess_options_initial
        self._sess_options = SessionOptions() if initial is None else initial.copied()
        named = self._choose_providers(names, provider_options)
        self._sess_options.check(cpu_chosen=CPU in named)
        self._load()
        if self._read_config_from_model:
            configuration.apply(self._model_meta.custom_metadata_map, self._sess_options)
            self._load()


def _check_run_options(options: RunOptions | None) -> None:
    if options is not None and not isinstance(options, RunOptions):
        kind = type(options).__name__
        raise TypeError(f"run(): incompatible function arguments: run_options must be a RunOptions, not {kind}")


def _node_arg(entry: Mapping[str, Any], overrides: Mapping[Any, int]) -> NodeArg:
    return NodeArg.of(entry["name"], entry["type"], [overrides.get(dim, dim) for dim in entry["shape"]])
