"""Random ONNX models, judged by onnxruntime and onnx's reference evaluator: python -m tests.fuzz.differential."""
