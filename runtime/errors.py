"""The exceptions of the runtime and of the compiler, with onnxruntime's class names and message form.

No class derives from another one of them, nor from RuntimeError or ValueError: as with onnxruntime, an `except` clause
selects one kind of failure. A message reads `[ONNXRuntimeError] : <number> : <NAME> : <text>`.
"""

from __future__ import annotations

from typing import ClassVar


class Status(Exception):
    """What every class shares: `text` is the message without its prefix, as asynchronous runs report it."""

    number: ClassVar[int]
    name: ClassVar[str]

    def __init__(self, text: str):
        super().__init__(f"[ONNXRuntimeError] : {self.number} : {self.name} : {text}")
        self.text = text

    def __reduce__(self) -> tuple[type[Status], tuple[str]]:
        return type(self), (self.text,)

    @classmethod
    def of_system(cls, number: int) -> Status:
        """What the system refused, by its number (`errno`); these have a text of another form."""
        made = cls(f"SystemError : {number}")
        made.args = (made.text,)
        return made


WHILE_RUNNING = "Non-zero status code returned while running {} node. Name:'{}' Status Message: "  # operator, name


class Fail(Status):
    number, name = 1, "FAIL"


class InvalidArgument(Status):
    number, name = 2, "INVALID_ARGUMENT"


class NoSuchFile(Status):
    number, name = 3, "NO_SUCHFILE"


class NoModel(Status):
    number, name = 4, "NO_MODEL"


class EngineError(Status):
    number, name = 5, "ENGINE_ERROR"


class RuntimeException(Status):
    number, name = 6, "RUNTIME_EXCEPTION"


class InvalidProtobuf(Status):
    number, name = 7, "INVALID_PROTOBUF"


class ModelLoaded(Status):
    number, name = 8, "MODEL_LOADED"


class NotImplemented(Status):
    number, name = 9, "NOT_IMPLEMENTED"


class InvalidGraph(Status):
    number, name = 10, "INVALID_GRAPH"


class EPFail(Status):
    number, name = 11, "EP_FAIL"


class ModelLoadCanceled(Status):
    number, name = 12, "MODEL_LOAD_CANCELED"


class ModelRequiresCompilation(Status):
    number, name = 13, "MODEL_REQUIRES_COMPILATION"


class NotFound(Status):
    number, name = 14, "NOT_FOUND"


class DeviceReset(Status):
    number, name = 15, "DEVICE_RESET"


_CLASSES = [
    Fail, InvalidArgument, NoSuchFile, NoModel, EngineError, RuntimeException, InvalidProtobuf, ModelLoaded,
    NotImplemented, InvalidGraph, EPFail, ModelLoadCanceled, ModelRequiresCompilation, NotFound, DeviceReset,
]  # fmt: skip
BY_NAME: dict[str, type[Exception]] = {c.__name__: c for c in _CLASSES}
