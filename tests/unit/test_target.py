"""CPU targets: names, levels, facts, and what a machine's own features lead to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from intaglio.compiler import target as targets
from intaglio.compiler.target import NAMES, Target, target
from intaglio.runtime import cpus
from intaglio.runtime.cpus import Cache
from intaglio.runtime.errors import InvalidArgument

_V2 = {"pni", "ssse3", "sse4_1", "sse4_2", "popcnt", "cx16", "lahf_lm"}
_V3 = _V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
Native = Callable[..., Target]


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> Iterator[Native]:
    """native(features) is the target of an x86-64 machine that has them."""

    def native(
        features: set[str],
        vendor: str = "",
        model: tuple[int, int] = (0, 0),
        caches: dict[int, Cache] | None = None,
    ) -> Target:
        told = {"architecture": "x86_64", "features": frozenset(features), "vendor": vendor, "model": model}
        for name, value in {**told, "caches": caches or {}}.items():
            monkeypatch.setattr(cpus, name, lambda value=value: value)
        targets._native.cache_clear()
        return target("native")

    yield native
    targets._native.cache_clear()


@pytest.mark.parametrize(("name", "lanes"), [("x86-64-v2", 4), ("x86-64-v3", 8), ("x86-64-v4", 16), ("generic", 4)])
def test_vector_width(name: str, lanes: int) -> None:
    assert target(name).lanes(4) == lanes


def test_unknown_name_lists_the_choices() -> None:
    with pytest.raises(InvalidArgument, match="unknown target 'pentium'; choose one of: native, x86-64-v2"):
        target("pentium")


def test_native_takes_the_highest_level_the_machine_has(native: Native) -> None:
    assert native(set()).name == "generic"
    assert native(_V2).name == "x86-64-v2"
    assert native(_V3).name == "x86-64-v3"
    assert native(_V3 | {"avx512f"}).name == "x86-64-v3"
    assert native(_V4).vector_bytes == 64
    for without in _V3 - _V2:  # code of a level may use any of its instructions
        assert native(_V3 - {without}).name == "x86-64-v2"


def test_native_adds_features_beyond_the_level(native: Native) -> None:
    cpu = native(_V4 | {"avx512_vnni", "amx_tile"})
    assert cpu.extras == ("avx512vnni", "amx-tile") and "-mavx512vnni" in cpu.flags
    assert "-mamx-tile" not in cpu.flags, "compilers that do not know it"
    assert cpu.required == sorted(_V4 | {"avx512_vnni"})
    assert "-mavx512vnni" not in target("x86-64-v4").flags
    assert native(_V3 | {"avx512_vnni", "avx_vnni"}).extras == ("avxvnni",), "vectors of 512 bits are hidden"


def test_native_knows_the_cpu_by_its_model(native: Native) -> None:
    assert native(_V3, "AMD", (0x19, 1)).name == "znver3"
    assert native(_V4, "AMD", (0x19, 0x11)).name == "znver4"
    assert native(_V4, "AMD", (0x1A, 2)).name == "znver5"
    assert native(_V4, "Intel", (6, 0x8F)).name == "sapphirerapids"
    assert native(_V4, "Intel", (6, 0xFF)).name == "x86-64-v4"
    hidden = native(_V3, "AMD", (0x19, 0x11))
    assert hidden.name == "x86-64-v3" and hidden.vector_bytes == 32 and hidden.fma_bytes == 64
    assert hidden.l2 == target("znver4").l2


def test_native_has_the_caches_of_the_machine(native: Native) -> None:
    caches = {1: Cache(48 << 10, 12), 2: Cache(2 << 20, 16, 2), 4: Cache(1 << 30, 16)}
    cpu = native(_V3, "AMD", (0x19, 1), caches)
    assert (cpu.l1, cpu.l2, cpu.l3) == (caches[1], caches[2], target("znver3").l3)


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_plausible(name: str) -> None:
    cpu = target(name)
    assert cpu.l1.bytes < min(cpu.l2.bytes, cpu.l3.bytes) and cpu.l1.bytes % (64 * cpu.l1.ways) == 0
    assert cpu.lanes(4) >= 4 and 4 <= cpu.sums <= cpu.registers


def test_facts_can_be_others() -> None:
    text = "znver3+l2=256K+registers=32+fma_latency=5+fma_bytes=32+vector_bytes=16+avxvnni"
    cpu, base = target(text), target("znver3")
    assert cpu.name == text and cpu.l2 == Cache(256 << 10, base.l2.ways)
    assert (cpu.registers, cpu.fma_latency, cpu.fma_bytes, cpu.lanes(4)) == (32, 5, 32, 4)
    assert cpu.extras == ("avxvnni",) and cpu.l1 == base.l1
    assert target("native+l3=7M").l3.bytes == 7 << 20
    for fact in ("l2", "l2=0", "l2=12Q", "sse9", "name=3", ""):
        with pytest.raises(InvalidArgument, match=f"unknown fact '{fact}' of the target 'znver3'"):
            target(f"znver3+{fact}")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "riscv64"])
def test_code_is_for_the_architecture_of_this_machine(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "architecture", lambda: machine)
    for name in targets.NAMES[1:]:
        wanted = {"generic": machine, "aarch64": "aarch64"}.get(name, "x86_64")
        if wanted == machine:
            targets.ensure_buildable(target(name))
        else:
            message = f"'{name}' is of the architecture {wanted}, and this machine is {machine}"
            with pytest.raises(InvalidArgument, match=message):
                targets.ensure_buildable(target(name))


def test_native_is_of_this_machine() -> None:
    targets.ensure_buildable(target("native"))
