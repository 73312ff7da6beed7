"""How fast, how large and how hungry ONNX files are in onnxruntime, measured side by side in one run.

timing      the loop that calls what is compared in turn, and the arithmetic of its samples; knows no runtime
inputs      random inputs by a file's own shapes and types
sessions    onnxruntime on CPU, with its defaults but for the number of threads
memory      the peak of a process of its own, one for each file
contents    models that are in no file yet, for who chooses among them
benchmark   bench, which puts them together
plot        the record as a picture
"""
