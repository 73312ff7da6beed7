"""mnist and fashion-mnist come through Keras; without a network the error names the two ways out."""

from __future__ import annotations

import email.message
import http.client
import os
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from edgebn import backends
from edgebn.datasets import load_dataset
from edgebn.errors import InputError
from tests import command_line, digits

NAMES = {"mnist": "mnist", "fashion-mnist": "fashion_mnist"}
FAILURES: dict[str, Exception] = {
    "no network": urllib.error.URLError(OSError(-2, "Name or service not known")),
    "a refusal": urllib.error.HTTPError("url", 403, "Forbidden", email.message.Message(), None),
    "too short": urllib.error.ContentTooShortError("got 3 of 4 bytes", (email.message.Message(), "")),
    "reset": ConnectionResetError(104, "Connection reset by peer"),
    "timeout": TimeoutError("timed out"),
    "incomplete": http.client.IncompleteRead(b""),
}


def failing(error: BaseException) -> Callable[..., NoReturn]:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise error

    return fail


@pytest.fixture
def keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of ~/.keras."""
    from keras.src.utils import file_utils

    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    return tmp_path


def replace_download(monkeypatch: pytest.MonkeyPatch, download: Callable[..., Any]) -> None:
    from keras.src.utils import file_utils

    monkeypatch.setattr(file_utils, "urlretrieve", download)


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name", NAMES)
def test_a_failed_download_names_the_two_ways_out(
    name: str, failure: str, keras_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_download(monkeypatch, failing(FAILURES[failure]))
    with pytest.raises(InputError, match=f"^{name}: could not be downloaded by Keras") as caught:
        load_dataset(name)
    assert "--data mnist-mini" in str(caught.value)
    assert "--data FILE.npz" in str(caught.value)
    assert capsys.readouterr().out == ""
    assert [path for path in keras_home.rglob("*") if path.is_file()] == []


def test_what_is_no_failed_download_stays_a_bug(keras_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_download(monkeypatch, failing(Exception("a bug")))
    with pytest.raises(Exception, match="a bug") as caught:
        load_dataset("mnist")
    assert type(caught.value) is Exception
    assert list(keras_home.rglob("*.npz")) == []


@pytest.mark.usefixtures("keras_home")
@pytest.mark.parametrize("name", NAMES)
def test_a_download_that_gives_something_else_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_login_page(_: str, target: str, *__: Any) -> None:
        Path(target).write_bytes(b"<html>")

    replace_download(monkeypatch, write_login_page)
    with pytest.raises(InputError, match=f"{name}: could not be downloaded by Keras .*--data mnist-mini"):
        load_dataset(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_digits_of_keras(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = digits.blank(y_train=np.array([7, 8, 9], np.uint8))

    def load_data() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        print("Downloading data from somewhere")
        return (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])

    monkeypatch.setattr(getattr(backends.keras().datasets, NAMES[name]), "load_data", load_data)
    dataset = load_dataset(name)
    assert dataset.name == name
    for part, expected in arrays.items():
        np.testing.assert_array_equal(getattr(dataset, part), expected)
    shown = capsys.readouterr()
    assert shown.out == ""  # stdout is for results
    assert "Downloading data" in shown.err


def test_really_without_a_network(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"  # a proxy that no machine has: nothing is downloaded where there is a network
    environment = os.environ | {"KERAS_HOME": str(tmp_path / "keras"), "https_proxy": nowhere, "HTTPS_PROXY": nowhere}
    result = command_line.process("edgebn", "train", "mlp", "--data", "mnist", folder=tmp_path, environment=environment)
    assert result.exit_code == 3
    *progress, error = result.stderr.splitlines()
    assert error.startswith("edgebn: mnist: could not be downloaded by Keras (URL fetch failure")
    assert "--data mnist-mini" in error
    assert "--data FILE.npz" in error
    assert all(line.startswith("Downloading data from") for line in progress)
    assert result.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["keras"]
    assert list(tmp_path.rglob("*.npz")) == []
