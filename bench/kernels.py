"""`python -m bench kernels [NAME ...]`: matmul and convolution kernels alone, on one thread, against the FMA peak.

In: parts of the names of the groups below; all of them by default. Out: a table with the microseconds, GFLOP/s and
share of the peak of each shape. Inputs are random, weights packed, the epilogue adds a bias and applies ReLU. Each
figure is the best of many runs, in time of the CPU, so that other programs disturb less. Nothing is checked here:
tests/unit/codegen does that.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from intaglio.compiler.codegen.c import build, conv, matmul
from intaglio.compiler.codegen.c.toolchain import find
from intaglio.compiler.kernel.ir import Conv, Kernel, Matmul, Param, Stage, Store
from intaglio.compiler.kernel.packing import Packing
from intaglio.compiler.scalar.dim import Size, Symbol, evaluate
from intaglio.compiler.scalar.dtype import F32
from intaglio.compiler.scalar.expr import Acc, Call, Const, Expr, Load
from intaglio.compiler.schedule import default
from intaglio.compiler.schedule import matmul as matmul_schedule
from intaglio.compiler.schedule.tile import choose_nr
from intaglio.compiler.target import target

from .peak import measure
from .tables import table

Array = npt.NDArray[np.float32]
SECONDS = 0.3  # of measuring each shape


@dataclass(frozen=True)
class Product:
    """[m, k] x [k, n], n and k being a constant's; with `b_rows`, b is an activation, [k, n] in memory."""

    m: int
    n: int
    k: int
    b_rows: bool = False

    @property
    def flops(self) -> int:
        return 2 * self.m * self.n * self.k

    def __str__(self) -> str:
        return f"{self.m} x {self.k} x {self.n}" + (" (not packed)" if self.b_rows else "")


