"""The functions of templates/c/halves.h: every vector variant that gcc calls is there, and rounds as numpy does."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from intaglio.compiler.codegen.c.build import TEMPLATES
from intaglio.compiler.target import target

# Loops whose vectors have as many lanes as their widest and their narrowest types allow, beside f16.
TYPES = ("float", "double", "int8_t", "int16_t", "int64_t")
SOURCE = '#include "halves.h"\n#ifndef INTAGLIO_HALVES\n#error\n#endif\n' + "".join(
    f"void of_{t}(int64_t n, const {t} *x, const float *y, uint16_t *z, float *r) {{\n"
    "    _Pragma(\"omp simd\") for (int64_t i = 0; i < n; i++) {\n"
    "        z[i] = (uint16_t)intaglio_half(y[i] + (float)x[i]);\n"
    "        r[i] = intaglio_rounded(y[i] + (float)x[i]);\n    }\n}\n"
    f"void only_{t}(int64_t n, const {t} *x, {t} *z) {{\n"
    f"    _Pragma(\"omp simd\") for (int64_t i = 0; i < n; i++) z[i] = ({t})intaglio_rounded((float)x[i]);\n}}\n"
    for t in TYPES
)  # fmt: skip


@pytest.mark.skipif(not shutil.which("gcc"), reason="there is no gcc")
@pytest.mark.parametrize("cpu", ["x86-64-v3", "x86-64-v4", "znver4", "haswell"])
@pytest.mark.parametrize("level", ["-O2", "-O3"])
def test_no_variant_is_missing(cpu: str, level: str, tmp_path: Path) -> None:
    (tmp_path / "loops.c").write_text(SOURCE)
    flags = [*target(cpu).flags, "-std=c11", "-fPIC", "-fopenmp-simd", "-fno-math-errno", f"-I{TEMPLATES}", level]
    subprocess.run(["gcc", *flags, "-c", "loops.c", "-o", "loops.o"], cwd=tmp_path, check=True)
    undefined = subprocess.run(["nm", "-u", "loops.o"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert "intaglio" not in undefined
    defined = subprocess.run(["nm", "loops.o"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert "_ZGVdN8v_intaglio_half" in defined


@pytest.mark.skipif("f16c" not in target().features, reason="this CPU has no instruction for it")
@pytest.mark.parametrize("name", TYPES)
def test_rounding(name: str, tmp_path: Path) -> None:
    (tmp_path / "loops.c").write_text(SOURCE)
    flags = [*target().flags, "-std=c11", "-fPIC", "-fopenmp-simd", "-O3", f"-I{TEMPLATES}", "-shared"]
    subprocess.run(["gcc", *flags, "loops.c", "-o", "loops.so"], cwd=tmp_path, check=True)
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 1 << 32, 5003, dtype=np.uint32)
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    y = np.concatenate([codes.view(np.float32), halves.astype(np.float32)])
    y = np.where(np.isnan(y), np.float32(1.5), y)
    x = np.zeros(len(y), np.dtype(name.removesuffix("_t").replace("float", "float32").replace("double", "float64")))
    z, r = np.empty(len(y), np.float16), np.empty(len(y), np.float32)
    function = getattr(ctypes.CDLL(str(tmp_path / "loops.so")), f"of_{name}")
    function(ctypes.c_int64(len(y)), *(ctypes.c_void_p(a.ctypes.data) for a in (x, y, z, r)))
    with np.errstate(over="ignore"):
        meant = y.astype(np.float16)
    np.testing.assert_array_equal(z, meant)
    np.testing.assert_array_equal(r, meant.astype(np.float32))
