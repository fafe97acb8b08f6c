"""Images in files."""

from __future__ import annotations

import io
import sys

import numpy as np
import PIL.Image
import pytest

from intaglio.runtime.errors import NotImplemented
from intaglio.runtime.host.images import image_decoder

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def encoded(format: str, mode: str = "RGB") -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    file = io.BytesIO()
    PIL.Image.fromarray(PIXELS).convert(mode).save(file, format)
    return np.frombuffer(file.getvalue(), np.uint8)


@pytest.mark.parametrize("format", ["PNG", "BMP", "PPM", "TIFF"])
def test_pixels(format: str) -> None:
    assert (image_decoder(encoded(format), pixel_format="RGB") == PIXELS).all()
    assert (image_decoder(encoded(format), pixel_format="BGR") == PIXELS[..., ::-1]).all()
    assert image_decoder(encoded(format), pixel_format="Grayscale").shape == (5, 7, 1)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_any_file_has_three_channels(mode: str) -> None:
    assert image_decoder(encoded("PNG", mode), pixel_format="RGB").shape == PIXELS.shape


def test_what_is_no_image() -> None:
    with pytest.raises(ValueError, match="cannot identify image file"):
        image_decoder(np.zeros(10, np.uint8), pixel_format="RGB")


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    image = encoded("PNG")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(NotImplemented, match="pip install"):
        image_decoder(image, pixel_format="RGB")
