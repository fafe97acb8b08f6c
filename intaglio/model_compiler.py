"""`ModelCompiler`: compiles a model ahead of time, for sessions that start without a compiler.

onnxruntime's class of the same name and signature writes a model for an execution provider; this one writes a compiled
model, which `InferenceSession` loads by path or from bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .compiler.package.writer import pack
from .runtime.api.load import load
from .runtime.api.options import SessionOptions
from .runtime.enums import GraphOptimizationLevel, OrtCompileApiFlags
from .runtime.errors import Fail, InvalidArgument
from .runtime.store import artifact


class OrtExternalInitializerInfo:
    """Where an initializer is in a file."""

    def __init__(self, filepath: str, file_offset: int, byte_size: int):
        self.filepath, self.file_offset, self.byte_size = filepath, file_offset, byte_size


class ModelCompiler:
    """sess_options: as for a session. Arguments about contexts and external files are accepted: a compiled model is
    one file. flags: OrtCompileApiFlags."""

    def __init__(
        self,
        sess_options: SessionOptions,
        input_model_path_or_bytes: str | os.PathLike[str] | bytes,
        embed_compiled_data_into_model: bool = False,
        external_initializers_file_path: str | os.PathLike[str] | None = None,
        external_initializers_size_threshold: int = 1024,
        flags: int = OrtCompileApiFlags.NONE,
        graph_optimization_level: GraphOptimizationLevel = GraphOptimizationLevel.ORT_DISABLE_ALL,
        get_initializer_location_func: Callable[..., OrtExternalInitializerInfo | None] | None = None,
    ):
        if isinstance(input_model_path_or_bytes, bytes):
            if not input_model_path_or_bytes:
                raise ValueError("Input model bytes array is empty")
            self._model: str | bytes = input_model_path_or_bytes
        elif isinstance(input_model_path_or_bytes, (str, os.PathLike)):
            self._model = os.fsdecode(input_model_path_or_bytes)
        else:
            raise TypeError(f"Unable to load from type '{type(input_model_path_or_bytes)}'")
        self._options = sess_options.copied()
        self._flags = int(flags)

    def compile_to_file(self, output_model_path: str | None = None) -> None:
        """Writes the compiled model to a file; without a path, beside the model as `<model>.intaglio`."""
        if output_model_path is None:
            if isinstance(self._model, bytes):
                raise InvalidArgument("output_model_path is needed: the model has no path of its own")
            output_model_path = str(Path(self._model).with_suffix(".intaglio"))
        if self._flags & OrtCompileApiFlags.ERROR_IF_OUTPUT_FILE_EXISTS and os.path.exists(output_model_path):
            raise Fail(f"The output file {output_model_path} exists already.")
        compiled = load(self._model, self._options)
        if not isinstance(compiled.source, Path) or not compiled.source.is_dir():
            raise InvalidArgument("The model is compiled already.")
        pack(compiled.source, Path(output_model_path))

    def compile_to_bytes(self) -> bytes:
        import tempfile  # slow to import

        with tempfile.TemporaryDirectory(prefix="intaglio-") as folder:
            path = Path(folder, "model.intaglio")
            self.compile_to_file(str(path))
            data = path.read_bytes()
        assert artifact.is_artifact(data)
        return data

    def compile_to_stream(self, write_function: Callable[[bytes], None]) -> None:
        """Calls `write_function` with one part after the other."""
        data = self.compile_to_bytes()
        for start in range(0, len(data), 1 << 20):
            write_function(data[start : start + (1 << 20)])

    def set_ep_context_data_write_func(self, write_func: Callable[[str, Any], None]) -> None:
        """Accepted; a compiled model has no contexts of execution providers."""

    def clear_ep_context_data_write_func(self) -> None:
        """See set_ep_context_data_write_func."""
