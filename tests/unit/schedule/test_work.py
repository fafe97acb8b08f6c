"""What algorithms do of a kernel's arithmetic, counted by hand, and how fast units do it at most."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.schedule.bodies import N, launch_of, tensor, weights

from intaglio.compiler.kernel import cost
from intaglio.compiler.kernel.ir import Launch, Schedule
from intaglio.compiler.scalar.dtype import F32, I8, I32, U8
from intaglio.compiler.schedule import matmul, space
from intaglio.compiler.schedule.conv import WinogradSchedule
from intaglio.compiler.schedule.work import operations, rate
from intaglio.compiler.target import target

V3, AMX = target("x86-64-v3"), target("sapphirerapids")


def scheduled(launch: Launch, schedule: Schedule) -> Launch:
    return replace(launch, schedule=schedule)


def test_winograds_algorithm_multiplies_less() -> None:
    """Sixteen products for four outputs instead of thirty-six."""
    x, w = tensor(N, 14, 14, 32), weights(3, 3, 32, 64)
    attrs = {"strides": (1, 1), "dilations": (1, 1), "pads_low": (1, 1), "pads_high": (1, 1)}
    launch = launch_of(x.emit("conv", [x, w], **attrs, groups=1, acc=F32)[0])
    found = {isinstance(s, WinogradSchedule): operations(scheduled(launch, s)) for s in space(launch.kernel.body, V3)}
    assert found == {True: N * 7 * 7 * 64 * 16 * 2 * 32, False: cost.of_launch(launch).flops}
    assert found[False] == N * 14 * 14 * 64 * 2 * 9 * 32


@pytest.mark.parametrize(("offset", "seen"), [(0, 5), (7, 12), (100, 16)])
def test_causal_attention_leaves_scores_out(offset: int, seen: int) -> None:
    """Ten rows, of which row i sees the first i + 1 + offset of sixteen columns."""
    q, k, v = (tensor(10 if name == "q" else 16, 8, name=name) for name in "qkv")
    launch = launch_of(q.emit("attention", [q, k, v], scale=1.0, causal=offset, zero_rows=False)[0])
    assert operations(launch) == 10 * seen * (16 + 16 + 20)
    assert abs(seen * 10 - sum(min(16, i + 1 + offset) for i in range(10))) <= 10


@pytest.mark.parametrize(("launch", "most"), [
    (launch_of(tensor(N, 30).matmul(weights(30, 256))), 1),
    (launch_of((tensor(N, dtype=U8).cast(F32) * 2.0).cast(U8)), 4),
    (launch_of(tensor(N) * 2.0), 1),
], ids=["product", "bytes", "floats"])  # fmt: skip
def test_rates_without_a_schedule(launch: Launch, most: float) -> None:
    assert rate(launch) == most


def test_rates_of_units() -> None:
    """Six products of bf16 parts, one of bytes; bytes as many as a unit takes together."""
    floats = launch_of(tensor(N, 64).matmul(weights(64, 256), acc=F32))
    integers = launch_of(tensor(N, 64, dtype=U8).matmul(weights(64, 256, dtype=I8), acc=I32))
    assert rate(scheduled(floats, matmul.default(floats.kernel.body, V3))) == 1
    assert rate(scheduled(floats, matmul.default(floats.kernel.body, AMX))) == 16 / 6
    assert rate(scheduled(integers, matmul.default(integers.kernel.body, AMX))) == 32
    for name, most in (("x86-64-v3", 2), ("x86-64-v3+avxvnni", 4), ("x86-64-v2", 4)):
        assert rate(scheduled(integers, matmul.default(integers.kernel.body, target(name)))) == most
