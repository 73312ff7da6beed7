"""TensorFlow's chatter does not reach the user; what it says when something fails is not lost either."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

import pytest

from edgebn import backends
from edgebn.errors import UsageError


def write_as_c_does(text: str) -> None:
    os.write(2, text.encode())


def test_silenced_holds_back_what_c_and_python_write(capfd: pytest.CaptureFixture[str]) -> None:
    with backends.silenced():
        write_as_c_does("from C\n")
        print("from Python", file=sys.stderr)
    print("after", file=sys.stderr)
    assert capfd.readouterr().err == "after\n"


def test_silenced_without_a_console(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with backends.silenced():
        write_as_c_does("from C\n")
    write_as_c_does("after\n")
    assert capfd.readouterr().err == "after\n"


def test_silenced_while_stderr_is_closed() -> None:
    code = "from edgebn import backends\nwith backends.silenced():\n    print('inside', flush=True)\nprint('after')"
    command = ["sh", "-c", '"$@" 2>&-', "sh", sys.executable, "-c", code]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "inside\nafter\n")


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), KeyboardInterrupt()])
def test_what_was_held_back_is_a_note_of_the_error(error: BaseException, capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with backends.silenced():
            write_as_c_does("the reason\n")
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value.__notes__ == ["the reason"]
    assert capfd.readouterr().err == ""


def test_silence_on_a_full_disk(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def full() -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with backends.silenced():
        write_as_c_does("from C\n")
    write_as_c_does("after\n")
    assert capfd.readouterr().err == "after\n"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ImportError("no module"), r"TensorFlow can not be imported \(no module\); try: pip install tensorflow"),
        (FileNotFoundError(2, "No usable folder"), r"TensorFlow can not start \(No usable folder\); free some space"),
    ],
)
def test_a_tensorflow_that_can_not_start(error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        """Stands before all that find modules."""

        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "tensorflow":
                raise error

    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken, *sys.meta_path])
    with pytest.raises(UsageError, match=reason):
        backends.tensorflow()


def test_keras_on_another_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    keras = backends.keras()
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UsageError, match="Keras runs on 'jax'; edgebn needs TensorFlow: set KERAS_BACKEND=tensorflow"):
        backends.keras()
