"""Whether the conversion itself is right: a converted model that computes something else is not written.

That is about blunders of the converter (a reshape that mixes samples, a transpose forgotten), not about roundings,
which `verify` measures.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgebn import backends
from edgebn.errors import ConversionError
from edgebn.loading import Source
from edgebn.verifying.compare import max_abs, scale
from edgebn.verifying.probes import NORMAL, probes
from edgebn.verifying.reference import keras_run

SAMPLES = 3
BLUNDER = 1e-2
"""Of the output's scale. Roundings of deep models in float32 were seen up to 1e-4 of it, in float16 up to 1e-2."""


def check_conversion(source: Source, content: bytes, unfolded: ir.Model) -> None:
    """Run Keras and the converted model on a few random samples.

    Raises:
        ConversionError: if an output has another shape or is far off; the message names the first layer that is, and
            the operators that it was converted to, as far as the model has layers whose results can be had.
    """
    inputs = _normal(source)
    expected = keras_run(source)(inputs)
    actual = _run(content, inputs, source)
    if isinstance(actual, str):
        raise ConversionError(f"{source.name}: onnxruntime can not run the converted model; nothing written: {actual}")
    for output, ours, theirs in zip(source.outputs, actual, expected, strict=True):
        if not _close(ours, theirs):
            raise ConversionError(
                f"{source.name}: the converted model computes another {output.name} than Keras; nothing written"
                f"{_culprit(source, unfolded, inputs)}"
            )


def _normal(source: Source) -> tuple[NDArray[Any], ...]:
    fixed = next((tensor.shape[0] for tensor in source.inputs if tensor.shape[0] is not None), None)
    drawn = next(probe.inputs for probe in probes(source.inputs, None, 0, fixed) if probe.name == NORMAL)
    return tuple(array[: fixed or SAMPLES] for array in drawn)


def _close(actual: NDArray[Any], expected: NDArray[Any]) -> bool:
    expected = np.asarray(expected, np.float32)
    return actual.shape == expected.shape and max_abs(actual, expected) <= BLUNDER * scale(expected)


def _run(content: bytes, inputs: tuple[NDArray[Any], ...], source: Source) -> list[NDArray[Any]] | str:
    """The outputs in onnxruntime, without its optimisations; or what it says when it fails."""
    onnxruntime = backends.onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    feed = {tensor.name: array for tensor, array in zip(source.inputs, inputs, strict=True)}
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        results: list[NDArray[Any]] = session.run(None, feed)
    except backends.onnxruntime_errors() as error:
        return " ".join(str(error).split())[:300]
    return results


def _culprit(source: Source, unfolded: ir.Model, inputs: tuple[NDArray[Any], ...]) -> str:
    """The first layer whose result is not that of the nodes it became: the same numbers in some order."""
    for path, result in _layer_results(source, inputs):
        nodes = [node for node in unfolded.graph if (node.name or "").startswith(f"{path}/")]
        if not nodes:
            continue
        probed = unfolded.clone()
        last = next(node for node in probed.graph if node.name == nodes[-1].name)
        probed.graph.outputs.clear()
        probed.graph.outputs.append(last.outputs[0])
        actual = _run(ir.to_proto(probed).SerializeToString(), inputs, source)
        if isinstance(actual, str) or not _close(np.sort(actual[0], axis=None), np.sort(result, axis=None)):
            operators = ", ".join(dict.fromkeys(node.op_type for node in nodes))
            return f"; the first layer that differs is {path}, which tf2onnx made into {operators}"
    return ""


def _layer_results(source: Source, inputs: tuple[NDArray[Any], ...]) -> Iterator[tuple[str, NDArray[Any]]]:
    """The layers of the outermost model that have one result, in order, and that result on `inputs`."""
    keras = backends.keras()
    for path, layer in source.layers.items():
        if "/" not in path and len(getattr(layer, "_inbound_nodes", ())) == 1 and hasattr(layer.output, "shape"):
            part = keras.Model(source.model.inputs, layer.output) if source.model is not None else None
            if part is not None and not isinstance(layer, keras.layers.InputLayer):
                packed = keras.tree.pack_sequence_as(part.input, list(inputs))
                yield path, np.asarray(part(packed, training=False))
