"""Whether an ONNX file computes what its Keras model computes. Exporter, folding and runtime are all suspects.

samples     how a model is run: any number of samples at once, or one whole array
sizes       what sizes run, and whether axis 0 counts samples
setting     both models, opened and matched, and what they are fed
probes      the inputs; masks, clip_sides and boundaries add those that a model needs
reference   Keras, as it is and in float64
sessions    onnxruntime, with its optimisations off and on
compare     the arithmetic of the verdict, on arrays
verdict     verify, which puts them together
"""
