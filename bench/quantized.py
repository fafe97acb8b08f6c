"""`python -m bench quantized [models]`: models of the zoo, quantised by onnxruntime's own tools, ours against it.

In: models of the zoo. Each is quantised in several forms, once (`zoo_dir()`/quantized). Out: a table, the model that
loses most first, with --write to bench/results. `ours/ort` and `f32/ours`, the speed-up over the f32 model on Intaglio,
are ratios of medians in turns. `error` is the RMS difference to the f32 model on onnxruntime, that of ours and of
onnxruntime's; exit code 1 where ours is more than 1.3 times as far off.
"""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from intaglio.runtime import cpus as machine

from .engines import Feeds, interleave, ort, ours, selected
from .inputs import model_inputs
from .models import MODELS, path, zoo_dir
from .peak import cpu_name, describe
from .tables import keep, milliseconds, ratio, table

CALIBRATIONS = 3  # batches
FURTHER = 1.3  # times the error of onnxruntime that ours may have
_CONVOLUTIONS = ("resnet50", "mobilenetv2")
# Static forms by name: activations, weights, per channel, format.
STATIC = {
    "qdq u8s8": (QuantType.QUInt8, QuantType.QInt8, True, QuantFormat.QDQ),
    "qdq s8s8": (QuantType.QInt8, QuantType.QInt8, True, QuantFormat.QDQ),
    "qdq tensor": (QuantType.QUInt8, QuantType.QInt8, False, QuantFormat.QDQ),
    "qoperator": (QuantType.QUInt8, QuantType.QInt8, False, QuantFormat.QOperator),
}
FORMS = {
    **{name: tuple(STATIC) for name in _CONVOLUTIONS},
    **dict.fromkeys(("bert", "vit"), ("dynamic", "qdq u8s8")),
    **dict.fromkeys(("gpt2", "whisper"), ("dynamic",)),
}


class _Calibration(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, model: Path, dims: dict[str, int]) -> None:
        self.feeds = iter([model_inputs(model, dims, seed) for seed in range(1, CALIBRATIONS + 1)])

    def get_next(self) -> Feeds | None:
        return next(self.feeds, None)


def quantized(name: str, form: str) -> Path:
    """The file of a quantised model; it is made where it is not there yet."""
    # Without VNNI, onnxruntime adds two products in 16 bits, in which only those of weights of 7 bits fit.
    reduce_range = not {"avx512_vnni", "avx_vnni"} & machine.features()
    file = zoo_dir() / "quantized" / f"{name} {form}{' of 7 bits' if reduce_range else ''}.onnx".replace(" ", "-")
    if file.exists():
        return file
    file.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        whole, model = Path(folder, "whole.onnx"), Path(folder, "model.onnx")
        onnx.save(onnx.load(path(name)), whole)
        quant_pre_process(str(whole), str(model), skip_symbolic_shape=True)
        _forget_shapes(model)
        if form == "dynamic":
            quantize_dynamic(model, file, reduce_range=reduce_range)
            return file
        activations, weights, per_channel, format_ = STATIC[form]
        quantize_static(
            model, file, _Calibration(path(name), MODELS[name]), format_, per_channel=per_channel,
            reduce_range=reduce_range, activation_type=activations, weight_type=weights,
        )  # fmt: skip
    return file


def _forget_shapes(file: Path) -> None:
    """The optimiser turns weights round and leaves their old shapes (ViT's last product); the quantisers infer all."""
    model = onnx.load(file)
    del model.graph.value_info[:]
    onnx.save(model, file)


@dataclass
class Row:
    """What was measured of a model in one form: seconds of each engine, RMS errors."""

    name: str
    form: str
    seconds: dict[str, float] = field(default_factory=dict)
    error: float = 0.0
    error_of_ort: float = 0.0

    @property
    def loss(self) -> float:
        return self.seconds["ours"] / self.seconds["ort"]


def measure(name: str, form: str, threads: int, rounds: int) -> Row:
    file, row = quantized(name, form), Row(name, form)
    feeds = model_inputs(path(name), MODELS[name])
    runs = {"ours": ours(file, feeds, threads), "ort": ort(file, feeds, threads)}
    runs["f32"] = ours(path(name), feeds, threads)
    exact = ort(path(name), feeds, threads)()[0].astype(np.float64)
    row.error, row.error_of_ort = (float(np.sqrt(((runs[e]()[0] - exact) ** 2).mean())) for e in ("ours", "ort"))
    row.seconds = interleave(runs, rounds)
    return row


def format_rows(rows: Iterable[Row]) -> str:
    lines = [
        [row.name, row.form, *(milliseconds(row.seconds[e]) for e in ("ours", "ort", "f32")),
         ratio(row.seconds["ours"], row.seconds["ort"]), ratio(row.seconds["f32"], row.seconds["ours"]),
         f"{row.error:.3g}", f"{row.error_of_ort:.3g}"]
        for row in sorted(rows, key=lambda row: -row.loss)
    ]  # fmt: skip
    return table(["", "", "ours ms", "ort ms", "f32 ms", "ours/ort", "f32/ours", "error", "ort's error"], lines)


def main(argv: list[str]) -> int:
    options = selected("quantized", "Time quantised models.", FORMS, argv)
    rows = []
    for name in options.models:
        for form in FORMS[name]:
            rows.append(measure(name, form, options.threads, options.rounds))
            print(rows[-1], flush=True)
    features = " ".join(sorted({"avx2", "avx512_vnni", "avx_vnni", "amx_int8"} & machine.features()))
    text = f"# {datetime.date.today()}, quantised models, {describe()}\n\n{options.threads} threads; {features}\n\n"
    text += format_rows(rows)
    print(text)
    if options.write:
        keep(f"quantized-{options.threads}-{cpu_name()}", text)
    return int(any(row.error > FURTHER * row.error_of_ort for row in rows))