@dataclass(frozen=True)
class Convolution:
    """Of a square image, padded by half of odd taps, as patches with even ones; `out_c` 0 is depthwise.

    GFLOP/s are those of the definition, so that Winograd's algorithm may come out above the peak.
    """

    size: int
    in_c: int
    out_c: int
    taps: int
    stride: int = 1
    winograd: bool = False

    @property
    def out_size(self) -> int:
        padding = 2 * (self.taps // 2) if self.taps % 2 else 0
        return (self.size + padding - self.taps) // self.stride + 1

    @property
    def flops(self) -> int:
        return 2 * self.out_size**2 * (self.out_c or 1) * self.in_c * self.taps**2

    def __str__(self) -> str:
        channels = f"{self.in_c} to {self.out_c}" if self.out_c else f"{self.in_c} depthwise"
        algorithm = ", Winograd" if self.winograd else ""
        return f"{self.taps}x{self.taps} / {self.stride}, {channels}, {self.size}x{self.size}{algorithm}"


Shape = Product | Convolution

GROUPS: dict[str, list[Shape]] = {
    "bert": [Product(m, n, k) for m in (128, 384) for n, k in ((768, 768), (3072, 768), (768, 3072))],
    # 1x1 convolutions of stride 1 are products of all pixels.
    "resnet50-1x1": [
        Product(size * size, n, k)
        for size, c in ((56, 64), (28, 128), (14, 256), (7, 512))
        for n, k in ((c, 4 * c), (4 * c, c))
    ],
    "resnet50": [
        Convolution(224, 3, 64, 7, 2),
        *(Convolution(size, c, c, 3) for size, c in ((56, 64), (28, 128), (14, 256), (7, 512))),
        *(Convolution(size, c, c, 3, 2) for size, c in ((56, 128), (28, 256), (14, 512))),
        *(Convolution(size, c, 2 * c, 1, 2) for size, c in ((56, 256), (28, 512), (14, 1024))),
    ],
    "winograd": [Convolution(size, c, c, 3, 1, True) for size, c in ((56, 64), (28, 128), (14, 256), (7, 512))],
    "mobilenetv2": [
        Convolution(224, 3, 32, 3, 2),
        *(Convolution(size, c, 0, 3) for size, c in ((112, 32), (56, 144), (28, 192), (14, 384), (14, 576), (7, 960))),
        *(Convolution(size, c, 0, 3, 2) for size, c in ((112, 96), (56, 144), (28, 192), (14, 576))),
    ],
    "convnext": [
        Convolution(224, 3, 96, 4, 4),
        *(Convolution(size, c, 0, 7) for size, c in ((56, 96), (28, 192), (14, 384), (7, 768))),
    ],
    "few-rows": [Product(m, n, k) for m in (1, 2, 4) for n, k in ((768, 3072), (3072, 768), (1000, 2048))],
    "not-packed": [Product(m, n, k, True) for m in (1, 8, 128, 384) for n, k in ((768, 768), (64, 128))],
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench kernels", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    names = parser.parse_args(argv).names
    peak = measure(1).gflops
    print(f"peak of one thread: {peak:.0f} GFLOP/s")
    for group, shapes in GROUPS.items():
        if names and not any(name in group for name in names):
            continue
        rows = []
        for shape in shapes:
            seconds = _seconds(shape)
            gflops = 1e-9 * shape.flops / seconds
            rows.append([str(shape), f"{1e6 * seconds:.0f}", f"{gflops:.1f}", f"{100 * gflops / peak:.0f} %"])
        print(f"\n{table([group, 'us', 'GFLOP/s', 'of peak'], rows)}")
    return 0


def _seconds(shape: Shape) -> float:
    module, kernel, sizes, arrays = _matmul(shape) if isinstance(shape, Product) else _conv(shape)
    run = _compiled(module, kernel, sizes, arrays)
    run()
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.thread_time()
        run()
        best = min(best, time.thread_time() - start)
    return best


Work = tuple[ModuleType, Kernel, list[int], list[Array]]


def _matmul(shape: Product) -> Work:
    rows, columns, depth = (Symbol(name, 1) for name in ("M", "N", "K"))
    m, n, k = Symbol("m", 0, rows), Symbol("n", 0, columns), Symbol("k", 0, depth)
    packing = None if shape.b_rows else matmul_schedule.packing(shape.n, F32, target())
    a_load = Load(0, m * depth + k, F32)
    b_load = Load(1, k * columns + n if shape.b_rows else 0, F32)
    body = Matmul((), m, n, k, a_load, b_load, F32, _bias_relu(m * columns + n, n), packing)
    a, b, bias = _random(shape.m, shape.k), _random(shape.k, shape.n), _random(shape.n)
    c = _aligned(np.zeros((shape.m, shape.n), np.float32))
    packed = _aligned(packing.pack(b)) if packing else b
    return matmul, Kernel(_params(), (rows, columns, depth), body), [shape.m, shape.n, shape.k], [a, packed, bias, c]


def _conv(shape: Convolution) -> Work:
    groups, out_channels = (1, shape.out_c) if shape.out_c else (shape.in_c, shape.in_c)
    sizes, values = _sizes(height=shape.size, out=shape.out_size, out_c=out_channels, in_c=shape.in_c)
    channels: Size = sizes["in_c"] if shape.in_c > 16 else shape.in_c  # as lowering keeps small ones constant
    n, ic, c = Symbol("n", 0, 1), Symbol("ic", 0, channels), Symbol("c", 0, sizes["out_c"])
    x0, x1 = (Symbol(name, 0, sizes["height"]) for name in ("x0", "x1"))
    y0, y1 = (Symbol(name, 0, sizes["out"]) for name in ("y0", "y1"))
    x = Load(0, ((n * sizes["height"] + x0) * sizes["height"] + x1) * channels + ic, F32)
    at = ((n * sizes["out"] + y0) * sizes["out"] + y1) * sizes["out_c"] + c
    packing = Packing("taps")
    if shape.out_c:
        nr = choose_nr(shape.out_c, F32, target())
        packing = Packing("winograd" if shape.winograd else "panels", nr)
    taps, pads = (shape.taps, shape.taps), (shape.taps // 2 if shape.taps % 2 else 0,) * 2
    strides, epilogue = (shape.stride, shape.stride), _bias_relu(at, c)
    body = Conv(n, (x0, x1), ic, (y0, y1), c, taps, strides, (1, 1), pads, groups, x, 1, F32, epilogue, packing)
    w = _random(*taps, shape.in_c // groups, out_channels)
    y = _aligned(np.zeros((shape.out_size, shape.out_size, out_channels), np.float32))
    arrays = [_random(shape.size, shape.size, shape.in_c), _aligned(packing.pack(w)), _random(out_channels), y]
    return conv, Kernel(_params(), tuple(sizes.values()), body), values, arrays


def _sizes(**values: int) -> tuple[dict[str, Symbol], list[int]]:
    return {name: Symbol(name, 1) for name in values}, list(values.values())


def _params() -> tuple[Param, ...]:
    return tuple(Param(F32, 1, written) for written in (False, False, False, True))


def _bias_relu(at: Size, channel: Symbol) -> tuple[Stage, ...]:
    value: Expr = Call("max", (Acc(F32) + Load(2, channel, F32), Const(0.0, F32)), F32)
    return (Stage(value, Store(3, at)),)


def _random(*shape: int) -> Array:
    return _aligned(np.random.default_rng(shape).standard_normal(shape, np.float32))


def _aligned(array: Array) -> Array:
    """A copy at the start of a cache line, where the runtime puts buffers."""
    memory = np.empty(array.nbytes + 64, np.uint8)
    copy = memory[-memory.ctypes.data % 64 :][: array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _compiled(module: ModuleType, kernel: Kernel, sizes: Sequence[int], arrays: Sequence[Array]) -> Callable[[], None]:
    """All tasks of the kernel on these arrays, as a function."""
    cpu, values = target(), dict(zip(kernel.sizes, sizes, strict=True))
    schedule = default(kernel.body, cpu)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, compiled, library = folder / "kernel.c", folder / "kernel.o", folder / "kernel.so"
        source.write_text(module.source(kernel, "kernel", schedule))
        toolchain = find(folder)
        flags = [*toolchain.compile_flags(cpu.flags), "-fvisibility=default"]
        for command in (
            toolchain.compile(source, compiled, flags, build.TEMPLATES),
            toolchain.link([compiled], library),
        ):
            subprocess.run(command, env=toolchain.environ(), check=True)
        function = ctypes.CDLL(str(library)).kernel
    function.restype = None
    tasks = evaluate(module.tasks(kernel.body, schedule), values)
    scratch = _aligned(np.zeros(evaluate(module.scratch_bytes(kernel.body, schedule), values) // 4 + 1, np.float32))
    buffers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
    p = (ctypes.c_int64 * len(sizes))(*sizes)
    arguments = (buffers, p, ctypes.c_int64(0), ctypes.c_int64(tasks), ctypes.c_void_p(scratch.ctypes.data))

    def run() -> None:
        function(*arguments)

    run.__dict__["keep"] = (scratch, arrays)
    return run
