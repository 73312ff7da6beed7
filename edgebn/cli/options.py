"""Options and arguments that more than one command has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path, readable=False)
"""Any path: what is wrong with it edgebn says itself, and in one line."""

data = click.option(
    "--data",
    metavar="NAME|FILE.npz",
    help="Digits: mnist-mini (bundled), mnist, fashion-mnist, or an .npz file in the layout of keras.datasets.",
)

opset = click.option(
    "--opset",
    type=int,
    help="Version of the ONNX operator set, 13 to 18. [default: 18; an ONNX file keeps its own]",
)

trust = click.option(
    "--trust",
    is_flag=True,
    help="Allow a model whose layers run code from its file (Lambda). Only if you know its author.",
)


def seed(what: str) -> Callable[[_Command], _Command]:
    """The --seed option; `what` says what it seeds."""
    return click.option(
        "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help=f"Seed of {what}."
    )
