"""`OnnxRuntimeBackendRep`: a session as ONNX's `BackendRep`. In: inputs by position. Out: the list of all outputs."""

from __future__ import annotations

from typing import Any

from onnx.backend.base import BackendRep

from ..runtime.api.options import RunOptions
from ..runtime.api.session import InferenceSession

ALLOWED = frozenset({"log_severity_level", "log_verbosity_level", "logid", "only_execute_path_to_fetches"})


class OnnxRuntimeBackendRep(BackendRep):
    def __init__(self, session: InferenceSession) -> None:
        self._session = session

    def run(self, inputs: Any, **kwargs: Any) -> list[Any]:  # type: ignore[override]  # a list, as with onnxruntime
        """inputs: a list, one for each input of the model, or the only one itself.

        kwargs: fields of RunOptions that are `ALLOWED`; other fields raise RuntimeError, unknown names are ignored.
        """
        options = RunOptions()
        for name, value in kwargs.items():
            if name in ALLOWED:
                setattr(options, name, value)
            elif hasattr(options, name):
                raise RuntimeError(
                    f"RunOptions attribute '{name}' is not permitted via the backend API. "
                    f"Allowed attributes: {', '.join(sorted(ALLOWED))}"
                )
        names = [each.name for each in self._session.get_inputs()]
        if not isinstance(inputs, list):
            if len(names) != 1:
                raise RuntimeError(f"Model expect {len(names)} inputs")
            inputs = [inputs]
        return self._session.run(None, {name: inputs[i] for i, name in enumerate(names)}, options)
