"""The rooms of the house, by reading the code: imports only go down, heavy packages stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "edgebn"
FILES = sorted(PACKAGE.rglob("*.py"))

# from top to bottom; rooms of one level do not know each other
LEVELS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("__init__",),  # the public names, each imported on first use
    ("pipeline", "verification"),
    ("proving",),
    ("locating", "quantizing", "tuning"),
    ("graphs", "references", "counterparts"),
    ("training", "exporting", "verifying", "benching", "embedding"),
    ("loading", "datasets"),
    ("folding",),
    ("backends", "files"),
    ("tidying", "algebra", "report", "interface"),
    ("errors", "version", "measurements"),
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}

# which rooms import what does not come with Python; no other does
IMPORTERS = {
    "click": {"cli"},
    "rich": {"cli"},
    "jinja2": {"embedding"},
    "keras": {"backends"},
    "tensorflow": {"backends", "loading"},  # loading: the protobuf of a SavedModel, to look into it before it is loaded
    "onnxruntime": {"backends"},
    "matplotlib": {"benching"},
    "tf2onnx": {"exporting"},
    "google": {"loading", "verifying"},
    "h5py": {"loading"},
    "onnx": {
        "benching",
        "counterparts",
        "pipeline",
        "graphs",
        "exporting",
        "loading",
        "proving",
        "quantizing",
        "tidying",
        "verifying",
    },
    "onnx_ir": {
        *(
            "pipeline",
            "proving",
            "locating",
            "quantizing",
            "tuning",
            "graphs",
            "references",
            "embedding",
            "counterparts",
        ),
        *("exporting", "folding", "loading", "tidying", "verifying"),
    },
    "numpy": {
        *(
            "algebra",
            "benching",
            "counterparts",
            "datasets",
            "embedding",
            "exporting",
            "folding",
            "loading",
            "locating",
            "quantizing",
        ),
        *("tidying", "verifying"),
    },
}
HEAVY = (
    "h5py",
    "jinja2",
    "keras",
    "matplotlib",
    "numpy",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "rich",
    "tensorflow",
    "tf2onnx",
)


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(file: Path) -> Iterator[str]:
    """The dotted names of all imports, those inside of functions and for type checkers included."""
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_read_by(file: Path) -> set[str]:
    """The rooms of edgebn that a file imports: `import edgebn` is the lazy `__init__`."""
    dotted = [name.split(".") for name in imported(file) if name.split(".")[0] == "edgebn"]
    return {parts[1] if len(parts) > 1 else "__init__" for parts in dotted}


def name(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def test_every_room_has_a_level() -> None:
    assert sorted(LEVEL) == sorted({room(file) for file in FILES})


@pytest.mark.parametrize("file", FILES, ids=name)
def test_imports_only_go_down(file: Path) -> None:
    own = room(file)
    for other in rooms_read_by(file) - {own}:
        assert LEVEL[own] < LEVEL[other], f"{name(file)} imports {other}"


def test_who_imports_what() -> None:
    standard = sys.stdlib_module_names | {"edgebn"}
    importers: dict[str, set[str]] = {}
    for file in FILES:
        for package in {each.split(".")[0] for each in imported(file)} - standard:
            importers.setdefault(package, set()).add(room(file))
    assert importers == IMPORTERS


def test_nothing_is_imported_by_a_computed_name_but_the_public_names() -> None:
    dynamic = {
        name(file)
        for file in FILES
        for node in ast.walk(parsed(file))
        if (isinstance(node, ast.Attribute) and node.attr == "import_module")
        or (isinstance(node, ast.Name) and node.id in {"__import__", "import_module", "exec", "eval"})
    }
    assert dynamic == {"__init__.py"}


@pytest.mark.parametrize("statement", ["import edgebn; dir(edgebn); edgebn.__version__", "import edgebn.cli"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    code = f"{statement}; import sys; print(*(set({HEAVY}) & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
    assert loaded.stderr == ""


def prints(node: ast.AST) -> bool:
    """Whether the node is `print`, `click.echo`, `sys.stdout` or the like."""
    if isinstance(node, ast.Name):
        return node.id in {"print", "pprint", "breakpoint"}
    return isinstance(node, ast.Attribute) and node.attr in {"echo", "secho", "stdout", "pprint"}


@pytest.mark.parametrize("file", [file for file in FILES if room(file) != "cli"], ids=name)
def test_only_the_command_line_prints(file: Path) -> None:
    assert [node.lineno for node in ast.walk(parsed(file)) if prints(node)] == []


def public(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """The functions and classes without an underscore, and the methods of these classes."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


@pytest.mark.parametrize("file", FILES, ids=name)
def test_everything_public_is_documented(file: Path) -> None:
    assert ast.get_docstring(parsed(file))
    for node in public(parsed(file).body):
        assert ast.get_docstring(node), f"{name(file)}: {node.name}"


def test_the_public_names_are_what_they_say() -> None:
    import edgebn

    assert dir(edgebn) == sorted(edgebn.__all__)
    for each in edgebn.__all__:
        assert getattr(edgebn, each) is not None
    with pytest.raises(AttributeError, match="has no attribute 'unfold'"):
        edgebn.unfold  # noqa: B018
    for function in (edgebn.train, edgebn.fold_export, edgebn.verify, edgebn.bench, edgebn.embed):
        documented = function.__doc__ or ""
        assert "Args:" in documented
        assert "Raises:" in documented
        parameters = set(function.__annotations__) - {"return"}
        missing = {each for each in parameters if f" {each}:" not in documented}
        assert not missing, f"{function.__name__}: {missing} not explained"


@pytest.mark.parametrize("folder", ["edgebn", "tests", "tools"])
def test_no_file_is_too_long_to_read(folder: str) -> None:
    for file in sorted((PACKAGE.parent / folder).rglob("*.py")):
        assert len(file.read_text("utf-8").splitlines()) <= 400, file.name
