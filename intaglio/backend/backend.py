"""`OnnxRuntimeBackend`: ONNX's `Backend`, as `onnx.backend.test` drives it. In: a model. Out: what runs it."""

from __future__ import annotations

import unittest
from typing import Any

import onnx
from onnx.backend.base import Backend

from ..runtime import variables
from ..runtime.api.options import SessionOptions
from ..runtime.api.providers import get_available_providers
from ..runtime.api.session import InferenceSession
from .backend_rep import OnnxRuntimeBackendRep

DEVICE = "CPU"  # the kind of device of this build
# What of SessionOptions a caller may set: nothing that writes files.
ALLOWED = frozenset({
    "enable_cpu_mem_arena", "enable_mem_pattern", "enable_mem_reuse", "execution_mode", "execution_order",
    "graph_optimization_level", "inter_op_num_threads", "intra_op_num_threads", "log_severity_level",
    "log_verbosity_level", "logid", "use_deterministic_compute", "use_per_session_threads",
})  # fmt: skip


class OnnxRuntimeBackend(Backend):
    """Runs whole models; single nodes are not run, as with onnxruntime."""

    allowReleasedOpsetsOnly = variables.RELEASED_OPSETS.text() in (None, "1")

    @classmethod
    def is_compatible(cls, model: Any, device: str | None = None, **kwargs: Any) -> bool:
        return cls.supports_device(DEVICE if device is None else device)

    @classmethod
    def is_opset_supported(cls, model: onnx.ModelProto) -> tuple[bool, str]:
        """Whether all opsets of the model are released ones, or others are allowed; and if not, which is not."""
        for opset in model.opset_import if cls.allowReleasedOpsetsOnly else ():
            domain = opset.domain or "ai.onnx"
            if (domain, opset.version) not in onnx.helper.OP_SET_ID_VERSION_MAP:
                return False, (
                    "Skipping this test as only released onnx opsets are supported."
                    "To run this test set env variable ALLOW_RELEASED_ONNX_OPSET_ONLY to 0."
                    f" Got Domain '{domain}' version '{opset.version}'."
                )
        return True, ""

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device == DEVICE

    @classmethod
    def prepare(cls, model: Any, device: str | None = None, **kwargs: Any) -> OnnxRuntimeBackendRep:
        """Makes a session of a path, bytes, ModelProto or session.

        kwargs: fields of SessionOptions that are `ALLOWED`; other fields raise RuntimeError, unknown names are ignored.
        Raises unittest.SkipTest for a ModelProto with an unreleased opset.
        """
        if isinstance(model, OnnxRuntimeBackendRep):
            return model
        if isinstance(model, InferenceSession):
            return OnnxRuntimeBackendRep(model)
        if not isinstance(model, (str, bytes)):
            data = model.SerializeToString()
            onnx.checker.check_model(data)
            supported, reason = cls.is_opset_supported(model)
            if not supported:
                raise unittest.SkipTest(reason)
            model = data
        options = SessionOptions()
        for name, value in kwargs.items():
            if name in ALLOWED:
                setattr(options, name, value)
            elif hasattr(options, name):
                raise RuntimeError(
                    f"SessionOptions attribute '{name}' is not permitted via the backend API. "
                    f"Allowed attributes: {', '.join(sorted(ALLOWED))}"
                )
        excluded = (variables.EXCLUDED_PROVIDERS.text() or "").split(",")
        providers = [name for name in get_available_providers() if name not in excluded]
        session = InferenceSession(model, options, providers)
        session.disable_fallback()
        if device is not None and not cls.supports_device(device):
            raise RuntimeError(f"Incompatible device expected '{device}', got '{DEVICE}'")
        return OnnxRuntimeBackendRep(session)

    @classmethod
    def run_model(  # type: ignore[override]  # a list, as with onnxruntime
        cls, model: Any, inputs: Any, device: str | None = None, **kwargs: Any
    ) -> list[Any]:
        """`prepare` and `run` in one. kwargs go to both."""
        return cls.prepare(model, device, **kwargs).run(inputs, **kwargs)

    @classmethod
    def run_node(cls, node: Any, inputs: Any, device: Any = None, outputs_info: Any = None, **kwargs: Any) -> Any:
        raise NotImplementedError("It is much more efficient to run a whole model than every node independently.")


is_compatible = OnnxRuntimeBackend.is_compatible
prepare = OnnxRuntimeBackend.prepare
run = OnnxRuntimeBackend.run_model
supports_device = OnnxRuntimeBackend.supports_device
