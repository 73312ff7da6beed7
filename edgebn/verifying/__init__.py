"""Whether an ONNX file computes what its Keras model computes. Exporter, folding and runtime are all suspects.

probes      the inputs
reference   Keras, as it is and in float64
sessions    onnxruntime, with its optimisations off and on
compare     the arithmetic of the verdict, on arrays
verdict     verify, which puts them together
"""
