"""What a tuning run tells: text, a table on a terminal, a page."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from intaglio.compiler.tune import report as module
from intaglio.compiler.tune.report import KernelReport, Live, TuningReport, described

TILE = {"rows": [1, 6], "vectors": 4, "lanes": 16}


def kernel(**fields: Any) -> KernelReport:
    made = {"kind": "Matmul", "nodes": "first, Relu", "steps": 2, "share": 0.5, "trials": 3, "seconds": 1e-4,
            "gain": 1.25, "in_model": 1.2, "schedule": {"tile": TILE, "block_rows": 48}, "flops": 1 << 24,
            "bytes": 1 << 18, "best": [1.0, 1.1, 1.25]}  # fmt: skip
    return KernelReport(**made | fields)


def report(*kernels: KernelReport, **fields: Any) -> TuningReport:
    made = {"model": "m.onnx", "cpu": "a CPU", "threads": 2, "database": "t.jsonl", "kernels": [*kernels],
            "before": 2e-3, "after": 1e-3, "gain": 2.0, "records": 3, "seconds": 9.0, "peak_flops": 1e11,
            "peak_bytes": 2e10}  # fmt: skip
    return TuningReport(**made | fields)


def test_the_text() -> None:
    text = str(report(kernel(refused=1), left_out={"it runs on the device": 3}, lost={"its machine ended": 2}))
    assert "2 candidates are left out: its machine ended" in text
    assert "first, Relu: tile = 6x64, block_rows = 48" in text
    assert "3 steps are left out: it runs on the device" in text
    assert "1 candidates were refused: wrong results" in text
    assert "the whole model: 2.00 -> 1.00 ms, 2.000 times as fast, on 2 threads of a CPU" in text
    assert text.endswith("3 measurements in 9 s, added to t.jsonl")
    assert "interrupted: what was measured is kept" in str(report(interrupted=True))


@pytest.mark.parametrize(("schedule", "text"), [
    ({"type": "MatmulSchedule", "tile": TILE, "block_rows": 48}, "tile = 6x64, block_rows = 48"),
    ({"tiles": [{"rows": 1, "widths": [8, 4]}, {"rows": 2, "widths": [4]}]}, "tiles = 1x[8,4] 2x[4]"),
    ({"unrolled": False}, "unrolled = False"),
])  # fmt: skip
def test_schedules_as_text(schedule: dict[str, Any], text: str) -> None:
    assert described(schedule) == text


def test_the_page() -> None:
    found = report(kernel(), kernel(nodes="second", schedule={}, gain=1.0, in_model=None, best=[1.0]))
    page = ElementTree.fromstring(found.html())
    assert found._repr_html_() == found.html()
    svg = list(page.iter("svg"))
    assert len(svg) == 2 and len(list(svg[0].iter("polyline"))) == 2 and len(list(svg[1].iter("circle"))) == 4
    hollow, full = (float(circle.attrib["cy"]) for circle in list(svg[1].iter("circle"))[:2])
    assert full < hollow  # the tuned kernel is higher
    (line, _) = svg[0].iter("polyline")
    heights = [float(point.split(",")[1]) for point in line.attrib["points"].split()]
    assert heights == sorted(heights, reverse=True) and heights[-1] == 0


def test_names_of_a_model_are_escaped() -> None:
    page = report(kernel(nodes="<script>alert('x')</script>"), model="<b>").html()
    assert "<script" not in page and "<b>" not in page
    ElementTree.fromstring(page)


@pytest.mark.parametrize("found", [
    report(), report(kernel(seconds=0.0, best=[], flops=0)), report(kernel(best=[1.0])),
    report(kernel(), peak_flops=0.0), report(kernel(), interrupted=True),
])  # fmt: skip
def test_a_page_of_little(found: TuningReport) -> None:
    ElementTree.fromstring(found.html())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(module.sys, "stderr", terminal)
    monkeypatch.setattr(module, "REDRAW", 0.0)
    with Live() as live:
        live(report(kernel()), kernel(), 0.5)
        live(report(kernel()), None, 1.0)
    assert "first, Relu" in terminal.getvalue() and "50%" in terminal.getvalue() and "100%" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[J")


def test_elsewhere_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = io.StringIO()
    monkeypatch.setattr(module.sys, "stderr", plain)
    with Live() as live:
        live(report(kernel()), kernel(), 0.5)
    assert plain.getvalue() == ""
