"""What the numbers of an image mean, as the file's metadata say: their range, the order of colours, the layout.

ONNX's keys: https://onnx.ai/onnx/repo-docs/MetadataProps.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

from edgebn.embedding.ports import Port
from edgebn.errors import InputError
from edgebn.interface import PIXEL_FORMAT, PIXEL_FORMATS, PIXEL_RANGE, Interface, channel_axis, layout_of

RANGES = {"NominalRange_0_255": (0.0, 255.0), "Normalized_0_1": (0.0, 1.0), "Normalized_1_1": (-1.0, 1.0)}

COLOURS = {
    "Gray8": "gray",
    "Rgb8": "red, green, blue",
    "Bgr8": "blue, green, red",
    "Rgba8": "red, green, blue, alpha",
    "Bgra8": "blue, green, red, alpha",
}

LARGEST_DRAWING = 64
"""Pixels along a side: a larger gray image is no drawing."""

SMALLEST, LARGEST = 8, 1024
"""Pixels along a side of what may be a picture."""


@dataclass(frozen=True)
class Pixels:
    """`black` and `white` as numbers, the format of a pixel if it is said, and a sentence on what to feed."""

    black: float
    white: float
    format: str | None
    said: str


@dataclass(frozen=True)
class Image:
    """A picture's extents, the format of its pixels, and whether its channels come one after the other."""

    height: int
    width: int
    format: str
    planar: bool

    @property
    def is_drawing(self) -> bool:
        """Whether it may be a figure such as those of MNIST."""
        return self.format == "Gray8" and self.height == self.width <= LARGEST_DRAWING

    @property
    def channels(self) -> list[int]:
        """For each channel its place among red, green, blue and alpha; of gray there is none."""
        return {"Rgb8": [0, 1, 2], "Bgr8": [2, 1, 0], "Rgba8": [0, 1, 2, 3], "Bgra8": [2, 1, 0, 3]}.get(self.format, [])


def pixels_of(metadata: Mapping[str, str], interface: Interface, name: str) -> Pixels:
    """What the file `name` says of its pixels. Raises InputError if it is nothing that is known."""
    given = _one_of(metadata, PIXEL_RANGE, RANGES, name)
    order = _one_of(metadata, PIXEL_FORMAT, COLOURS, name)
    raw = interface.input is not None
    black, white = RANGES[given or ("NominalRange_0_255" if raw else "Normalized_0_1")]
    if raw:
        said = "Feed raw pixels, from 0 to 255: they are scaled inside of the model."
    elif given:
        said = f"Pixels are scaled so that black is {black:g} and white is {white:g}."
    else:
        said = "The file does not say how its input is preprocessed: feed what it was trained on."
    if order:
        said += f" A pixel is {COLOURS[order]}."
    return Pixels(black, white, order, said)


def image_of(port: Port, pixels: Pixels, layout: str | None, name: str) -> Image | None:
    """The picture that a port takes; None if it is none. Raises InputError if the file's pixels do not fit in it.

    A row of as many numbers as a square has is a gray drawing.
    """
    shape = port.tensor_shape
    layout = layout or layout_of(shape, "nchw")
    if layout is None or len(shape) != 4:
        side = isqrt(port.size)
        is_square = side * side == port.size and [each for each in port.shape if each > 1] in (
            [port.size],
            [side, side],
        )
        return Image(side, side, "Gray8", planar=False) if is_square and SMALLEST <= side <= LARGEST_DRAWING else None
    channels = shape[channel_axis(layout)]
    height, width = shape[2:] if layout == "nchw" else shape[1:3]
    usual = next((each for each, count in PIXEL_FORMATS.items() if count == channels), None)
    if pixels.format is not None and PIXEL_FORMATS[pixels.format] != channels:
        raise InputError(
            f"{name}: its metadata {PIXEL_FORMAT} is {pixels.format}, but its images have {channels} channels"
        )
    if usual is None or shape[0] != 1 or not SMALLEST <= min(height, width) <= max(height, width) <= LARGEST:
        return None
    return Image(height, width, pixels.format or usual, planar=layout == "nchw")


def layout_said(layout: str | None) -> str:
    """In what order an image's numbers come, in a sentence; empty if it is not known."""
    layouts = {"nchw": "Images come channel by channel.", "nhwc": "Images come pixel by pixel, channels last."}
    return layouts.get(layout or "", "")


def _one_of(metadata: Mapping[str, str], key: str, known: Mapping[str, object], name: str) -> str | None:
    given = metadata.get(key)
    if given is not None and given not in known:
        raise InputError(f"{name}: its metadata {key} is {given!r}; known are {', '.join(known)}")
    return given
