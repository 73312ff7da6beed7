"""What an app is made from: an ONNX file, what it says of itself, and its golden vectors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import onnx_ir as ir

from edgebn.embedding.golden import Golden, golden_vectors
from edgebn.embedding.images import Image, Pixels, image_of, layout_said, pixels_of
from edgebn.embedding.names import file_name, plain
from edgebn.embedding.ports import Port, port_of
from edgebn.errors import InputError
from edgebn.interface import LABELS, Interface, recorded
from edgebn.loading.onnx_files import open_onnx, parts_of


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
    def interface(self) -> Interface:
        """What the file says of what it takes and gives, beside labels."""
        return recorded({key: value for key, value in self.metadata.items() if key != LABELS}, str(self.path))

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
        if self.classes not in {None, len(names)}:
            raise InputError(
                f"{self.path}: its metadata {LABELS} names {len(names)} classes, but {self.outputs[0].name} has "
                f"{self.classes} scores; write it anew"
            )
        return tuple(names)

    @property
    def gives_class(self) -> bool:
        """Whether the first output is the index of a class, not a score for each."""
        return self.outputs[0].type.name == "int64"

    @cached_property
    def classes(self) -> int | None:
        """How many classes there are; None where the file gives the index of one, and does not tell of how many."""
        if not self.gives_class:
            return self.outputs[0].size
        made_by = self.model.graph.outputs[0].producer()
        scores = None if made_by is None or made_by.op_type != "ArgMax" else made_by.inputs[0]
        extent = None if scores is None or not scores.shape else scores.shape[-1]
        return extent if isinstance(extent, int) else None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, or their numbers."""
        return self.labels or tuple(str(index) for index in range(self.classes or 0))

    @cached_property
    def pixels(self) -> Pixels:
        """What the numbers of an image mean."""
        return pixels_of(self.metadata, self.interface, str(self.path))

    @cached_property
    def image(self) -> Image | None:
        """The one picture that the model takes; None if it takes something else."""
        only = len(self.inputs) == 1
        return image_of(self.inputs[0], self.pixels, self.interface.layout, str(self.path)) if only else None

    @property
    def preprocessing(self) -> str:
        """What to feed, and what comes out, in sentences."""
        outputs = {
            "logits": "The scores are logits: a softmax makes probabilities of them.",
            "probabilities": "The scores are probabilities.",
            "class": "The output is the number of the class, from 0.",
        }
        said = (self.pixels.said, layout_said(self.interface.layout), outputs.get(self.interface.output or "", ""))
        return " ".join(each for each in said if each)


def open_application(path: Path) -> Application:
    """Open an ONNX file whose inputs are float32 or uint8, its outputs float32 or int64, of known shapes but the batch.

    Raises:
        InputError: if the file is damaged, an extent other than the batch is open, or a type is another.
    """
    model = open_onnx(path)
    taken: set[str] = set()
    content = ir.to_proto(model).SerializeToString(deterministic=True) if parts_of(path) else path.read_bytes()
    for value in [value for value in model.graph.inputs if value.is_initializer()]:
        model.graph.inputs.remove(value)  # how files of IR version 3 hold their weights
    inputs = tuple(port_of(path, value, "input", taken) for value in model.graph.inputs)
    outputs = tuple(port_of(path, value, "output", taken) for value in model.graph.outputs)
    if repeated := {port.name for port in outputs if [each.name for each in outputs].count(port.name) > 1}:
        raise InputError(f"{path}: gives {min(repeated)} twice; name it once among the outputs")
    if not inputs or not outputs:
        raise InputError(f"{path}: has no inputs or no outputs; there is nothing to run")
    name = file_name(path.stem)
    return Application(path, name, content, model, inputs, outputs, dict(model.metadata_props))
