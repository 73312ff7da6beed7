"""What a file takes and gives, where that is not what the model does: pixels, a layout, scores or a class, and labels.

A file says so in its metadata: by ONNX's conventions for images, https://onnx.ai/onnx/repo-docs/MetadataProps.html, as
far as these go, and under names of edgebn's own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from edgebn.errors import InputError, UsageError

LAYOUTS = ("nchw", "nhwc")
OUTPUTS = ("logits", "probabilities", "class")
PIXEL_FORMATS: Mapping[str, int] = {"Gray8": 1, "Rgb8": 3, "Bgr8": 3, "Rgba8": 4, "Bgra8": 4}
"""Those of the conventions, and how many channels each has. The first of a number of channels is its default."""

INPUT, LAYOUT, OUTPUT, LABELS = "edgebn.input", "edgebn.layout", "edgebn.output", "edgebn.labels"
PIXEL_FORMAT, PIXEL_RANGE = "Image.BitmapPixelFormat", "Image.NominalPixelRange"
IMAGE_RANK = 4

Shape = Sequence[Any]


@dataclass(frozen=True)
class Interface:
    """What the file is to take and to give; what is not said stays as the model has it.

    The model sees (scale·x − mean)/std of each pixel x, in float: what `ToTensor` and `Normalize` of torchvision make
    of it with a scale of 1/255, and `preprocess_input` of Keras with others.

    Args:
        input: `uint8`, for raw pixels from 0 to 255.
        scale: of all pixels. It needs `input`, as do mean and std.
        mean: one number, or one for each channel in the model's order.
        std: likewise, none of them 0.
        layout: `nchw` or `nhwc`, for a model of images.
        output: `logits`, `probabilities` or `class`, the index of the largest score, for a model that gives one row of
            scores for each sample.
        labels: the names of the classes, in order.
        pixel_format: `Rgb8`, `Bgr8`, `Rgba8`, `Bgra8` or `Gray8`, said to who reads the metadata. By default what the
            number of channels suggests: gray or red, green, blue.

    Raises:
        UsageError: if a value is none of these.
    """

    input: str | None = None
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: str | None = None
    output: str | None = None
    labels: tuple[str, ...] = field(default=())
    pixel_format: str | None = None

    def __post_init__(self) -> None:
        _check_one_of("input", self.input, ("uint8",))
        _check_one_of("layout", self.layout, LAYOUTS)
        _check_one_of("output", self.output, OUTPUTS)
        _check_one_of("pixel_format", self.pixel_format, tuple(PIXEL_FORMATS))
        object.__setattr__(self, "scale", _numbers("scale", self.scale)[0])
        object.__setattr__(self, "mean", _numbers("mean", self.mean))
        object.__setattr__(self, "std", _numbers("std", self.std))
        object.__setattr__(self, "labels", _names(self.labels))
        for name, values in (("scale", (self.scale,)), ("std", self.std)):
            if 0.0 in values:
                raise UsageError(f"{name}: must not be 0")
        if self.input is None and (self.is_affine or self.pixel_format is not None):
            raise UsageError("scale, mean, std and pixel format: are those of raw pixels; say --input uint8 as well")

    @property
    def is_affine(self) -> bool:
        """Whether pixels are scaled or shifted."""
        return self.scale != 1.0 or any(self.mean) or any(each != 1.0 for each in self.std)

    @property
    def changes_input(self) -> bool:
        """Whether the file takes something else than the model."""
        return self.input is not None or self.layout is not None

    def affine(self, channels: int | None) -> tuple[list[float], list[float]]:
        """Scale and shift of (scale·x − mean)/std: one number each, or one for each of the channels.

        Raises:
            UsageError: if there is not one mean or std for each of them.
        """
        wanted = max(len(self.mean), len(self.std), 1)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) > 1 and len(values) != channels:
                held = "no channels" if channels is None else f"{channels} channel{'s' * (channels != 1)}"
                raise UsageError(
                    f"{name}: has {len(values)} numbers, but the model's input has {held}; give one number"
                )
        mean, std = (
            list(given) * (wanted if len(given) == 1 else 1) for given in (self.mean or (0.0,), self.std or (1.0,))
        )
        return [self.scale / each for each in std], [-m / s for m, s in zip(mean, std, strict=True)]

    def metadata(self, shape: Shape, layout: str | None) -> dict[str, str]:
        """What a file says of itself whose input has this shape, batch first, and this layout, if it is an image."""
        said: dict[str, str] = {}
        if self.input is not None:
            numbers = {"scale": self.scale, "mean": list(self.mean), "std": list(self.std)}
            said[INPUT] = json.dumps({"dtype": self.input, **numbers})
            if (pixels := self.pixels(shape, layout)) is not None:
                said |= {PIXEL_FORMAT: pixels, PIXEL_RANGE: "NominalRange_0_255"}
        if self.changes_input and layout is not None:
            said[LAYOUT] = layout
        if self.output is not None:
            said[OUTPUT] = self.output
        if self.labels:
            said[LABELS] = json.dumps(self.labels, ensure_ascii=False)
        return said

    def pixels(self, shape: Shape, layout: str | None) -> str | None:
        """The pixel format of such an input; None if it is no image that the conventions know.

        Raises:
            UsageError: if a format is asked for that has another number of channels.
        """
        channels = None if layout is None else shape[channel_axis(layout)]
        if self.pixel_format is None:
            return next((name for name, count in PIXEL_FORMATS.items() if count == channels), None)
        if PIXEL_FORMATS[self.pixel_format] != channels:
            raise UsageError(f"pixel format {self.pixel_format}: does not fit the model's input, {describe(shape)}")
        return self.pixel_format


def recorded(metadata: Mapping[str, str], name: str) -> Interface:
    """The interface that the metadata of the file `name` speak of. Raises InputError if they are damaged."""
    try:
        given = json.loads(metadata.get(INPUT, "{}"))
        return Interface(
            input=given.get("dtype"),
            scale=given.get("scale", 1.0),
            mean=given.get("mean", ()),
            std=given.get("std", ()),
            layout=metadata.get(LAYOUT),
            output=metadata.get(OUTPUT),
            labels=json.loads(metadata.get(LABELS, "[]")),
        )
    except (ValueError, TypeError, AttributeError, RecursionError, UsageError) as error:
        raise InputError(f"{name}: its metadata ({INPUT} and others) are damaged: {error}") from error


def layout_of(shape: Shape, usual: str) -> str | None:
    """The layout of images of this shape, by where there are 1, 3 or 4 channels; the usual one if that does not tell.

    None if they are no images.
    """
    if len(shape) != IMAGE_RANK:
        return None
    fitting = [each for each in LAYOUTS if shape[channel_axis(each)] in PIXEL_FORMATS.values()]
    return fitting[0] if len(fitting) == 1 else usual


def channel_axis(layout: str | None) -> int:
    """Where the channels are: 1, or the last axis; so also where there is no layout."""
    return 1 if layout == "nchw" else -1


def reordering(layout: str | None, wanted: str | None) -> tuple[int, ...] | None:
    """The axes by which to transpose images of one layout to another; None if there is nothing to do."""
    if layout is None or wanted is None or layout == wanted:
        return None
    return (0, 3, 1, 2) if wanted == "nchw" else (0, 2, 3, 1)


def describe(shape: Shape) -> str:
    """`[batch, 28, 28, 1]`."""
    return f"[{', '.join(str(getattr(each, 'value', each) or '?') for each in ('batch', *shape[1:]))}]"


def _check_one_of(name: str, value: Any, allowed: Sequence[str]) -> None:
    if value is not None and value not in allowed:
        raise UsageError(f"{name} {value!r}: must be {' or '.join(allowed)}")


def _numbers(name: str, given: Any) -> tuple[float, ...]:
    values = (given,) if isinstance(given, int | float) else given
    try:
        numbers = tuple(float(each) for each in values)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{name} {given!r}: must be a number, or a few of them") from error
    if isinstance(given, str) or not all(map(math.isfinite, numbers)):
        raise UsageError(f"{name} {given!r}: must be finite numbers")
    return numbers


def _names(given: Any) -> tuple[str, ...]:
    names = () if isinstance(given, str) or not isinstance(given, Sequence) else tuple(given)
    if not isinstance(given, Sequence) or len(names) != len(given) or not all(isinstance(each, str) for each in names):
        raise UsageError("labels: must be a list of names")
    if any(not each.strip() for each in names):
        raise UsageError("labels: one of them is empty; give every class a name")
    return names


NOTHING = Interface()
"""The interface that changes nothing."""

NAMES = tuple(each.name for each in fields(Interface))
