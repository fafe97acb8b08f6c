"""Runs Triton kernels under Triton's interpreter, on memory of the host: the GPU's stand-in where there is none.

In: sources, addresses and sizes. Out: nothing; memory is written. Needs the package triton, and TRITON_INTERPRET=1 in
the environment before anything imports it.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Fail

_one_at_a_time = threading.Lock()  # the interpreter keeps the number of the program that runs in a global


class InterpretedKernel:
    """A kernel's function, from the file that defines it."""

    def __init__(self, file: Path, name: str, arguments: Sequence[str]) -> None:
        import triton
        from triton.runtime.interpreter import InterpretedFunction

        if not isinstance(triton.language.standard.sum, InterpretedFunction):
            raise Fail("Triton's interpreter is off: set TRITON_INTERPRET=1 before the program starts")
        _mend()
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        with triton.knobs.runtime.scope():
            triton.knobs.runtime.interpret = True
            spec.loader.exec_module(module)
        self._function = getattr(module, name)
        self._arguments = tuple(arguments)

    def launch(self, programs: int, buffers: Sequence[int], sizes: Sequence[int]) -> None:
        """Runs all programs, one after the other. buffers: addresses."""
        values = [_argument(kind, value) for kind, value in zip(self._arguments, (*buffers, *sizes), strict=True)]
        with _one_at_a_time, np.errstate(all="ignore"):
            self._function.run(*values, grid=(programs,), warmup=False)


def _argument(kind: str, value: int) -> Any:
    """A value as the interpreter holds it, of the type that the compiler would give it."""
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    dtype = tl.str_to_ty(kind, None)
    array = np.array([value], np.uint64 if kind.startswith("*") else np.int32)
    return tl.tensor(TensorHandle(array, dtype), dtype)


def _mend() -> None:
    """Makes the interpreter, up to 3.9, do what the compiler does: see each function."""
    from triton.runtime import interpreter

    interpreter.InterpretedFunction.__call__ = _call
    interpreter.InterpreterBuilder.create_splat = _splat
    interpreter.InterpreterBuilder.cast_impl = _cast
    interpreter.InterpreterBuilder.create_dot = _dot
    interpreter.ReduceOps.generic_reduce = _reduce
    interpreter.ScanOps.generic_scan = _scan


def _call(self: Any, *args: Any, **kwargs: Any) -> Any:
    """The whole language is patched for each call of a function, though it is patched while a kernel runs: that takes
    a hundred times as long as most functions. Functions of the language itself see it as another module."""
    from triton.language.core import is_builtin
    from triton.runtime.interpreter import _patch_lang

    names = self.fn.__globals__
    if any(is_builtin(names[module].load) for module in ("tl", "core") if module in names):
        _patch_lang(self.fn)
    return self.rewrite()(*args, **kwargs)


def _splat(self: Any, result: Any, value: Any) -> Any:
    """The result of a scalar comparison counts as a number of the compared type, and a tile made of it is no mask."""
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    kind = tl.int1 if value.data.dtype == np.bool_ else value.dtype.scalar
    return TensorHandle(np.full(result.shape, value.data.reshape(-1)[0], value.data.dtype), kind)


def _cast(self: Any, value: Any, target: Any) -> Any:
    """f32 is cut off where it becomes bf16, not rounded, and what is not finite is not kept."""
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle, _get_np_dtype

    source, target = value.dtype.scalar, target.scalar
    data = value.data
    if source == tl.bfloat16:
        data = (data.astype(np.uint32) << 16).view(np.float32)
    if target == tl.bfloat16:
        bits = np.ascontiguousarray(data.astype(np.float32)).view(np.uint32)
        rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
        return TensorHandle(np.where(np.isnan(data), 0x7FC0, rounded).astype(np.uint16).reshape(data.shape), target)
    return TensorHandle(data.astype(_get_np_dtype(target)), target)


def _dot(self: Any, a: Any, b: Any, total: Any, input_precision: Any, max_num_imprecise_acc: Any) -> Any:
    """bf16 is multiplied as if its bits were an integer."""
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    x, y = (_cast(self, v, tl.float32).data if v.dtype.scalar == tl.bfloat16 else v.data for v in (a, b))
    return TensorHandle(np.matmul(x, y, dtype=total.data.dtype) + total.data, total.dtype.scalar)


def _reduce(self: Any, tiles: Any) -> Any:
    """Element by element: neighbours along the whole axis are combined at once instead."""
    if self.axis is None:
        tiles = tuple(self.to_tensor(t.handle.data.reshape(-1), t.dtype) for t in tiles)
    axis = self.axis or 0
    parts = [np.moveaxis(t.handle.data, axis, 0) for t in tiles]
    while len(parts[0]) > 1:
        parts = _combined(self, tiles, [p[0::2] for p in parts], [p[1::2] for p in parts])
    if not self.keep_dims:
        return [self.to_tensor(p[0], t.dtype) for p, t in zip(parts, tiles)]
    return [self.to_tensor(np.moveaxis(p, 0, axis), t.dtype) for p, t in zip(parts, tiles)]


def _scan(self: Any, tiles: Any) -> Any:
    """Element by element, too: here in steps of 1, 2, 4, ..."""
    parts = [np.moveaxis(t.handle.data, self.axis, 0) for t in tiles]
    step = 1
    while step < len(parts[0]):
        later = _combined(self, tiles, [np.roll(p, step, 0) for p in parts], parts)
        parts = [np.concatenate([p[:step], q[step:]]) for p, q in zip(parts, later)]
        step *= 2
    return [self.to_tensor(np.moveaxis(p, 0, self.axis), t.dtype) for p, t in zip(parts, tiles)]


def _combined(self: Any, tiles: Any, first: list[Any], second: list[Any]) -> list[Any]:
    """The combining function on arrays."""
    kinds = [t.dtype for t in tiles]
    operands = [self.to_tensor(np.ascontiguousarray(p), k) for part in (first, second) for p, k in zip(part, kinds)]
    result = self.combine_fn.fn(*operands)
    return [r.handle.data for r in (result if isinstance(result, tuple) else (result,))]
