"""What an app is made from: an ONNX file, what it says of itself, and its golden vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isqrt, prod
from pathlib import Path

import onnx_ir as ir

from edgebn.embedding.golden import Golden, golden_vectors
from edgebn.embedding.names import file_name, identifier, plain
from edgebn.errors import InputError
from edgebn.interface import Interface, recorded
from edgebn.loading.onnx_files import open_onnx, parts_of

LABELS = "edgebn.labels"
"""The metadata key under which a file holds its class names, a JSON list of strings."""

PIXEL_RANGE = "Image.NominalPixelRange"
"""ONNX's own key for what grey or colour values the input takes."""

RANGES = {"NominalRange_0_255": (0.0, 255.0), "Normalized_0_1": (0.0, 1.0), "Normalized_1_1": (-1.0, 1.0)}

LARGEST_DRAWING = 64
"""Pixels along a side: a larger image is no drawing."""


@dataclass(frozen=True)
class Port:
    """An input or output: its name in the file, a name for programs, and the shape of one sample, in float32.

    `batched`: whether the file's tensor has a batch axis of any extent before these axes.
    """

    name: str
    identifier: str
    shape: tuple[int, ...]
    batched: bool

    @property
    def size(self) -> int:
        """Numbers in a sample."""
        return prod(self.shape)

    @property
    def tensor_shape(self) -> tuple[int, ...]:
        """The shape of one sample as the file takes it."""
        return (1, *self.shape) if self.batched else self.shape


@dataclass(frozen=True, eq=False)
class Application:
    """An ONNX file that is to be embedded. `identifier` is its name for programs.

    `content` are its bytes, with the data that lie in other files.
    """

    path: Path
    identifier: str
    content: bytes
    model: ir.Model
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]

    @property
    def name(self) -> str:
        """The file's name without its suffix, and without what could end a comment or a string."""
        return plain(self.path.stem)

    @property
    def sha256(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def golden(self) -> Golden:
        """The vectors of the self-test."""
        return golden_vectors(self.path, self.content, self.inputs, self.outputs)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, if the file says them."""
        text = self.metadata.get(LABELS)
        if text is None:
            return ()
        try:
            names = json.loads(text)
            "".join(names).encode()
        except (ValueError, TypeError, RecursionError):
            names = None
        if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
            raise InputError(f"{self.path}: its metadata {LABELS} is not a JSON list of strings; write it anew")
        if len(names) != self.outputs[0].size:
            raise InputError(
                f"{self.path}: its metadata {LABELS} names {len(names)} classes, but {self.outputs[0].name} has "
                f"{self.outputs[0].size} scores; write it anew"
            )
        return tuple(names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, or their numbers."""
        return self.labels or tuple(str(index) for index in range(self.outputs[0].size))

    @property
    def pixels(self) -> tuple[float, float]:
        """What black and white are as numbers; 0 and 1 unless the file says otherwise."""
        given = self.metadata.get(PIXEL_RANGE, "Normalized_0_1")
        if given not in RANGES:
            raise InputError(f"{self.path}: its metadata {PIXEL_RANGE} is {given!r}; known are {', '.join(RANGES)}")
        return RANGES[given]

    @cached_property
    def interface(self) -> Interface:
        """What else the file says of what it takes and gives."""
        return recorded({key: value for key, value in self.metadata.items() if key != LABELS}, str(self.path))

    @property
    def meaning(self) -> str:
        """What the scores are, and in what order an image's numbers come, in sentences; empty if nothing is said."""
        layouts = {"nchw": "Images come channel by channel.", "nhwc": "Images come pixel by pixel, channels last."}
        outputs = {"logits": "The scores are logits: a softmax makes probabilities of them."}
        outputs["probabilities"] = "The scores are probabilities."
        said = (layouts.get(self.interface.layout or ""), outputs.get(self.interface.output or ""))
        return " ".join(each for each in said if each)

    @property
    def preprocessing(self) -> str:
        """What the numbers of the input are, in a sentence."""
        if PIXEL_RANGE not in self.metadata:
            return "The file does not say how its input is preprocessed: feed what it was trained on."
        low, high = self.pixels
        return f"Pixels are scaled so that black is {low:g} and white is {high:g}."

    @property
    def side(self) -> int | None:
        """The side of the square grey image that the model takes; None if it takes something else."""
        if len(self.inputs) != 1 or len(self.outputs) != 1:
            return None
        side = isqrt(self.inputs[0].size)
        given = [extent for extent in self.inputs[0].shape if extent != 1]
        square = given in ([side, side], [side * side]) and side * side == self.inputs[0].size
        return side if square and 8 <= side <= LARGEST_DRAWING else None


def open_application(path: Path) -> Application:
    """Open an ONNX file of float32 inputs and outputs whose shapes are known up to the batch.

    Raises:
        InputError: if the file is damaged, or an extent other than the batch is open, or a tensor is not float32.
    """
    model = open_onnx(path)
    taken: set[str] = set()
    content = ir.to_proto(model).SerializeToString(deterministic=True) if parts_of(path) else path.read_bytes()
    for value in [value for value in model.graph.inputs if value.is_initializer()]:
        model.graph.inputs.remove(value)  # how files of IR version 3 hold their weights
    inputs = tuple(_port(path, value, "input", taken) for value in model.graph.inputs)
    outputs = tuple(_port(path, value, "output", taken) for value in model.graph.outputs)
    if repeated := {port.name for port in outputs if [each.name for each in outputs].count(port.name) > 1}:
        raise InputError(f"{path}: gives {min(repeated)} twice; name it once among the outputs")
    if not inputs or not outputs:
        raise InputError(f"{path}: has no inputs or no outputs; there is nothing to run")
    name = file_name(path.stem)
    return Application(path, name, content, model, inputs, outputs, dict(model.metadata_props))


def _port(path: Path, value: ir.Value, role: str, taken: set[str]) -> Port:
    name = value.name or role
    if value.dtype != ir.DataType.FLOAT:
        found = "unknown type" if value.dtype is None else value.dtype.name.lower()
        raise InputError(f"{path}: {role} {name} is of {found}; apps are made for float32 inputs and outputs")
    extents = [
        extent if isinstance(extent, int) else None for extent in ((None, None) if value.shape is None else value.shape)
    ]
    if None in extents[1:] or (len(extents) == 1 and None in extents):
        shape = ", ".join(str(extent) for extent in value.shape or ("?",))
        raise InputError(
            f"{path}: {role} {name} has the shape [{shape}]; only the first extent, the batch, may be open: "
            "export the model with fixed extents"
        )
    batched = extents[0] is None if extents else False
    known = tuple(extent for extent in extents if extent is not None)
    return Port(name, identifier(name, taken), known, batched)
