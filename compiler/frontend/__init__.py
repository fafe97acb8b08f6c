"""ONNX in, graph IR out: `load` reads the protobuf, `importer` walks the nodes, `ops/` has a function per operator."""
