"""Runs Triton kernels under Triton's interpreter, on memory of the host: the GPU's stand-in where there is none.

In: sources, addresses and sizes. Out: nothing; memory is written. Needs the package triton, and TRITON_INTERPRET=1 in
the environment before anything imports it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import Fail


class InterpretedKernel:
    """A kernel's function, from the file that defines it."""

    def __init__(self, file: Path, name: str, arguments: Sequence[str]) -> None:
        import triton

        if not triton.knobs.runtime.interpret:
            raise Fail("Triton's interpreter is off: set TRITON_INTERPRET=1 before the program starts")
        _mend()
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self._function = getattr(module, name)
        self._arguments = tuple(arguments)

    def launch(self, programs: int, buffers: Sequence[int], sizes: Sequence[int]) -> None:
        """Runs all programs, one after the other. buffers: addresses."""
        values = [_argument(kind, value) for kind, value in zip(self._arguments, (*buffers, *sizes), strict=True)]
        with np.errstate(all="ignore"):
            self._function.run(*values, grid=(programs,), warmup=False)


def _argument(kind: str, value: int) -> Any:
    """A value as the interpreter holds it, of the type that the compiler would give it."""
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    dtype = tl.str_to_ty(kind, None)
    array = np.array([value], np.uint64 if kind.startswith("*") else np.int32)
    return tl.tensor(TensorHandle(array, dtype), dtype)


def _mend() -> None:
    """Up to 3.9, the interpreter takes the result of a scalar comparison for a number of the compared type, and a tile

    made of it is no mask."""
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    def create_splat(self: Any, result: Any, value: Any) -> Any:
        kind = tl.int1 if value.data.dtype == np.bool_ else value.dtype.scalar
        return TensorHandle(np.full(result.shape, value.data.reshape(-1)[0], value.data.dtype), kind)

    InterpreterBuilder.create_splat = create_splat
