"""edgebn train."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
import rich.console

from edgebn.cli.train import _progress
from tests import command_line, digits
from tests.conftest import Trained

SUMMARY = re.compile(
    r"test accuracy (?P<accuracy>\d+\.\d\d)% on 60 digits of digits\.npz, trained on 300 in \d+\.\d s\n"
    r"wrote mlp\.keras and mlp\.training\.json\n"
)


def test_writes_the_model_and_its_record_here(
    digits_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command_line.run("train", "mlp", "--data", digits_file, "--epochs", "1", "--batch-size", "4")
    assert (result.exit_code, result.stderr) == (0, "")
    shown = SUMMARY.fullmatch(result.stdout)
    assert shown is not None
    record = json.loads((tmp_path / "mlp.training.json").read_text())
    assert f"{record['test_accuracy']:.2%}" == f"{shown['accuracy']}%"
    assert (record["epochs"], record["batch_size"], record["seed"]) == (1, 4, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlp.keras", "mlp.training.json"]


def test_the_options_reach_the_training(digits_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "other.keras"
    options = ("--data", digits_file, "--epochs", "2", "--batch-size", "150", "--seed", "5")
    result = command_line.run("train", "cnn", "-o", output, *options)
    assert result.exit_code == 0
    assert f"wrote {output} and {tmp_path / 'other.training.json'}\n" in result.stdout
    record = json.loads((tmp_path / "other.training.json").read_text())
    facts = ("architecture", "epochs", "batch_size", "seed", "train_samples", "test_samples")
    assert [record[name] for name in facts] == ["cnn", 2, 150, 5, digits.TRAIN, digits.TEST]


def test_the_same_file_as_from_python(trained: Trained, digits_file: Path, tmp_path: Path) -> None:
    output = tmp_path / "mlp.keras"
    command_line.run("train", "mlp", "-o", output, "--data", digits_file, "--epochs", "2", "--batch-size", "2")
    assert output.read_bytes() == trained.keras.read_bytes()


ERASE_LINE, SHOW_CURSOR = "\x1b[2K", "\x1b[?25h"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal shows that stands in place of stderr."""
    shown = io.StringIO()
    console = rich.console.Console(file=shown, force_terminal=True, force_interactive=True, width=100)
    monkeypatch.setattr(rich.console, "Console", lambda **_: console)
    return shown


def last_line(terminal: io.StringIO) -> str:
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", terminal.getvalue())
    return [line for line in text.splitlines() if line.strip()][-1]


def test_a_terminal_shows_progress_with_loss_and_accuracy(terminal: io.StringIO) -> None:
    with _progress(epochs=2) as on_progress:
        on_progress(0, 5, 10, {"loss": 0.5, "accuracy": 0.25})
        on_progress(1, 10, 10, {"loss": 0.125, "accuracy": 0.75})
    last = last_line(terminal)
    assert "epoch 2/2" in last
    assert "━" * 40 in last  # the bar is full
    assert "loss 0.1250  accuracy 75.00%" in last
    assert not terminal.getvalue().endswith(ERASE_LINE)  # it stays, to be read


def test_the_bar_stands_where_the_training_is(terminal: io.StringIO) -> None:
    with _progress(epochs=2) as on_progress:
        on_progress(0, 10, 10, {"loss": 0.5, "accuracy": 0.25})
    last = last_line(terminal)
    assert "epoch 1/2" in last
    assert last.count("━") + last.count("╸") + last.count("╺") == 40
    assert "━" * 20 + "╺" in last


def test_the_bar_is_gone_when_training_fails(terminal: io.StringIO) -> None:
    def train() -> None:
        with _progress(epochs=2) as on_progress:
            on_progress(0, 5, 10, {"loss": 0.5, "accuracy": 0.25})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert "epoch 1/2" in terminal.getvalue()
    assert terminal.getvalue().endswith(ERASE_LINE)
    assert SHOW_CURSOR in terminal.getvalue()
