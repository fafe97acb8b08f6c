"""Against onnxruntime: numbers, interface and error texts."""
