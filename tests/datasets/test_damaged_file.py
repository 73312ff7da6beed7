"""An .npz file that nobody vouches for: it is read or refused in words, runs nothing, and takes no size on trust."""

from __future__ import annotations

import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgebn.datasets import load_dataset, npz
from edgebn.errors import InputError
from tests import archives, digits

HUGE = 1_000_000
MALFORMED = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_dataset(str(path))
    assert str(path) in str(caught.value)
    return str(caught.value)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["x_train", "y_train", "x_test", "y_test"])
def test_a_pickled_array_is_never_unpickled(name: str, tmp_path: Path) -> None:
    proof = tmp_path / "unpickled"
    path = digits.write(tmp_path / "own.npz", digits.blank(**{name: np.array([Payload(proof)] * 3, object)}))
    assert f"array '{name}' can not be read (it is pickled, and edgebn never unpickles)" in refusal(path)
    assert not proof.exists()
    np.load(path, allow_pickle=True)[name]
    assert proof.exists()  # the payload works


def test_a_pickle_inside_of_a_structure_is_never_unpickled(tmp_path: Path) -> None:
    proof = tmp_path / "unpickled"
    data = pickle.dumps(Payload(proof))
    header = "{'descr': [('pixel', '|u1'), ('more', '|O')], 'fortran_order': False, 'shape': (3,)}"
    path = digits.write_entries(tmp_path / "own.npz", x_train=digits.npy_with_header(header, data))
    assert "it is pickled" in refusal(path)
    assert not proof.exists()


def test_a_pickle_in_place_of_the_file_is_never_unpickled(tmp_path: Path) -> None:
    proof, path = tmp_path / "unpickled", tmp_path / "own.npz"
    path.write_bytes(pickle.dumps(Payload(proof)))
    assert "not an .npz file" in refusal(path)
    assert not proof.exists()


def test_encrypted(tmp_path: Path) -> None:
    path = archives.encrypted(digits.write(tmp_path / "own.npz", digits.blank()))
    assert "array 'x_train' is encrypted; write the file without a password" in refusal(path)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated(share: float, compressed: bool, tmp_path: Path) -> None:
    path = archives.truncated(digits.write(tmp_path / "own.npz", digits.blank(), compressed), share)
    assert "not an .npz file, or a damaged one" in refusal(path)


def test_one_wrong_byte_is_noticed(tmp_path: Path) -> None:
    path = archives.with_wrong_checksum(digits.write(tmp_path / "own.npz", digits.blank()), "x_train.npy")
    assert "array 'x_train' can not be read (Bad CRC-32" in refusal(path)


def test_a_truncated_array_in_a_sound_archive(tmp_path: Path) -> None:
    path = digits.write_entries(tmp_path / "own.npz", y_test=digits.npy(np.array([1, 2]))[:-1])
    assert "its header announces 144 bytes, the file holds 143" in refusal(path)


