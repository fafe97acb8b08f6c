"""A model becomes an artifact: itself where it is one, else from the cache, compiled on a miss.

It must never import the compiler, but for the one lazy import in `_compiler`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .. import errors
from ..errors import Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, ModelLoadCanceled, NoSuchFile
from ..store import artifact, cache, fingerprint
from ..store.sealed import recall, remember
from . import providers
from .options import SessionOptions


class Interface(NamedTuple):
    """What a run asks of a model beyond its own interface: it is compiled once more for that.

    outputs: intermediate values to give out as well. fed: initializers to take as inputs. loose: names of dimensions
    that need not agree.
    """

    outputs: tuple[str, ...] = ()
    fed: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()


AS_IT_IS = Interface()


def load(
    model: str | bytes,
    options: SessionOptions,
    interface: Interface = AS_IT_IS,
    on_gpu: Mapping[str, str] | None = None,
) -> artifact.Artifact:
    """The artifact of a model: itself if it is compiled, else from the cache, compiling it on a miss.

    on_gpu: the options of the GPU's provider, where there is one.
    """
    if isinstance(model, str):
        _check_path(model)
    elif not model:
        raise InvalidArgument("No graph was found in the protobuf.")
    _check_cancelled(model, options)
    if artifact.is_artifact(model):
        return artifact.load(model, cache.notes())
    _check_format(model, options.config("session.load_model_format"))
    if seconds := options.search_seconds():
        _search(model, options, seconds)
    settings = options.compiler_settings(model)
    if on_gpu is not None:
        settings |= providers.gpu_settings(on_gpu, settings.get("target", ""))
    if interface.outputs:
        settings["outputs"] = interface.outputs
    if interface.fed:
        settings["fed"] = interface.fed
    if interface.loose:
        loose = {f"name:{name}": -1 for name in interface.loose}
        settings["free_dimensions"] = tuple(sorted({**dict(settings.get("free_dimensions", ())), **loose}.items()))
    return cache.load(model, settings, lambda directory: _compile(model, options, settings, directory))


def _search(model: str | bytes, options: SessionOptions, seconds: float) -> None:
    """Measures schedules, unless that was done for this model and options: there is a note of it then."""
    plain = {name: value for name, value in options.compiler_settings(model).items() if name != "tuning"}
    folder = cache.notes()
    note = None
    if folder:
        identity = fingerprint.of(model, plain | {"threads": options.threads()}, folder)
        note = folder / f"tuned-{identity.key}.json"
    if note and recall(note):
        return
    imported = _imported_compiler()
    imported.tune(model, imported.options(**plain, data=options.given), seconds, options.threads())
    if note:
        remember(note, {"seconds": seconds})


def write_optimized(model: str | bytes, options: SessionOptions) -> None:
    """The file that `optimized_model_filepath` asks for. Raises InvalidArgument where it cannot be written."""
    path, format = options.optimized_model_filepath, options.config("session.save_model_format")
    if format == "ORT" or (not format and path.endswith(".ort")):
        raise errors.NotImplemented("optimized_model_filepath: files of the format .ort are read, and not written")
    if artifact.is_artifact(model):
        raise InvalidArgument("optimized_model_filepath: a compiled model is no ONNX model any more")
    imported = _imported_compiler()
    settings = imported.options(**options.compiler_settings(), data=options.given)
    external = options.config("session.optimized_model_external_initializers_file_name")
    least = options.config("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    with imported.progress() as show:
        show("write the optimized model")
        imported.write_optimized(model, settings, path, external, int(least))


_loading = threading.local()  # `active`: whether this thread is inside of `in_turn`


@contextlib.contextmanager
def in_turn() -> Iterator[None]:
    """Defers the handlers of signals while one that has interrupted the loading of a model loads a model itself.

    Without this a timer's handler that compiles is interrupted by the timer, compiles, is interrupted, and so on. The
    caller stores what it loads before it leaves, so that the deferred handlers find it."""
    nested = getattr(_loading, "active", False)
    received: list[int] = []
    handlers: dict[int, Any] = {}
    if nested and threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
        handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
        for number in handlers:
            signal.signal(number, lambda number, _: received.append(number))
    _loading.active = True
    try:
        yield
    finally:
        _loading.active = nested
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(received):
            signal.raise_signal(number)


def _check_cancelled(model: str | bytes, options: SessionOptions) -> None:
    if options.cancelled:
        where = f"Load model from {model} failed:" if isinstance(model, str) else ""
        raise ModelLoadCanceled(f"{where}Graph loading canceled due to user request.")


def _check_path(path: str) -> None:
    """onnxruntime's errors for what is not a file."""
    if not path:
        raise TypeError("__init__(): incompatible constructor arguments: the path of the model is empty")
    if not os.path.exists(path):
        raise NoSuchFile(f"Load model from {path} failed:Load model {path} failed. File doesn't exist")
    if os.path.isdir(path):
        if not artifact.is_artifact(path):
            raise InvalidProtobuf(f"Load model from {path} failed:Protobuf parsing failed.")
    elif os.path.getsize(path) == 0:
        raise InvalidArgument(f"Load model from {path} failed:No graph was found in the protobuf.")


def _check_format(model: str | bytes, wanted: str) -> None:
    """What a model is can be seen from its first bytes; here they have to be what the name or the options say."""
    expected = wanted or ("ORT" if isinstance(model, str) and model.endswith(".ort") else "")
    if not expected:
        return
    if isinstance(model, str):
        with open(model, "rb") as file:
            head = file.read(8)
    else:
        head = model[:8]
    if expected == "ORT" and head[4:] != b"ORTM":
        raise Fail("ORT model verification failed.")
    if expected == "ONNX" and head[4:] == b"ORTM":
        where = f"Load model from {model} failed:Protobuf parsing failed." if isinstance(model, str) else ""
        raise InvalidProtobuf(where or "Failed to load model because protobuf parsing failed.")


class _Compiler(NamedTuple):
    """What the runtime uses of the compiler."""

    compile_model: Any
    write_optimized: Any
    tune: Any
    options: Any
    progress: Any


def _compiler() -> _Compiler:
    """The one way from the runtime to the compiler, only where there is something to compile or to write."""
    from ...compiler.driver import compile_model, write_optimized
    from ...compiler.options import Options
    from ...compiler.progress import Progress
    from ...compiler.tune.session import for_session

    return _Compiler(compile_model, write_optimized, for_session, Options, Progress)


def _imported_compiler() -> _Compiler:
    """The same, imported by another thread: a signal interrupts the wait for it, and leaves no half of an import, which
    would be there for good; and its handler may need the compiler as well."""
    made: list[_Compiler | BaseException] = []

    def work() -> None:
        try:
            made.append(_compiler())
        except BaseException as error:
            made.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join()
    (found,) = made
    if isinstance(found, BaseException):
        raise found
    return found


def _compile(model: str | bytes, options: SessionOptions, settings: dict[str, Any], directory: Path) -> None:
    imported = _imported_compiler()
    with imported.progress() as show:

        def progress(stage: str, *amounts: int) -> None:
            _check_cancelled(model, options)
            show(stage, *amounts)

        try:
            imported.compile_model(model, imported.options(**settings, data=options.given), directory, progress)
        except (Fail, InvalidArgument, InvalidGraph) as error:
            where = f"Load model from {model} failed:" if isinstance(model, str) else ""
            after_loading = ("External data", "Exception during initialization")
            if error.text.startswith((where, *after_loading)):
                raise
            raise type(error)(where + error.text) from None
