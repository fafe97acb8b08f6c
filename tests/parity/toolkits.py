"""Uses onnxruntime's toolkits on whatever `onnxruntime` is: `python toolkits.py FOLDER`, which gets the models."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import QuantFormat, matmul_bnb4_quantizer, matmul_nbits_quantizer, shape_inference
from onnxruntime.tools import symbolic_shape_infer
from onnxruntime.transformers import float16, optimizer

DATA = Path(__file__).parents[1] / "data"
folder = Path(sys.argv[1])

model = optimizer.optimize_model(str(DATA / "bert.onnx"), "bert", num_heads=2, hidden_size=64, opt_level=0)
model.save_model_to_file(str(folder / "bert.onnx"))
onnx.save(float16.convert_float_to_float16(onnx.load(DATA / "mlp.onnx")), folder / "half.onnx")
inferred = symbolic_shape_infer.SymbolicShapeInference.infer_shapes(onnx.load(DATA / "mlp.onnx"))
onnx.save(inferred, folder / "shapes.onnx")
shape_inference.quant_pre_process(str(DATA / "mlp.onnx"), str(folder / "prepared.onnx"), skip_optimization=True)
for form in (QuantFormat.QOperator, QuantFormat.QDQ):
    for symmetric in (True, False):
        quantizer = matmul_nbits_quantizer.MatMulNBitsQuantizer(
            onnx.load(DATA / "mlp.onnx"), block_size=32, is_symmetric=symmetric, quant_format=form,
            op_types_to_quantize=("MatMul", "Gather"),
        )  # fmt: skip
        quantizer.process()
        quantizer.model.save_model_to_file(str(folder / f"bits-{form.name}-{symmetric}.onnx"))
bnb4 = matmul_bnb4_quantizer.MatMulBnb4Quantizer(onnx.load(DATA / "mlp.onnx"), quant_type=1, block_size=64)
bnb4.process()
bnb4.model.save_model_to_file(str(folder / "bnb4.onnx"))
session = onnxruntime.InferenceSession(folder / "bits-QOperator-False.onnx")
result = session.run(None, {session.get_inputs()[0].name: np.ones((2, 64), np.float32)})[0]
print(float(np.abs(result).sum()) > 0, onnxruntime.InferenceSession.__module__)
