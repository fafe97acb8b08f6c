"""Triton's interpreter, as it is mended: what a function costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from intaglio.runtime.device.triton_interpreter import InterpretedKernel

SOURCE = """
import triton
import triton.language as tl


@triton.jit
def twice(x):
    return x + x


@triton.jit
def kernel(b0, n0):
    x = tl.zeros((1,), tl.float32) + 1.0
    for _ in range(n0):
        x = twice(x)
    tl.store(b0 + tl.arange(0, 1), x + tl.sum(x, 0))
"""


def test_functions_do_not_patch_the_language_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime import interpreter

    patches = []
    patch = interpreter._patch_lang
    monkeypatch.setattr(interpreter, "_patch_lang", lambda fn: patches.append(fn.__name__) or patch(fn))
    file = tmp_path / "kernel.py"
    file.write_text(SOURCE)
    code = InterpretedKernel(file, "kernel", ("*fp32", "i32"))
    out = np.zeros(1, np.float32)
    for _ in range(2):
        code.launch(1, [out.ctypes.data], [10])
    assert out[0] == 2048
    assert patches.count("kernel") == 2 and "twice" not in patches and len(patches) <= 3
