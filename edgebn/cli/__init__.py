"""The command line: parse, call, show, exit. The only room that prints."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click

from edgebn.cli.fold_export import fold_export
from edgebn.cli.train import train
from edgebn.cli.verify import verify
from edgebn.errors import EdgebnError
from edgebn.version import __version__


class _Group(click.Group):
    """The one place where an EdgebnError becomes a line on stderr and an exit code."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except EdgebnError as error:
            _fail(str(error), error.exit_code)
        except KeyboardInterrupt:
            _fail("interrupted; nothing was written", 130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edgebn")
def main() -> None:
    """Fold BatchNormalization into the weights of Keras models, export to ONNX, and prove the result equal."""


main.add_command(train)
main.add_command(fold_export)
main.add_command(verify)


def _fail(message: str, exit_code: int) -> NoReturn:
    click.echo(f"edgebn: {message}", err=True)
    sys.exit(exit_code)
