"""The options that say what a file takes and gives."""

from __future__ import annotations

import functools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import click

from edgebn.errors import InputError, UsageError
from edgebn.interface import LAYOUTS, NAMES, OUTPUTS, PIXEL_FORMATS, Interface

_Command = TypeVar("_Command", bound=Callable[..., Any])
_MOST_BYTES = 1 << 20


class _Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers or fractions with commas between them: `0.485,0.456,0.406`, `1/127.5`."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            return tuple(map(_number, str(value).split(",")))
        except (ValueError, ZeroDivisionError, OverflowError):
            self.fail(f"{value!r} is no number, such as 0.5 or 1/255, nor a few with commas between them", param, ctx)


def _number(text: str) -> float:
    """A number, or one divided by another."""
    numerator, slash, denominator = text.partition("/")
    if "/" in denominator:
        raise ValueError(text)
    return float(Fraction(numerator) / Fraction(denominator if slash else 1))


_OPTIONS = (
    click.option("--input", type=click.Choice(["uint8"]), help="Take raw pixels, 0 to 255."),
    click.option("--scale", type=_Numbers(), metavar="NUMBER", help="Of the pixels: 1/255. [default: 1]"),
    click.option(
        "--mean", type=_Numbers(), metavar="R,G,B", help="Subtract this from the scaled pixels; or one number."
    ),
    click.option("--std", type=_Numbers(), metavar="R,G,B", help="Then divide by this; or one number."),
    click.option("--pixel-format", type=click.Choice(tuple(PIXEL_FORMATS)), help="What the metadata call the pixels."),
    click.option("--layout", type=click.Choice(LAYOUTS), help="Of the images. [default: MODEL's]"),
    click.option("--output", type=click.Choice(OUTPUTS), help="Scores without or with softmax, or the class's index."),
    click.option("--labels", metavar="FILE|A,B,…", help="Names of the classes, one a line, for the metadata."),
)


def options(command: _Command) -> Callable[..., Any]:
    """Give a command the options of an interface; it gets them as one, `interface`."""

    @functools.wraps(command)
    def called(**given: Any) -> Any:
        chosen = {name: given.pop(name) for name in NAMES}
        return command(**given, interface=_interface(**chosen))

    for option in reversed(_OPTIONS):
        called = option(called)
    return called


def _interface(scale: tuple[float, ...] | None, labels: str | None, **chosen: Any) -> Interface:
    if scale is not None and len(scale) != 1:
        raise UsageError("--scale: is one number for all channels; use --std for one each")
    given = {name: value for name, value in chosen.items() if value is not None}
    return Interface(
        scale=1.0 if scale is None else scale[0], labels=() if labels is None else _labels(labels), **given
    )


def _labels(given: str) -> tuple[str, ...]:
    """The lines of a file, or what stands between commas."""
    path = Path(given)
    try:
        if not path.is_file():
            if "," not in given:
                raise UsageError(f"--labels {given}: no such file; name one, or the classes with commas between them")
            return tuple(each.strip() for each in given.split(","))
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path}: larger than {_MOST_BYTES >> 20} MiB, which no list of labels is")
        return tuple(line.strip() for line in path.read_text("utf-8-sig").rstrip().splitlines())
    except OSError as error:
        raise InputError(f"{path}: can not be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not text in UTF-8; save the labels so, one name a line") from error
