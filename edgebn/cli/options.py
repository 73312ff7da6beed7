"""Options and arguments that more than one command has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])
MODEL = click.Path(path_type=Path)

data = click.option(
    "--data",
    metavar="NAME|FILE.npz",
    help="Digits: mnist-mini (bundled), mnist, fashion-mnist, or an .npz file in the layout of keras.datasets.",
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
