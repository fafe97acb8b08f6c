"""onnxruntime's interface: sessions, bindings, options, providers."""
