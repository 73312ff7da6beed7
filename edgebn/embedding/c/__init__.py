"""Plain C from an ONNX graph."""