@pytest.mark.parametrize("shape", [(HUGE, 28, 28), (2**40,), (-1, -1, -28), (2**62, 28, 28)])
def test_a_huge_array_is_refused_before_memory_is_taken(shape: tuple[int, ...], tmp_path: Path) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}"
    path = digits.write_entries(tmp_path / "own.npz", x_train=digits.npy_with_header(header, b"\0" * 784))
    tracemalloc.start()
    try:
        assert "array 'x_train' can not be read" in refusal(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < HUGE


def test_a_file_or_an_array_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = digits.write(tmp_path / "own.npz", digits.blank(), compressed=True)
    monkeypatch.setattr(npz, "MAX_BYTES", 2000)  # images of 784 bytes: three are too many, the file is smaller
    assert path.stat().st_size < 2000
    assert "array 'x_train' is larger than" in refusal(path)
    monkeypatch.setattr(npz, "MAX_BYTES", 100)
    assert f"{path}: larger than" in refusal(path)


NONSENSE = {
    "a shape without an end": "{'descr': '|u1', 'fortran_order': False, 'shape': (3, (",
    "nesting": "(" * 5000,
    "indentation": "if 1:\n  1\n 1L",
    "keys of two kinds": "{b'descr': '|u1', 'fortran_order': False, 'shape': ()}",
    "truth as a size": "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 28, 28)}",
    "zero times too much": f"{{'descr': '|u1', 'fortran_order': False, 'shape': (0, {2**70})}}",
    "no such type": "{'descr': '|q9', 'fortran_order': False, 'shape': (3, 28, 28)}",
    "another order": "{'descr': '|u1', 'fortran_order': 3, 'shape': (3, 28, 28)}",
    "an escape": r"{'\d': 1}",
    "no dictionary": "[]",
    "nothing": "",
}


@pytest.mark.parametrize("data_bytes", [0, 784])
@pytest.mark.parametrize("case", NONSENSE)
def test_a_header_of_nonsense(case: str, data_bytes: int, tmp_path: Path) -> None:
    entry = digits.npy_with_header(NONSENSE[case], bytes(data_bytes))
    path = digits.write_entries(tmp_path / "own.npz", x_train=entry)
    assert "array 'x_train' can not be read" in refusal(path)


@pytest.mark.parametrize(
    "entry", [b"", b"\x93NUMPY", b"\x93NUMPY\x09\x00" + b"\0" * 200, b"\x93NUMPY\x01\x00\xff\xff{"]
)
def test_an_entry_that_is_no_array(entry: bytes, tmp_path: Path) -> None:
    path = digits.write_entries(tmp_path / "own.npz", y_train=entry)
    assert "array 'y_train' can not be read" in refusal(path)


def test_a_header_as_python_2_wrote_it_is_read_in_silence(tmp_path: Path) -> None:
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (3L,)}"
    path = digits.write_entries(tmp_path / "own.npz", y_train=digits.npy_with_header(header, bytes([3, 2, 1])))
    assert load_dataset(str(path)).y_train.tolist() == [3, 2, 1]


@MALFORMED
@given(content=st.binary(max_size=400) | st.binary(max_size=400).map(lambda each: b"PK\x03\x04" + each))
def test_random_bytes(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    path.write_bytes(content)
    assert "not an .npz file" in refusal(path)


def sound(compressed: bool, folder: Path) -> bytes:
    return digits.write(folder / "sound.npz", digits.blank(), compressed).read_bytes()


@pytest.mark.parametrize("compressed", [False, True])
@MALFORMED
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read_in_the_right_layout(
    compressed: bool, data: st.DataObject, tmp_path: Path
) -> None:
    path = tmp_path / "own.npz"
    path.write_bytes(data.draw(archives.damages(sound(compressed, tmp_path))))
    assert_refused_or_right(path)


@MALFORMED
@given(data=st.data())
def test_a_damaged_header_is_refused_or_read_in_the_right_layout(data: st.DataObject, tmp_path: Path) -> None:
    header = digits.npy(digits.blank()["x_train"])[:128]
    entry = data.draw(archives.damages(header)) + bytes(3 * 784)
    assert_refused_or_right(digits.write_entries(tmp_path / "own.npz", x_train=entry))


def assert_refused_or_right(path: Path) -> None:
    """Anything but an InputError is a traceback for the user, and fails the test."""
    try:
        dataset = load_dataset(str(path))
    except InputError:
        return
    assert dataset.x_train.shape == (len(dataset.y_train), 28, 28)
    assert dataset.x_train.dtype == dataset.y_train.dtype == np.uint8


@pytest.mark.parametrize("flag", [0x20, 0x40], ids=["patched", "strong encryption"])
def test_a_zip_of_a_kind_that_python_does_not_read(flag: int, tmp_path: Path) -> None:
    path = digits.write(tmp_path / "own.npz", digits.blank())
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        content[archive.start_dir + 8] |= flag
        content[archive.getinfo("x_train.npy").header_offset + 6] |= flag
    path.write_bytes(content)
    assert "array 'x_train' can not be read" in refusal(path)


def test_a_zip_of_a_later_version(tmp_path: Path) -> None:
    path = digits.write(tmp_path / "own.npz", digits.blank())
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        content[archive.start_dir + 6] = 99
    path.write_bytes(content)
    assert "not an .npz file, or a damaged one (zip file version 9.9)" in refusal(path)
