"""The model of `make demo`: its arithmetic is in convolution and matmul kernels, not in plain loops."""

from __future__ import annotations

from bench.demo import files
from intaglio.compiler.driver import lower_model
from intaglio.compiler.kernel import cost
from intaglio.compiler.kernel.ir import Conv, LoopNest, Matmul
from intaglio.compiler.options import Options
from intaglio.compiler.scalar.dim import evaluate


def test_convolutions_have_kernels_of_their_own() -> None:
    program = lower_model(str(files("resnet50")[0]), Options()).program
    assert program is not None
    flops = {Conv: 0, Matmul: 0, LoopNest: 0}
    for launch in program.launches:
        flops[type(launch.kernel.body)] += evaluate(cost.of_launch(launch).flops, {})
    assert flops[Conv] + flops[Matmul] > 7e9  # 3.9 G multiply-adds
    assert flops[LoopNest] < 0.01 * flops[Conv]
