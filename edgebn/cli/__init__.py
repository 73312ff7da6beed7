"""The command line: parse, call, show, exit. The only room that prints."""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

import click

from edgebn.cli.bench import bench
from edgebn.cli.embed import embed
from edgebn.cli.fold_export import fold_export
from edgebn.cli.inspect import inspect
from edgebn.cli.train import train
from edgebn.cli.verify import verify
from edgebn.errors import EdgebnError
from edgebn.version import __version__


class _Group(click.Group):
    """The one place where an error, a wrong call, a full disk or Ctrl-C become a line on stderr and an exit code."""

    def main(self, *arguments: Any, **options: Any) -> NoReturn:
        try:
            exit_code = super().main(*arguments, **{**options, "standalone_mode": False})
            sys.stdout.flush()
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "edgebn"
            _fail(f"{error.format_message().removesuffix('.')}. See '{command} --help'.", error.exit_code)
        except OSError as error:
            _fail_to_print(error)
        sys.exit(exit_code)

    def invoke(self, context: click.Context) -> None:
        try:
            with _interruptible():
                super().invoke(context)
        except EdgebnError as error:
            _fail(str(error), error.exit_code)
        except OSError as error:
            _fail_to_print(error)
        except KeyboardInterrupt:
            _fail("interrupted; nothing was written", 130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edgebn")
def main() -> None:
    """Fold BatchNormalization into the weights of a model, export to ONNX, and prove the result equal."""


main.add_command(train)
main.add_command(fold_export)
main.add_command(verify)
main.add_command(inspect)
main.add_command(bench)
main.add_command(embed)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the block as KeyboardInterrupt, also where C++ has made another exception of it on the way."""
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        sys.unraisablehook = lambda _: None  # of half-made objects whose destructors fail now
        signal.default_int_handler(number, frame)

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # ignored, as in a script's background, or another's business
        yield
        return
    signal.signal(signal.SIGINT, press)
    try:
        yield
    except Exception as error:
        if pressed:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def _fail_to_print(error: OSError) -> NoReturn:
    """Exit if the error says that stdout is full, or that nobody reads it any more; else raise it."""
    if error.errno not in {errno.ENOSPC, errno.EPIPE}:
        raise error
    sys.stdout = None  # Python would write the rest at its exit, and fail again
    if error.errno == errno.EPIPE:
        sys.exit(128 + signal.SIGPIPE)  # as if that signal had ended it, like any other command before a `head`
    _fail("no space left on the disk for what was to be printed; free some space", EdgebnError.exit_code)


def _fail(message: str, exit_code: int) -> NoReturn:
    click.echo(f"edgebn: {' '.join(message.splitlines())}", err=True)
    sys.exit(exit_code)
