"""A float32 model in fewer bits, and what that costs, measured beside the float32 file.

half       weights as float16, cast to float32 where they are read
integers   weights and tensors in 8 bits, by onnxruntime's quantizer and the caller's data
measuring  both files on the same samples, and how fast each is
lowering   which of them, and all of it put together
"""
