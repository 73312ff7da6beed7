"""README and the code say the same: its commands and its example run, its links lead somewhere, its tables are true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import edgebn
from edgebn import cli, datasets
from edgebn.cli.verify import DIFFERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("models/*/README.md"), *ROOT.glob("edgebn/**/*.md")]
SCRIPTS = ["tools/demo", "tools/test", ".ci/run"]


def blocks(language: str) -> list[str]:
    return [code for kind, code in BLOCKS if kind == language]


def shell_lines(start: str) -> list[str]:
    """The commands in README that begin with `start`, without their comments."""
    lines = (line.split("#")[0].strip() for code in blocks("sh") for line in code.splitlines())
    return [line for line in lines if line.startswith(start)]


def in_bash(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_two_commands_at_the_top() -> None:
    assert [line.split()[0] for line in blocks("sh")[0].splitlines()] == ["tools/demo", "tools/test"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_executable_and_their_syntax_is_right(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    sources = [script, *re.findall(r"^\. (\S+)", (ROOT / script).read_text("utf-8"), re.MULTILINE)]
    for source in sources:
        checked = subprocess.run(["bash", "-n", ROOT / source], capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


def without_rules(text: str) -> list[str]:
    """The lines that say something, without the lines of dashes and the spaces that fill a table up."""
    lines = (re.sub(r"\s{2,}", "  ", line.rstrip()) for line in text.splitlines())
    return [line for line in lines if line.strip("─ ")]


def test_the_commands_run_and_print_what_readme_shows(tmp_path: Path) -> None:
    commands = shell_lines("edgebn ")
    names = [command.split()[1] for command in commands]
    assert names == ["train", "fold-export", "verify", "fold-export", "inspect", *["fold-export", "verify"] * 2]
    result = in_bash("; echo ====; ".join(commands), tmp_path)
    assert result.returncode == 0, result.stderr
    trained, exported, verified, again, inspected, pixels, behind, _, replayed = result.stdout.split("====\n")
    written = re.findall(r"# → (.+)", "".join(blocks("sh")))
    golden = {"cnn.certificate.json", *(f"test_data_set_{index}" for index in range(4))}
    files = {file.name for file in tmp_path.iterdir()}
    assert {name for names in written for name in names.split(", ")} | golden == files
    assert "test accuracy" in trained
    (shown,) = blocks("")
    assert without_rules(exported)[:-1] == without_rules(shown)
    assert verified.endswith("PASS: equal up to rounding\n")
    assert "has no BatchNormalization to fold" in again
    assert "1 of 1 can be folded" in inspected
    assert "operators: Cast Conv Relu MaxPool Flatten Gemm ArgMax (7; " in pixels
    assert behind.endswith("PASS: equal up to rounding\n")
    assert replayed.endswith("certificate: cnn.certificate.json\nPASS: equal up to rounding\n")


def test_the_completion_command_runs(tmp_path: Path) -> None:
    (command,) = shell_lines("eval")
    result = in_bash(f"{command}; complete -p edgebn", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "edgebn" in result.stdout


def test_the_example_in_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (example,) = blocks("python")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    assert re.fullmatch(r"accuracy \d\d%, operators Gemm Relu Gemm Softmax\n", capsys.readouterr().out)


def test_pinned_versions_cover_every_dependency_and_no_address() -> None:
    (command,) = shell_lines("pip install")
    constraints = (ROOT / command.split("-c ")[1].split()[0]).read_text("utf-8")
    pinned = dict(line.split("==") for line in constraints.splitlines() if not line.startswith("#"))
    assert "://" not in constraints
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    missing = {re.split(r"[><=]", each)[0] for each in wanted} - pinned.keys()
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


ROWS = dict(re.findall(r"^\| `edgebn ([\w-]+) (.*) \|$", README, re.MULTILINE))


def test_every_command_is_in_the_table() -> None:
    assert ROWS.keys() == cli.main.commands.keys()


@pytest.mark.parametrize("name", cli.main.commands)
def test_the_table_has_exactly_the_options_of_the_command(name: str) -> None:
    (synopsis, options), command = ROWS[name].split("` | "), cli.main.commands[name]
    shown = dict(re.findall(r"(?<![\w-])(-{1,2}[a-z][a-z-]*)(?: (\d+)\b)?", options))
    parameters = [each for each in command.params if isinstance(each, click.Option)]
    assert shown.keys() <= {flag for each in parameters for flag in each.opts}
    for parameter in parameters:
        (flag,) = shown.keys() & set(parameter.opts)
        assert shown[flag] == (str(parameter.default) if isinstance(parameter.default, int) and shown[flag] else "")
        assert shown[flag] or not isinstance(parameter.default, int) or parameter.is_flag, f"{flag}: no default shown"
    assert synopsis == " ".join(synopsis_of(each) for each in command.params if isinstance(each, click.Argument))


def synopsis_of(argument: click.Argument) -> str:
    if isinstance(argument.type, click.Choice):
        return "{" + ",".join(argument.type.choices) + "}"
    return argument.metavar or (argument.name or "").upper()


def test_the_data_sets_are_named() -> None:
    sentence = README[README.index("`--data` is ") :].split("\n\n")[0]
    assert set(re.findall(r"`([a-z-]+)`", sentence)) - {"--data"} == set(datasets.NAMES)
    assert sentence.index("the default") > sentence.index(f"`{datasets.BUNDLED}`")


EXITS = " ".join(README[README.index("Exit codes: ") :].split("\n\n")[0].split())
CODES = {int(code): text for code, text in re.findall(r"(\d+) ([^;.]+)[;.]", EXITS)}


def test_the_exit_codes_are_those_of_the_errors() -> None:
    assert list(CODES) == [0, 1, 2, 3, 130]
    assert "`verify` found a difference" in CODES[DIFFERS]
    assert "the call is wrong" in CODES[edgebn.UsageError.exit_code]
    assert "a file that can not be processed" in CODES[edgebn.InputError.exit_code]
    assert edgebn.ConversionError.exit_code == edgebn.OutputError.exit_code == edgebn.InputError.exit_code


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--version"], 0),
        (["train", "rnn"], 2),
        (["fold-export"], 2),
        (["fold-export", "missing.keras"], 2),
        (["fold-export", "junk.keras"], 3),
        (["verify", "junk.keras", "junk.keras"], 3),
    ],
)
def test_the_command_line_exits_so(
    arguments: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("junk.keras").write_bytes(b"junk")
    assert CliRunner().invoke(cli.main, arguments).exit_code == code


def test_an_interrupted_command_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(edgebn, "verify", interrupted, raising=False)
    result = CliRunner().invoke(cli.main, ["verify", "a.keras", "a.onnx"])
    assert result.exit_code == 130
    assert CODES[130] == "interrupted"


def test_the_python_versions_agree() -> None:
    (oldest, newest) = re.findall(r"Python 3\.(\d+) to 3\.(\d+)", README)[0]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["requires-python"] == f">=3.{oldest}"
    environment = (ROOT / "tools/environment.sh").read_text("utf-8")
    assert f"not (3, {oldest}) <= sys.version_info < (3, {int(newest) + 1})" in environment
