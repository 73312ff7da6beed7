"""The command as a whole: what answers at once loads nothing heavy, and exit codes mean what README says."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

import edgebn
from edgebn.cli import main
from edgebn.errors import InputError, OutputError, UsageError
from edgebn.version import __version__
from tests import command_line

HEAVY = (
    "tensorflow",
    "keras",
    "h5py",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "onnx_ir",
    "tf2onnx",
    "numpy",
    "rich",
    "google.protobuf",
)

CALL = """
import sys
from edgebn.cli import main
try:
    main(sys.argv[1:], prog_name="edgebn")
finally:
    print(*sys.modules, file=sys.stderr)
"""

ANSWERED_AT_ONCE: dict[str, tuple[list[str], dict[str, str], str]] = {
    "--version": (["--version"], {}, f"edgebn, version {__version__}"),
    "--help": (["--help"], {}, "fold-export"),
    "-h": (["-h"], {}, "Usage: edgebn "),
    "train --help": (["train", "--help"], {}, "--batch-size"),
    "fold-export --help": (["fold-export", "--help"], {}, "--opset"),
    "verify --help": (["verify", "--help"], {}, "--json"),
    "bench --help": (["bench", "--help"], {}, "--plot"),
    "completion script": ([], {"_EDGEBN_COMPLETE": "bash_source"}, "complete -o nosort -F _edgebn_completion edgebn"),
    "completion of a command": (
        [],
        {"_EDGEBN_COMPLETE": "bash_complete", "COMP_WORDS": "edgebn fold", "COMP_CWORD": "1"},
        "plain,fold-export",
    ),
    "completion of an option": (
        [],
        {"_EDGEBN_COMPLETE": "bash_complete", "COMP_WORDS": "edgebn train --see", "COMP_CWORD": "2"},
        "plain,--seed",
    ),
    "completion of a value": (
        [],
        {"_EDGEBN_COMPLETE": "bash_complete", "COMP_WORDS": "edgebn train c", "COMP_CWORD": "2"},
        "plain,cnn",
    ),
}


@pytest.mark.parametrize("case", ANSWERED_AT_ONCE)
def test_answers_at_once(case: str) -> None:
    arguments, environment, expected = ANSWERED_AT_ONCE[case]
    done = subprocess.run(
        [sys.executable, "-c", CALL, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert expected in done.stdout
    loaded = done.stderr.split()
    assert "edgebn.cli" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_the_heavy_modules_are_called_so() -> None:
    assert [name for name in HEAVY if importlib.util.find_spec(name) is None] == []


@pytest.mark.parametrize("program", command_line.PROGRAMS)
def test_the_program_has_one_name(program: str, tmp_path: Path) -> None:
    result = command_line.process(program, "--version", folder=tmp_path)
    assert result == command_line.Result(0, f"edgebn, version {__version__}\n", "")
    assert command_line.process(program, folder=tmp_path).stderr.startswith("Usage: edgebn ")


def test_completion_in_bash(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("no bash on this machine")
    script = 'eval "$(_EDGEBN_COMPLETE=bash_source edgebn)" && complete -p edgebn'
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "complete -o nosort -F _edgebn_completion edgebn\n"


USAGE: dict[str, tuple[str, ...]] = {
    "no such command": ("fly",),
    "no such option": ("train", "mlp", "--fast"),
    "no such architecture": ("train", "rnn"),
    "no architecture": ("train",),
    "no epochs": ("train", "mlp", "--epochs", "0"),
    "no batch": ("train", "mlp", "--batch-size", "0"),
    "negative seed": ("train", "mlp", "--seed", "-1"),
    "a seed that is no number": ("verify", "a.keras", "a.onnx", "--seed", "x"),
    "no model": ("fold-export",),
    "nothing to measure": ("bench",),
    "batch sizes that are no numbers": ("bench", "a.onnx", "--batch-sizes", "1,x"),
    "an extent without a value": ("bench", "a.onnx", "--extent", "width"),
    "an extent without a name": ("bench", "a.onnx", "--extent", "=3"),
    "no extent": ("bench", "a.onnx", "--extent", "width=0"),
    "nothing to verify": ("verify",),
    "a tolerance below zero": ("verify", "a.keras", "a.onnx", "--atol", "-1"),
    "data for golden vectors": ("verify", "a.onnx", "--data", "mnist"),
}


@pytest.mark.parametrize("case", USAGE)
def test_a_wrong_call_has_exit_code_2(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = command_line.run(*USAGE[case])
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("edgebn: ")
    assert line.endswith(" --help'.")
    assert list(tmp_path.iterdir()) == []


def replace_fold_export(monkeypatch: pytest.MonkeyPatch, function: Callable[..., NoReturn]) -> None:
    monkeypatch.setattr(edgebn, "fold_export", function, raising=False)


@pytest.mark.parametrize(
    ("error", "exit_code", "line"),
    [
        (UsageError("m: wrong"), 2, "edgebn: m: wrong\n"),
        (InputError("m: foreign"), 3, "edgebn: m: foreign\n"),
        (OutputError("m: full"), 3, "edgebn: m: full\n"),
        (InputError("m: first\nsecond\n"), 3, "edgebn: m: first second\n"),
        (KeyboardInterrupt(), 130, "edgebn: interrupted; nothing was written\n"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    error: BaseException, exit_code: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> NoReturn:
        raise error

    replace_fold_export(monkeypatch, fails)
    result = command_line.run("fold-export", "model.keras")
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert result.stderr == line


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), OSError(5, "Input/output error")])
def test_a_bug_keeps_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> NoReturn:
        raise error

    replace_fold_export(monkeypatch, fails)
    with pytest.raises(type(error)) as caught:
        command_line.run("fold-export", "model.keras")
    assert caught.value is error


def test_ctrl_c_that_became_another_error_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: object, **__: object) -> NoReturn:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise InputError("initialization failed") from None
        raise AssertionError("Ctrl-C did nothing")

    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    replace_fold_export(monkeypatch, pressed)
    before = signal.getsignal(signal.SIGINT)
    result = command_line.run("fold-export", "model.keras")
    assert result == command_line.Result(130, "", "edgebn: interrupted; nothing was written\n")
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_stays_ignored_where_it_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def pressed(*_: object, **__: object) -> NoReturn:
        signal.raise_signal(signal.SIGINT)
        seen.append(signal.getsignal(signal.SIGINT))
        raise InputError("m: foreign")

    replace_fold_export(monkeypatch, pressed)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        result = command_line.run("fold-export", "model.keras")
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIG_IGN]
    assert result.exit_code == 3


TALK = "import click\n@main.command()\ndef talk(): click.echo('x')\nmain([{!r}])"


def talking(argument: str, stdout: int, **environment: str) -> command_line.Result:
    """What becomes of the program if it prints into `stdout`."""
    code = CALL.split("try:")[0] + TALK.format(argument)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    return command_line.Result(done.returncode, "", done.stderr)


@pytest.mark.parametrize("argument", ["talk", "--version", "--help"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_under_stdout_is_not_taken_for_a_difference(argument: str, unbuffered: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this machine")
    with Path("/dev/full").open("w") as full:
        result = talking(argument, full.fileno(), PYTHONUNBUFFERED=unbuffered)
    line = "edgebn: no space left on the disk for what was to be printed; free some space\n"
    assert result == command_line.Result(3, "", line)


def test_nobody_reads_what_a_command_prints() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert talking("talk", writing, PYTHONUNBUFFERED="1") == command_line.Result(128 + signal.SIGPIPE, "", "")
    finally:
        os.close(writing)


def test_the_commands() -> None:
    assert list(main.commands) == ["train", "fold-export", "verify", "inspect", "bench", "embed"]
