"""Attention, recurrent layers and sorting through Triton's compiler, for GPUs that need not be there.

What the interpreter cannot tell: that types and shapes are allowed, that tensor cores are used, that no register goes
to memory, and that blocks fit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from unit.codegen import attentions, recurrences, sorts
from unit.codegen.triton import translated

from intaglio.compiler.codegen.triton.tiles import Source
from intaglio.compiler.precision import Rounding
from intaglio.compiler.scalar.dtype import BF16, DTYPES, F16, F32, F64, DType

Assemble = Callable[..., dict[str, dict[str, Any]]]


def _attention(dtype: DType, d: int, rounding: Rounding = "ieee", length: int = 1024, **more: Any) -> Source:
    heads = more.pop("heads", 16)
    case = attentions.Case(m=length, n=length, d=d, dv=d, heads=heads, kv_heads=heads, dtype=dtype, **more)
    return translated.source(attentions.kernel_of(case)[0], rounding)


def _recurrent(kind: str, *direction: str, **more: Any) -> Source:
    return translated.source(recurrences.kernel_of(recurrences.Case(kind, *direction, symbolic=False, **more))[0])


def _sort(dtype: str) -> Source:
    return translated.source(sorts.kernel_of(sorts.Case(DTYPES[dtype], True, 1000, 100))[0])


_FIXED = {"symbolic": False}
_ON_TENSOR_CORES = {
    "f16 64": _attention(F16, 64, **_FIXED),
    "f16 64 causal": _attention(F16, 64, causal=0, **_FIXED),
    "f16 128 causal": _attention(F16, 128, causal=0, **_FIXED),
    "bf16 128": _attention(BF16, 128, mask="mn", **_FIXED),
    "f16 256": _attention(F16, 256, **_FIXED),
    "tf32 64": _attention(F32, 64, "tf32", **_FIXED),
    "bf16x3 64": _attention(F32, 64, "bf16x3", **_FIXED),
    "bf16x3 128 causal": _attention(F32, 128, "bf16x3", causal=0, **_FIXED),
    "tf32 128 causal": _attention(F32, 128, "tf32", causal=0, **_FIXED),
}
_OTHERS = {
    "f32 64": _attention(F32, 64, **_FIXED),
    "f32 64 short": _attention(F32, 64, length=50, **_FIXED),
    "f32 64 ragged": _attention(F32, 64, length=197, mask="bn", **_FIXED),
    "f32 128 causal": _attention(F32, 128, causal=0, **_FIXED),
    "f64 64": _attention(F64, 64, **_FIXED),
    "f16 80 short": _attention(F16, 80, length=50, heads=2, **_FIXED),
    **{f"sort of {name}": _sort(name) for name in ("f16", "f64", "bool", "u32", "i64")},
}
# Of these ptxas may move a few words to memory, however many registers are free.
_RECURRENT = {
    "lstm": _recurrent("lstm", batch=32, hidden=512, has=("peephole", "h0", "c0", "lengths")),
    "lstm of f16": _recurrent("lstm", "bidirectional", batch=1, hidden=128, dtype=F16),
    "gru of bf16": _recurrent("gru", batch=8, hidden=256, dtype=BF16),
    "gru_linear_before_reset": _recurrent("gru_linear_before_reset", "reverse", hidden=256, has=("rb", "lengths")),
    "rnn": _recurrent("rnn", hidden=16),
}


def test_hopper(assemble: Assemble, check_resources: Callable[..., None]) -> None:
    """Attention on tensor cores is by wgmma."""
    results = assemble(90, _ON_TENSOR_CORES | _OTHERS | _RECURRENT)
    check_resources(results, _RECURRENT)
    assert [name for name in _ON_TENSOR_CORES if not results[name].wgmma] == []


@pytest.mark.slow
@pytest.mark.parametrize("arch", [80, 100, "gfx942"])
def test_other_gpus(arch: int | str, assemble: Assemble, check_resources: Callable[..., None]) -> None:
    some = ("f16 64", "bf16 128", "tf32 64", "f32 64", "f64 64", "sort of f16", "lstm", "gru of bf16")
    everything = _ON_TENSOR_CORES | _OTHERS | _RECURRENT
    check_resources(assemble(arch, {name: everything[name] for name in some}), _RECURRENT)


@pytest.mark.slow
def test_sizes_that_are_not_known(assemble: Assemble, check_resources: Callable[..., None]) -> None:
    """These may spill, as nothing is known of strides."""
    sources = {f"attention of {d}": _attention(d, 64, causal=0, mask="mn") for d in (F16, F32, F64)}
    case = recurrences.Case("gru", "bidirectional", has=("h0", "lengths"))
    sources["gru"] = translated.source(recurrences.kernel_of(case)[0])
    check_resources(assemble(90, sources), sources)
