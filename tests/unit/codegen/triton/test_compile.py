"""Triton's compiler takes what the printer writes, for GPUs that are not there. One process of its own for each GPU, as
this one has Triton's interpreter in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.test_loopnest import nest_for_triton
from unit.codegen.triton import translated
from unit.scalar.test_prims import CASTABLE

from intaglio.compiler.codegen.triton import worker
from intaglio.compiler.kernel.ir import Kernel, LoopNest, Param, Stage, Store
from intaglio.compiler.scalar import prims
from intaglio.compiler.scalar.dim import Size, Symbol, extent
from intaglio.compiler.scalar.dtype import DTYPES, F32, DType
from intaglio.compiler.scalar.expr import Const, Expr, Load
from intaglio.compiler.schedule.device.loopnest import ORDER
from intaglio.compiler.schedule.loopnest import arranged
from intaglio.compiler.target import targets

N = Symbol("n")
SOME = [DTYPES[n] for n in ("f32", "bf16", "i8")]
SLOW = pytest.mark.slow
DTYPES_FOR = {"cuda:sm_90": CASTABLE, "cuda:sm_80": SOME, "cuda:sm_100": SOME, "hip:gfx942": SOME}


def compiled(sources: dict[str, Kernel], gpu: str, folder: Path) -> None:
    """Compiles kernels, by name. Fails with what Triton says, and leaves its intermediate texts in folder/triton."""
    (target,) = targets(gpu)[1]
    jobs = []
    for name, kernel in sources.items():
        source = translated.source(kernel)
        file = folder / f"{name}.py"
        file.write_text(source.text)
        jobs.append(
            {
                "source": str(file), "name": "kernel", "arguments": source.arguments, "warps": source.warps,
                "stages": source.stages, "backend": target.backend, "arch": target.arch, "warp": target.warp,
                "most_shared": target.shared, "output": str(folder / name),
            }
        )  # fmt: skip
    environ = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environ["TRITON_CACHE_DIR"] = str(folder / "triton")
    ran = subprocess.run(
        [sys.executable, str(worker.__file__)],
        input="".join(json.dumps(job) + "\n" for job in jobs), capture_output=True, text=True, env=environ, check=False,
    )  # fmt: skip
    answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(answers) == len(jobs), ran.stderr
    for job, answer in zip(jobs, answers):
        assert "error" not in answer, f"{job['output']}: {answer['error']}"


def elementwise(values: list[Expr], inputs: list[DType], i: Symbol) -> Kernel:
    params = [Param(d, extent(i), False) for d in inputs] + [Param(v.dtype, extent(i), True) for v in values]
    stages = [Stage(v, Store(len(inputs) + k, i), (i,)) for k, v in enumerate(values)]
    return Kernel(tuple(params), (N,), LoopNest((), tuple(stages)))


def all_of(dtype: DType) -> Kernel:
    """Every primitive that a dtype has, and its casts to all others."""
    i = Symbol("i", 0, 31)
    x = [Load(k, i, dtype) for k in range(3)]
    targets = [t for t in CASTABLE if t != dtype]
    values: list[Expr] = [prims.call("cast", x[0], dtype=t) for t in targets]
    if dtype == F32:
        narrow = [t for t in targets if t.is_float and t.bits == 8]
        values += [prims.call("cast_unsaturated", x[0], dtype=t) for t in narrow]
    for prim in prims.TABLE.values():
        if dtype.compute == dtype and dtype.kind in prim.kinds and prim.result != "given":
            chooses = prim.name in ("select", "require")
            arguments = [prims.call("lt", x[0], x[1]), *x[1 : prim.arity]] if chooses else x[: prim.arity]
            value = prims.call(prim.name, *arguments)
            if translated.refusal(elementwise([value], [dtype] * 3, i)) is None:  # test_expr states which
                values.append(value)
    return elementwise(values, [dtype] * 3, i)


def all_combined(dtype: DType) -> Kernel:
    """Every reduction of rows and of columns and every scan and scatter of a dtype."""
    kinds = [p.name for p in prims.TABLE.values() if p.identity is not None and dtype.kind in p.kinds]
    o, i, r = Symbol("o", 0, N), Symbol("i", 0, 40), Symbol("r", 0, N)
    x = Load(0, r * 40 + i, dtype)
    stages = []
    for kind in kinds:
        buffer = len(stages) + 1
        stages.append(Stage(x, Store(buffer, o), (), (r, i), kind))
        stages.append(Stage(x, Store(buffer + 1, 40 * o + i), (i,), (r,), kind))
        stages.append(Stage(Load(0, i, dtype), Store(buffer + 2, 40 * o + i), (i,), scan=kind))
        stages.append(Stage(x, Store(buffer + 3, 40 * o + i, kind), (r, i)))
    params = [Param(dtype, N * 40, k > 0) for k in range(len(stages) + 1)]
    return Kernel(tuple(params), (N,), LoopNest((o,), tuple(stages)))


@pytest.mark.parametrize("gpu", ["cuda:sm_80", *(pytest.param(g, marks=SLOW) for g in DTYPES_FOR if g != "cuda:sm_80")])
def test_all_that_expressions_and_loops_have(gpu: str, tmp_path: Path) -> None:
    """Of every dtype for one GPU, of some for the others: what differs between them comes after Triton's own types."""
    dtypes = DTYPES_FOR[gpu]
    sources = {f"all_{d}": all_of(d) for d in dtypes}
    sources |= {f"combined_{d}": all_combined(d) for d in dtypes if d.compute == d}
    compiled(sources, gpu, tmp_path)


def test_random_nests(tmp_path: Path) -> None:
    """Those that tests/fuzz runs under the interpreter: masks, gathers, scatters, kept values."""
    compiled({f"seed{seed}": nest_for_triton(seed)[0] for seed in range(12)}, "cuda:sm_90", tmp_path)


def added(shape: tuple[Size, ...], loads: tuple[tuple[int, ...], ...]) -> Kernel:
    """The sum of tensors, of each of which `loads` names the axes; the sum has all of them."""
    axes = tuple(Symbol(f"o{i}", 0, s) for i, s in enumerate(shape))
    value: Expr = Const(0.0, F32)
    params = []
    for buffer, chosen in enumerate(loads):
        index: Size = 0
        size: Size = 1
        for a in chosen:
            index, size = index * shape[a] + axes[a], size * shape[a]
        load = Load(buffer, index, F32)
        value = load if buffer == 0 else value + load
        params.append(Param(F32, size, False))
    index, size = 0, 1
    for s, a in zip(shape, axes):
        index, size = index * s + a, size * s
    nest = arranged(LoopNest(axes, (Stage(value, Store(len(loads), index)),)), ORDER)
    return Kernel((*params, Param(F32, size, True)), (N,), nest)


def test_memory_is_read_in_vectors(tmp_path: Path) -> None:
    """16 bytes at once: where rows are a multiple of that long, and in whole blocks of what has any length."""
    sources = {
        "rows": added((N, 768), ((0, 1), (0, 1))),
        "bias": added((N, 768), ((0, 1), (1,))),
        "flat": added((N,), ((0,), (0,))),
    }
    for name, kernel in sources.items():
        folder = tmp_path / name
        folder.mkdir()
        compiled({name: kernel}, "cuda:sm_90", folder)
        (ptx,) = folder.glob("triton/**/*.ptx")
        wide = re.findall(r"(ld|st)\.global\.v4\.b32", ptx.read_text())
        narrow = re.findall(r"(ld|st)\.global\.b32", ptx.read_text())
        assert {"ld", "st"} <= set(wide), name
        assert bool(narrow) == (name == "flat"), name
