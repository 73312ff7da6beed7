"""Names for programs: identifiers that mean nothing else in any of the languages that apps are written in."""

from __future__ import annotations

import keyword
import re

_C = """
auto break case char const continue default do double else enum extern float for goto if inline int long register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while"""

_CPP = """
alignas alignof and and_eq asm bitand bitor bool catch char8_t char16_t char32_t class co_await co_return co_yield
compl concept const_cast consteval constexpr constinit decltype delete dynamic_cast explicit export false friend mutable
namespace new noexcept not not_eq nullptr operator or or_eq private protected public reinterpret_cast requires
static_assert static_cast template this thread_local throw true try typeid typename using virtual wchar_t xor xor_eq"""

_JAVASCRIPT = """
arguments await debugger eval export extends finally function implements import in instanceof interface let null
package super typeof undefined var with yield"""

_HEADERS = "assert errno linux unix stdin stdout stderr int32_t int64_t size_t uint8_t"

RESERVED = frozenset(
    [*f"{_C}{_CPP}{_JAVASCRIPT} {_HEADERS}".split(), *(each.lower() for each in (*keyword.kwlist, *keyword.softkwlist))]
)
"""Keywords, and what the headers of C define, in lower case."""

FILES = frozenset(
    [
        "golden",
        "index",
        "selftest",
        "serve",
        "wasm",
        "numpy",
        "onnxruntime",
        "abc",
        "array",
        "ast",
        "base64",
        "bisect",
        "builtins",
        "calendar",
        "cmath",
        "code",
        "codecs",
        "collections",
        "contextlib",
        "copy",
        "csv",
        "ctypes",
        "dataclasses",
        "datetime",
        "decimal",
        "email",
        "enum",
        "errno",
        "fractions",
        "functools",
        "glob",
        "gzip",
        "hashlib",
        "heapq",
        "html",
        "http",
        "inspect",
        "io",
        "itertools",
        "json",
        "keyword",
        "linecache",
        "locale",
        "logging",
        "math",
        "mmap",
        "multiprocessing",
        "numbers",
        "operator",
        "os",
        "pathlib",
        "pickle",
        "platform",
        "queue",
        "random",
        "re",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "site",
        "socket",
        "sqlite3",
        "stat",
        "string",
        "struct",
        "subprocess",
        "sys",
        "tempfile",
        "test",
        "textwrap",
        "threading",
        "time",
        "token",
        "tokenize",
        "traceback",
        "types",
        "typing",
        "unicodedata",
        "unittest",
        "urllib",
        "uuid",
        "warnings",
        "weakref",
        "xml",
        "zipfile",
        "zlib",
    ]
)
"""What no model's file may be called: files of the apps, and modules that Python would take it for."""


def identifier(name: str, taken: set[str], empty: str = "tensor") -> str:
    """A lower-case identifier that resembles `name`, neither reserved nor among `taken`, to which it is added.

    `empty` is what a name becomes of which nothing is left.
    """
    base = re.sub(r"_{2,}", "_", re.sub(r"\W", "_", name, flags=re.ASCII)).strip("_").lower() or empty
    base = f"n{base}" if base[0].isdigit() else "class_index" if base == "class" else base
    chosen, count = base, 1
    while chosen in taken or chosen in RESERVED:
        count += 1
        chosen = f"{base}_{count}"
    taken.add(chosen)
    return chosen


def file_name(stem: str) -> str:
    """The identifier that an app's files are called after."""
    name = identifier(stem, set(), "model")
    return f"{name}_model" if name in FILES else name


def plain(name: str) -> str:
    """A name without anything that could end a comment or a string: letters, digits, spaces and `_.,+()-` remain."""
    return re.sub(r"[^\w .,+()-]", "_", name)
