"""What a precision means for each kind of target, and that the page about it names the bounds that are tested."""

from __future__ import annotations

from pathlib import Path

import pytest
from unit.schedule.test_conv import TRANSFORMED

from intaglio.compiler.options import Options
from intaglio.compiler.precision import PARTS, Precision, precision
from intaglio.compiler.schedule import default, legal, space
from intaglio.compiler.schedule.conv import DenseSchedule, WinogradSchedule
from intaglio.compiler.schedule.tile import UNITS
from intaglio.compiler.target import target
from intaglio.runtime.errors import InvalidArgument

ROOT = Path(__file__).resolve().parents[2]


def test_unknown_ones_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="unknown precision 'Exact'"):
        Options(precision="Exact")  # type: ignore[arg-type]
    assert [precision(name) for name in PARTS] == [*PARTS]


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_below_the_highest_level_nothing_rounds_differently(level: int) -> None:
    assert Options(level=level).rounding == "strict" and Options().rounding == "exact"
    assert Options(level=level, precision="high").rounding == "high"  # what is asked for is done


@pytest.mark.parametrize(
    ("settings", "rounding"),
    [
        ({}, "ieee"),
        ({"allow_tf32": True}, "tf32"),
        ({"precision": "strict", "allow_tf32": True}, "ieee"),
        ({"precision": "high", "allow_tf32": True}, "bf16x3"),
        ({"precision": "bf16"}, "tf32"),
        ({"precision": "bf16", "target": "hip:gfx90a"}, "bf16x3"),
        ({"level": 0, "allow_tf32": True}, "tf32"),
    ],
)
def test_on_a_gpu(settings: dict[str, object], rounding: str) -> None:
    assert Options(**{"target": "cuda:sm_90", **settings}).rounding_on_gpu == rounding  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PARTS)
def test_a_convolution_by_each(name: Precision) -> None:
    """Winograd's algorithm is for CPUs without tiles, which gain more than it saves; strict has neither."""
    with_tiles, without = target("sapphirerapids"), target("icelake-server")
    on_tiles, plain = (default(TRANSFORMED, cpu, name) for cpu in (with_tiles, without))
    assert isinstance(plain, DenseSchedule if name == "strict" else WinogradSchedule)
    assert isinstance(on_tiles, DenseSchedule)
    assert len(on_tiles.tile.products) == {"strict": 0, "exact": 6, "high": 3, "bf16": 1}[name]
    for cpu in (with_tiles, without):
        made = list(space(TRANSFORMED, cpu, name))
        assert all(legal(TRANSFORMED, each, cpu, name) is None for each in made)
        assert any(isinstance(each, WinogradSchedule) for each in made) == (name != "strict")
    if name != "strict":
        assert "allow no products" in str(legal(TRANSFORMED, on_tiles, with_tiles, "strict"))
        assert "allow no products" in str(legal(TRANSFORMED, on_tiles, without, name))
    assert on_tiles.tile.unit in UNITS


def test_the_page_names_all() -> None:
    page = (ROOT / "docs" / "precision.md").read_text()
    assert all(page.count(f"\n| `{name}` |") == 2 for name in PARTS)
