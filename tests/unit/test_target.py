"""CPU targets: names, levels and what a machine's own features lead to."""

from __future__ import annotations

import platform

import pytest

from intaglio.compiler import target as targets
from intaglio.compiler.target import target
from intaglio.runtime.errors import InvalidArgument

_V3 = {"ssse3", "sse4_1", "sse4_2", "popcnt", "cx16", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> object:
    """native(features) is the target of an x86-64 machine that has them."""

    def native(features: set[str]) -> targets.Target:
        monkeypatch.setattr(targets, "cpu_flags", lambda: frozenset(features))
        monkeypatch.setattr(platform, "machine", lambda: "x86_64")
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


def test_native_takes_the_highest_level_the_machine_has(native) -> None:  # type: ignore[no-untyped-def]
    assert native(set()).name == "generic"
    assert native(_V3).name == "x86-64-v3"
    assert native(_V3 | {"avx512f"}).name == "x86-64-v3"
    assert native(_V4).vector_bytes == 64


def test_native_adds_features_beyond_the_level(native) -> None:  # type: ignore[no-untyped-def]
    cpu = native(_V4 | {"avx512_vnni"})
    assert cpu.features == ("avx512vnni",) and "-mavx512vnni" in cpu.flags
    assert "-mavx512vnni" not in target("x86-64-v4").flags


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "riscv64"])
def test_code_is_for_the_architecture_of_this_machine(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "architecture", lambda: machine)
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
