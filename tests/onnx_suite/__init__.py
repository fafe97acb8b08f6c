"""The backend suite of the ONNX project, every case compiled to native code: `python -m tests.onnx_suite --help`."""
