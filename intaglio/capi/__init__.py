"""The inner modules of onnxruntime that programs import, under the same names. Nothing is defined here."""
