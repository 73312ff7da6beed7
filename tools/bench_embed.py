"""Time the C of `edgebn embed` against onnxruntime on the same file, both called from one C program, in turns.

python tools/bench_embed.py models/mlp/mlp.onnx models/cnn/cnn.onnx --flags "-O3 -mavx2 -mfma"

Needs a C compiler, onnxruntime's C header (pip install --no-deps amd-quark, or --include) and one idle core.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import edgebn
from edgebn.embedding.application import open_application
from edgebn.embedding.c.source import c_names
from tests.embedding.compiling import onnxruntime_header, onnxruntime_library

ROUNDS = 1001
MILLISECONDS = 0.3

PROGRAM = """
#define _POSIX_C_SOURCE 199309L
#include "plain.h"
#include "ort.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}}

{declarations}
static float scratch[PLAIN_SCRATCH];
static ort_model *model;

static void run_plain(void) {{ plain_run({arguments}, scratch); }}
static void run_ort(void) {{ if (ort_run(model, {arguments})) exit(1); }}

static double timed(void (*run)(void), int count)
{{
    const double started = now();
    for (int i = 0; i < count; i++)
        run();
    return (now() - started) / count;
}}

int main(int argc, char **argv)
{{
    (void)argc;
    if (ort_open(argv[1], &model))
        return 1;
    for (int i = 0; i < 200; i++) {{
        run_plain();
        run_ort();
    }}
    const int plain_count = (int)({milliseconds}e3 / timed(run_plain, 20)) + 1;
    const int ort_count = (int)({milliseconds}e3 / timed(run_ort, 20)) + 1;
    for (int i = 0; i < {rounds}; i++) {{
        const double plain = timed(run_plain, plain_count);
        printf("%.4f %.4f\\n", plain, timed(run_ort, ort_count));
    }}
    return 0;
}}
"""


def program(path: Path) -> str:
    """The C program that times both."""
    _, values = c_names(open_application(path))
    inputs, outputs = values["inputs"], values["outputs"]
    declarations = [f"static {port.type.c} {name}[{port.size}];" for name, port in (*inputs, *outputs)]
    arguments = ", ".join(name for name, _ in (*inputs, *outputs))
    return PROGRAM.format(
        declarations="\n".join(declarations), arguments=arguments, rounds=ROUNDS, milliseconds=MILLISECONDS
    )


def measure(path: Path, compiler: str, flags: list[str], include: Path) -> list[tuple[float, float]]:
    """Microseconds for one sample of plain C and of onnxruntime, round by round."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for prefix, target in (("plain", "c"), ("ort", "c-ort")):
            shutil.copyfile(path, folder / f"{prefix}.onnx")
            edgebn.embed(folder / f"{prefix}.onnx", target, folder / prefix)
            (folder / prefix / "selftest.c").unlink()
        (folder / "main.c").write_text(program(path))
        sources = [str(each) for each in sorted(folder.rglob("*.c"))]
        headers = [f"-I{each}" for each in (folder / "plain", folder / "ort", include)]
        subprocess.run([compiler, *flags, *headers, "-o", folder / "bench", *sources, "-ldl"], check=True)
        run = [str(folder / "bench"), str(onnxruntime_library())]
        lines = subprocess.run(run, check=True, capture_output=True, text=True).stdout.splitlines()
    return [(float(plain), float(ort)) for plain, ort in map(str.split, lines)]


def main() -> None:
    """Print a row for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--compiler", default="cc")
    parser.add_argument("--flags", default="-O3 -mavx2 -mfma")
    parser.add_argument("--include", type=Path, help="the folder of onnxruntime_c_api.h")
    arguments = parser.parse_args()
    include = arguments.include or onnxruntime_header()
    if include is None:
        parser.error("onnxruntime_c_api.h was not found: pip install --no-deps amd-quark, or pass --include")
    print("| model | plain C, µs | onnxruntime, µs | ratio | middle half | of the fastest |\n|---|---|---|---|---|---|")
    for path in arguments.models:
        rounds = measure(path, arguments.compiler, arguments.flags.split(), include)
        ratios = [plain / ort for plain, ort in rounds]
        low, middle, high = statistics.quantiles(ratios, n=4)
        plain, ort = (statistics.median(column) for column in zip(*rounds, strict=True))
        fastest = min(each[0] for each in rounds) / min(each[1] for each in rounds)
        row = (path.stem, f"{plain:.2f}", f"{ort:.2f}", f"{middle:.2f}", f"{low:.2f} to {high:.2f}", f"{fastest:.2f}")
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
