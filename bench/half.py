"""`python -m bench half [models]`: models of the zoo in float16 and bfloat16, against the same in float32.

In: models of the zoo, of which all float32 becomes the other type (`zoo_dir()`/half), inputs and outputs too. Out: a
table, the model that loses most first, with --write to bench/results. `ours/f32`, to the same model in float32 on
Intaglio, and `ours/ort` and `ours/ov`, to the same file on onnxruntime and OpenVINO, are ratios of medians in turns,
"-" where an engine lacks an operator. `error` is the RMS difference to float32, of ours and of the nearest peer.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from .engines import Feeds, Run, interleave, ort, ours, ov, selected
from .inputs import model_inputs
from .models import MODELS, path, zoo_dir
from .peak import cpu_name, describe
from .tables import keep, milliseconds, ratio, table

TYPES = {
    "f16": (TensorProto.FLOAT16, np.dtype(np.float16)),
    "bf16": (TensorProto.BFLOAT16, np.dtype(ml_dtypes.bfloat16)),
}
NAMES = ("resnet50", "mobilenetv2", "bert", "vit", "gpt2", "llama", "whisper")
_OPSET = 22  # the first with convolutions of bfloat16
_VALUES = {"to": TensorProto.FLOAT, "dtype": TensorProto.FLOAT}  # attributes that name a type


def halved(name: str, kind: str) -> Path:
    """The file of a model of that type; it is made where it is not there yet."""
    file = zoo_dir() / "half" / f"{name}-{kind}.onnx"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        model = onnx.version_converter.convert_version(onnx.load(path(name)), _OPSET)
        _convert(model.graph, *TYPES[kind])
        onnx.save(model, file)
    return file


def _convert(graph: onnx.GraphProto, code: int, dtype: np.dtype) -> None:
    """Makes every float32 of the graph one of the other type, in place."""
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = code
    for tensor in graph.initializer:
        _convert_tensor(tensor, code, dtype)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _convert_tensor(attribute.t, code, dtype)
            elif attribute.name in _VALUES and attribute.i == _VALUES[attribute.name]:
                attribute.i = code
            elif attribute.HasField("g"):
                _convert(attribute.g, code, dtype)


def _convert_tensor(tensor: onnx.TensorProto, code: int, dtype: np.dtype) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        data = numpy_helper.to_array(tensor).astype(dtype)
        made = TensorProto(name=tensor.name, data_type=code, dims=data.shape, raw_data=data.tobytes())
        tensor.CopyFrom(made)


@dataclass
class Row:
    """What was measured of a model in one type: seconds of each engine, RMS errors."""

    name: str
    kind: str
    seconds: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)

    @property
    def loss(self) -> float:
        return self.seconds["ours"] / self.seconds["f32"]


def measure(name: str, kind: str, threads: int, rounds: int) -> Row:
    file, row, dtype = halved(name, kind), Row(name, kind), TYPES[kind][1]
    feeds = model_inputs(path(name), MODELS[name])
    short: Feeds = {n: f.astype(dtype) if f.dtype == np.float32 else f for n, f in feeds.items()}
    runs: dict[str, Run] = {"ours": ours(file, short, threads), "f32": ours(path(name), feeds, threads)}
    peers: dict[str, Callable[..., Run]] = {"ort": ort, "ov": ov}
    for peer, engine in peers.items():
        try:
            runs[peer] = engine(file, short, threads)
            runs[peer]()
        except Exception as error:
            print(f"{name} {kind}: {peer}: {str(error).splitlines()[0]}", flush=True)
            runs.pop(peer, None)
    exact = runs["f32"]()[0].astype(np.float64)
    for engine in runs:
        row.errors[engine] = float(np.sqrt(((runs[engine]()[0].astype(np.float64) - exact) ** 2).mean()))
    row.seconds = interleave(runs, rounds)
    return row


def format_rows(rows: list[Row]) -> str:
    lines = [
        [row.name, row.kind, *(milliseconds(row.seconds[e]) for e in ("ours", "f32")),
         *(ratio(row.seconds["ours"], row.seconds.get(e)) for e in ("f32", "ort", "ov")), f"{row.errors['ours']:.3g}",
         f"{min((row.errors[e] for e in ('ort', 'ov') if e in row.errors), default=np.nan):.3g}"]
        for row in sorted(rows, key=lambda row: -row.loss)
    ]  # fmt: skip
    return table(["", "", "ours ms", "f32 ms", "ours/f32", "ours/ort", "ours/ov", "error", "peer's error"], lines)


def main(argv: list[str]) -> int:
    options = selected("half", "Time models of 16-bit floats.", NAMES, argv)
    rows = []
    for name in options.models:
        for kind in TYPES:
            rows.append(measure(name, kind, options.threads, options.rounds))
            print(rows[-1], flush=True)
    text = f"# {datetime.date.today()}, models of 16-bit floats, {describe()}\n\n{options.threads} threads\n\n"
    text += format_rows(rows)
    print(text)
    if options.write:
        keep(f"half-{options.threads}-{cpu_name()}", text)
    return 0
