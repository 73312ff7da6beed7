"""Calling edgebn as a user does: in this process by click's runner, which is fast, or in one of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from edgebn.cli import main

PROGRAMS = {
    "edgebn": [str(Path(sys.executable).with_name("edgebn"))],
    "python -m edgebn": [sys.executable, "-m", "edgebn"],
}
_SECONDS = 120


@dataclass(frozen=True)
class Result:
    exit_code: int
    stdout: str
    stderr: str


def run(*arguments: str | Path) -> Result:
    """Call a command here. An exception that a user would see as a traceback is raised."""
    result = CliRunner(catch_exceptions=False).invoke(main, [str(argument) for argument in arguments])
    return Result(result.exit_code, result.stdout, result.stderr)


def process(program: str, *arguments: str | Path, folder: Path, environment: Mapping[str, str] | None = None) -> Result:
    """Call a command in a process of its own, in `folder`. `program` is one of `PROGRAMS`."""
    command = [*PROGRAMS[program], *(str(argument) for argument in arguments)]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)
