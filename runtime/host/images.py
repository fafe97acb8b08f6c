"""Images in files, by Pillow, which is imported when the first one is decoded."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from .. import errors
from .registry import function

Array = np.ndarray[Any, Any]


@function("ImageDecoder")
def image_decoder(encoded: Array, *, pixel_format: str) -> Array:
    """The pixels of an image, [height, width, channels] of bytes."""
    try:
        import PIL.Image
    except ImportError:
        text = "Images are decoded by Pillow, which is not installed: pip install 'intaglio[image]'"
        raise errors.NotImplemented(text) from None
    try:
        image = PIL.Image.open(io.BytesIO(encoded.tobytes()))
        pixels = np.asarray(image.convert("L" if pixel_format == "Grayscale" else "RGB"))
    except OSError as error:
        raise ValueError(str(error)) from None
    if pixel_format == "Grayscale":
        return pixels[:, :, None]
    return pixels[:, :, ::-1] if pixel_format == "BGR" else pixels
