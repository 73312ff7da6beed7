"""A reference that takes what a file takes, and a file that gives what a reference gives.

The reference is wrapped in NumPy, by the definition: nothing of what writes the file has a part in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgebn.errors import InputError
from edgebn.interface import Interface, channel_axis, layout_of, recorded, reordering
from edgebn.loading import Tensor
from edgebn.verifying.onnx_files import OnnxFile, in_memory
from edgebn.verifying.reference import Logits, Reference, Truth
from edgebn.verifying.samples import Inputs, Run

_SQUEEZES = frozenset({"LogSoftmax", "Sigmoid", "Softmax"})


def behind(reference: Reference, interface: Interface, layout: str | None) -> Reference:
    """The reference, of images in this layout, behind the interface: it sees (scale·x − mean)/std in its own layout.

    Where it takes raw pixels itself they stay as they are. Raises InputError if it has several inputs.
    """
    if not interface.changes_input:
        return replace(reference, gives_class=interface.output == "class")
    if len(reference.inputs) != 1:
        raise InputError(f"{reference.name}: has {len(reference.inputs)} inputs, the ONNX file speaks of one")
    (tensor,) = reference.inputs
    wanted = interface.layout or layout
    shape = tuple(tensor.shape[axis] for axis in reordering(layout, wanted) or range(len(tensor.shape)))
    scales = interface.input is not None and tensor.dtype != interface.input
    channels = shape[channel_axis(wanted)]
    back = reordering(wanted, layout)

    def take(inputs: Inputs) -> Inputs:
        (x,) = inputs
        pixels = _preprocessed(x, interface, channels, channel_axis(wanted)) if scales else x
        return (pixels if back is None else np.ascontiguousarray(pixels.transpose(back)),)

    def taking(run: Run) -> Run:
        return replace(run, once=lambda inputs: run.once(take(inputs)))

    def truth(exact: Truth | None) -> Truth | None:
        return None if exact is None else replace(exact, run=taking(exact.run))

    def logits(wanted: Mapping[int, str]) -> Logits | None:
        found = reference.logits(wanted)
        return None if found is None else replace(found, run=taking(found.run), truth=truth(found.truth))

    given = Tensor(tensor.name, shape, interface.input or tensor.dtype)
    return replace(
        reference,
        inputs=(given,),
        run=taking(reference.run),
        truth=truth(reference.truth),
        logits=logits,
        take=take,
        gives_class=interface.output == "class",
    )


def _preprocessed(x: NDArray[Any], interface: Interface, channels: int | None, axis: int) -> NDArray[np.float32]:
    """(scale·x − mean)/std in float64, rounded once; mean and std along the axis of the channels."""
    along = [1] * x.ndim
    along[axis] = -1
    mean, std = (np.array(values, np.float64) for values in (interface.mean or (0.0,), interface.std or (1.0,)))
    if any(each.size not in (1, channels) for each in (mean, std)):
        raise InputError(f"the metadata speak of {max(mean.size, std.size)} channels, the input has {channels}")
    pixels = (interface.scale * x.astype(np.float64) - mean.reshape(along)) / std.reshape(along)
    return pixels.astype(np.float32)


def images_of(inputs: tuple[Tensor, ...], usual: str) -> str | None:
    """The layout of a model's images; None if it does not take images alone."""
    return layout_of(inputs[0].shape, usual) if len(inputs) == 1 else None


def scored(file: OnnxFile) -> OnnxFile:
    """A file that gives a class as one that gives the scores of which that is the largest; any other as it is.

    Scores say more of a model than which of them is the largest. Raises InputError unless it is ArgMax that decides.
    """
    if recorded(file.model.metadata_props, file.name).output != "class":
        return file
    twin = file.model.clone()
    decides = twin.graph.outputs[0].producer()
    if decides is None or len(twin.graph.outputs) != 1 or not _is_largest(decides) or decides.inputs[0] is None:
        raise InputError(f"{file.name}: is said to give a class, which is not made by ArgMax over the scores")
    twin.graph.outputs[0] = decides.inputs[0]
    twin.graph.remove(decides, safe=True)
    del twin.metadata_props["edgebn.output"]
    return replace(in_memory(file.name, ir.to_proto(twin).SerializeToString(), twin), sha256=file.sha256)


def both_scored(ours: OnnxFile, theirs: OnnxFile) -> tuple[OnnxFile, OnnxFile]:
    """Both files with scores for outputs that in both are the index of the largest of some; else as they are.

    Not where it is probabilities in the one and logits in the other.
    """
    pairs = list(zip(ours.model.graph.outputs, theirs.model.graph.outputs, strict=False))
    chosen = [
        place
        for place, (one, other) in enumerate(pairs)
        if one.name in ours.anatomy.choices
        and other.name in theirs.anatomy.choices
        and ours.anatomy.choices[one.name][1:] == theirs.anatomy.choices[other.name][1:]
        and _made_by(ours, one.name) == _made_by(theirs, other.name)
    ]
    if any(recorded(each.model.metadata_props, each.name).output == "class" for each in (ours, theirs)):
        return ours, theirs
    if not chosen or len(ours.model.graph.outputs) != len(theirs.model.graph.outputs):
        return ours, theirs
    return _with_scores(ours, chosen), _with_scores(theirs, chosen)


def _made_by(file: OnnxFile, name: str) -> str:
    """Of the scores whose largest this output is the index of: the operator that squeezes them, if one does."""
    scores = file.anatomy.choices[name][0]
    made = next((node.op_type for node in file.model.graph if scores in {value.name for value in node.outputs}), "")
    return made if made in _SQUEEZES else ""


def _with_scores(file: OnnxFile, places: list[int]) -> OnnxFile:
    """The file with scores at these places of its outputs."""
    twin = file.model.clone()
    values = {value.name: value for node in twin.graph for value in (*node.inputs, *node.outputs) if value is not None}
    for place in places:
        name = twin.graph.outputs[place].name or ""
        scores = values[file.anatomy.choices[name][0]]
        shown = ir.node("Identity", [scores], name=f"{name}/scores")
        shown.outputs[0].name = f"scores of {name}"
        twin.graph.append(shown)
        twin.graph.outputs[place] = shown.outputs[0]
    return replace(in_memory(file.name, ir.to_proto(twin).SerializeToString(), twin), sha256=file.sha256)


def _is_largest(node: ir.Node) -> bool:
    """Whether it gives the index of the first of the largest of each row."""
    of_rows = node.attributes.get_int("axis", 0) in {1, -1} and not node.attributes.get_int("keepdims", 1)
    return (
        node.op_type == "ArgMax"
        and node.domain == ""
        and of_rows
        and not node.attributes.get_int("select_last_index", 0)
    )
