"""From the ONNX file to a running app."""
