"""The page about a model: all that it promises, nothing from elsewhere, and what a browser makes of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intaglio.compiler.cli.main import main
from intaglio.compiler.explain import plots
from intaglio.runtime.errors import Fail

DATA = Path(__file__).parents[2] / "data"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
KEPT = Path(__file__).parents[3] / "build" / "screenshots"  # for people to look at
MOST = 5_000_000  # bytes of a page


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made = {name: folder / f"{name}.html" for name in ("bert", "resnet50")}
    for name, page in made.items():
        assert main(["report", str(DATA / f"{name}.onnx"), "-o", str(page), "--threads", "2"]) == 0
    return made


class Loads(HTMLParser):
    """What a page asks a browser to load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]


@pytest.mark.parametrize("name", ["bert", "resnet50"])
def test_all_is_in_one_file(name: str, pages: dict[str, Path]) -> None:
    text = pages[name].read_text()
    assert Loads(text).found == [] and "@import" not in text and len(text.encode()) < MOST
    for said in ("One run: what each thread does", "Roofline", "Memory of intermediate values", "Kernels: the bar",
                 "Fusions that did not happen", "Schedules", "of what", "Accuracy", "of bound"):  # fmt: skip
        assert said in text, said
    assert len(re.findall(r"rules \(tile = \d+x\d+", text)) > 0


def test_names_of_models_are_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "<b>&.onnx"
    shutil.copy(DATA / "mlp.onnx", model)
    assert main(["report", str(model), "-o", str(tmp_path / "r.html")]) == 0
    assert "<h1>&lt;b&gt;&amp;.onnx</h1>" in (tmp_path / "r.html").read_text()


def test_without_bokeh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bokeh", None)
    with pytest.raises(Fail, match=r"pip install 'intaglio\[report\]'"):
        plots.bokeh()


@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium to look at the page with")
@pytest.mark.parametrize("name", ["bert", "resnet50"])
def test_a_browser_shows_it(name: str, pages: dict[str, Path], tmp_path: Path) -> None:
    """Without a network, the figures are drawn: many colours where the canvas would be blank, and no error."""
    KEPT.mkdir(parents=True, exist_ok=True)
    picture = KEPT / f"report-{name}.png"
    flags = "--headless --no-sandbox --disable-gpu --hide-scrollbars --enable-logging=stderr --window-size=1200,2600"
    offline, profile = "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path}"
    command = [str(BROWSER), *flags.split(), offline, profile, f"--screenshot={picture}", pages[name].as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line and "rror" in line]
    assert not console, console
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    for kind in ("#4477aa", "#ee6677", "#228833"):  # those of the bars
        colour = [int(kind[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(pixels.astype(int) - colour).sum(-1) < 12).sum() > 50, kind
