"""A disk that is full or read-only: a real one, where the system lets a test mount it."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgebn import files
from tests import command_line
from tests.conftest import Trained

OLD = b"what was there before"


def mounting(*command: str) -> list[str]:
    """`command` in a mount namespace of its own: whatever it mounts, nobody else sees."""
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *as_root, "--mount", *command]


@pytest.fixture(scope="module")
def can_mount(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("mount")
    command = mounting("mount", "-t", "tmpfs", "tmpfs", str(folder))
    if shutil.which("unshare") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this system does not let a test mount a small disk")


SCRIPT = """
mount -t tmpfs -o size=64k tmpfs disk
printf 'what was there before' >disk/model.onnx
{}
"$@"
code=$?
ls -A disk
cat disk/model.onnx
exit $code
"""


def on_a_small_disk(preparation: str, folder: Path, *command: str) -> command_line.Result:
    """Run `command` where `disk` is a disk of 64 kB; stdout is the list of its files, and the content of one."""
    (folder / "disk").mkdir()
    done = subprocess.run(
        mounting("sh", "-c", SCRIPT.format(preparation), "sh", *command),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return command_line.Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.usefixtures("can_mount")
@pytest.mark.parametrize(
    ("preparation", "exit_code", "line"),
    [
        (
            "",
            3,
            "edgebn: disk/model.onnx: no space left on the disk; nothing was written. Free some space or choose "
            "another output\n",
        ),
        ("mount -o remount,ro disk", 2, "edgebn: disk: not writable; choose another output\n"),
    ],
    ids=["full", "read-only"],
)
def test_a_real_disk(preparation: str, exit_code: int, line: str, trained: Trained, tmp_path: Path) -> None:
    export = [*command_line.PROGRAMS["edgebn"], "fold-export", str(trained.keras), "-o", "disk/model.onnx"]
    result = on_a_small_disk(preparation, tmp_path, *export)
    assert result == command_line.Result(exit_code, f"model.onnx\n{OLD.decode()}", line)


@pytest.fixture
def files_end_early() -> Iterator[None]:
    """No file can grow beyond 50 kB: the system stops the writing of a larger one in its middle."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("files_end_early")
@pytest.mark.parametrize("existing", [False, True])
def test_stopped_in_the_middle_of_a_file(
    existing: bool, trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "model.onnx"
    if existing:
        output.write_bytes(OLD)
    assert trained.onnx.stat().st_size > 50_000
    result = command_line.run("fold-export", trained.keras, "-o", output, "--report", tmp_path / "report.json")
    assert capfd.readouterr().err == ""
    assert result == command_line.Result(
        3, "", f"edgebn: {output}: could not be written (File too large); nothing was changed\n"
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == ({"model.onnx": OLD} if existing else {})


@pytest.mark.parametrize("command", ["train", "fold-export"])
def test_no_space_for_the_second_file_keeps_the_first_as_it_was(
    command: str, trained: Trained, digits_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = {"train": ("model.keras", "model.training.json"), "fold-export": ("model.onnx", "report.json")}[command]
    for name in outputs:
        (tmp_path / name).write_bytes(OLD)
    arguments: dict[str, tuple[str | Path, ...]] = {
        "train": ("train", "mlp", "--epochs", "1", "--data", digits_file, "-o", "model.keras"),
        "fold-export": ("fold-export", trained.keras, "-o", "model.onnx", "--report", "report.json"),
    }
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "check_writable", lambda _: None)  # the second folder goes away after the check
    monkeypatch.setattr(files.tempfile, "mkstemp", full_at_the_second(files.tempfile.mkstemp))
    result = command_line.run(*arguments[command])
    assert result.exit_code == 3
    assert result.stderr.startswith(f"edgebn: {outputs[1]}: no space left on the disk; nothing was written")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys(outputs, OLD)


def full_at_the_second(mkstemp: Callable[..., tuple[int, str]]) -> Callable[..., tuple[int, str]]:
    made: list[str] = []

    def make(**options: str) -> tuple[int, str]:
        if made:
            raise OSError(28, "No space left on device")
        handle, name = mkstemp(**options)
        made.append(name)
        return handle, name

    return make
