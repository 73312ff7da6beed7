"""What a file is held against: the model behind the interface that the file's metadata speak of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import onnx_ir as ir

from edgebn.errors import ConversionError, InputError
from edgebn.exporting.interfaces import give
from edgebn.interface import Interface, recorded
from edgebn.loading import Source
from edgebn.loading.scores import giving
from edgebn.tidying import infer_shapes
from edgebn.verifying.interfaces import behind, images_of, scored
from edgebn.verifying.onnx_files import OnnxFile, in_memory
from edgebn.verifying.reference import Reference, keras_reference, onnx_reference


def keras_behind(source: Source, metadata: Mapping[str, str], *, with_truth: bool = True) -> Reference:
    """A Keras model as a file with these metadata should be. Raises InputError if it can not be that."""
    interface = recorded(metadata, source.name)
    if interface.output is None:
        reference = keras_reference(source, with_truth=with_truth)
    else:
        seen = partial(giving, probabilities=interface.output == "probabilities")
        reference = _named(keras_reference(source, with_truth=with_truth, seen=seen), interface)
    return behind(reference, interface, images_of(source.inputs, "nhwc"))


def onnx_behind(file: OnnxFile, metadata: Mapping[str, str]) -> Reference:
    """An ONNX file as another one with these metadata should be. Raises InputError if it can not be that."""
    interface, own = recorded(metadata, file.name), recorded(file.model.metadata_props, file.name)
    if interface.output is None or interface.output == own.output:
        reference = onnx_reference(scored(file))
    else:
        reference = onnx_reference(_giving(file, interface))
    if interface.output is not None:
        reference = _named(reference, interface)
    return behind(reference, interface, own.layout or images_of(reference.inputs, "nchw"))


def _named(reference: Reference, interface: Interface) -> Reference:
    """The reference with its only output called what it is."""
    if len(reference.outputs) != 1:
        raise InputError(f"{reference.name}: has {len(reference.outputs)} outputs, the ONNX file speaks of one")
    name = "scores of the class" if interface.output == "class" else interface.output or ""
    return replace(reference, outputs=(replace(reference.outputs[0], name=name),))


def _giving(file: OnnxFile, interface: Interface) -> OnnxFile:
    """The file with logits or probabilities as its output; for a class with the logits that decide it."""
    twin = file.model.clone()
    infer_shapes(twin)
    try:
        give(file.name, twin, "probabilities" if interface.output == "probabilities" else "logits")
    except ConversionError as error:
        raise InputError(str(error)) from error
    return replace(in_memory(file.name, ir.to_proto(twin).SerializeToString(), twin), sha256=file.sha256)
