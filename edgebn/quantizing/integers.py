"""Weights and tensors in 8 bits, by onnxruntime's own quantizer: static, QuantizeLinear and DequantizeLinear pairs.

Weights have a scale for each channel, tensors one, by the smallest and largest value that the caller's data drive them
to. What is left in float32 are the operators that no integer kernel is written for, and Softmax and Sigmoid: in
8 bits a probability would be a multiple of 1/256.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from edgebn import backends
from edgebn.errors import ConversionError

Feed = dict[str, NDArray[Any]]

_OPERATORS = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "Relu", "Clip", "LeakyRelu", "BatchNormalization"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Concat", "Split", "Slice", "Gather", "Pad", "Resize"),
    *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"),
)
_QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear"})
_FAILS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError, AssertionError)


def in_integers(name: str, content: bytes, feeds: Iterator[Feed]) -> bytes:
    """The model of `content` in 8 bits, calibrated on `feeds`; metadata and producer stay. The same gives the same.

    Raises:
        ConversionError: if onnxruntime's quantizer can not do it, or has done it already.
    """
    quantization = backends.onnxruntime_quantization()
    given = onnx.load_from_string(content)
    if any(node.op_type in _QUANTIZED for node in given.graph.node):
        raise ConversionError(f"{name}: is quantized already; give the model in float32")
    with tempfile.TemporaryDirectory() as folder, backends.unlogged():
        described, quantized = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        described.write_bytes(onnx.shape_inference.infer_shapes(given, data_prop=True).SerializeToString())
        try:
            quantization.quantize_static(
                described,
                quantized,
                _reader(quantization, feeds),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=list(_OPERATORS),
                per_channel=True,
                activation_type=quantization.QuantType.QInt8,
                weight_type=quantization.QuantType.QInt8,
            )
        except _FAILS as error:
            text = " ".join(str(error).split())[:300] or type(error).__name__
            raise ConversionError(f"{name}: onnxruntime can not quantize it; nothing written: {text}") from error
        result = onnx.load(quantized)
    for field in ("producer_name", "producer_version", "metadata_props"):
        result.ClearField(field)
    result.MergeFrom(onnx.ModelProto(producer_name=given.producer_name, producer_version=given.producer_version))
    result.metadata_props.extend(given.metadata_props)
    result.graph.ClearField("value_info")
    return bytes(result.SerializeToString(deterministic=True))


def _reader(quantization: Any, feeds: Iterator[Feed]) -> Any:
    """The feeds in the form that the quantizer asks for."""

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> Feed | None:
            return next(feeds, None)

    return Reader()
