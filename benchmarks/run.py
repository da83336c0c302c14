"""Run the benchmarks and write their results as a page of the documentation.

python benchmarks/run.py [names] [--quick] [--output docs/benchmarks.rst]

Without names all of them, in about an hour on two cores that have nothing else to do. Each runs
in a process of its own and leaves its figures in build/benchmarks; the page is made from all that
lie there, so that one benchmark can be run again by its name. A target that is missed is reported
and never an error. `--quick` takes small sizes, a few minutes in all, and writes a page only where
`--output` says so.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from common import as_rst, describe_machine, figures, heading, load_result, load_warning

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
NAMES = (
    "grid",
    "product",
    "breakeven",
    "choice",
    "growth",
    "efficiency",
    "memory",
    "kernels",
    "peers",
    "solve",
    "evaluate",
    "ridge",
    "diffusion",
    "density",
    "features",
    "newton_cg",
    "defaults",
    "fourier",
    "busy",
)

INTRODUCTION = """\
Speed and accuracy, compared with dense NumPy in the same run, with a target for each measurement.
``make bench`` repeats all of them, ``python benchmarks/run.py growth`` one. Programs that are
compared run in turn several times, and medians are given; anything that takes less than 50
milliseconds is repeated within each turn, with warm caches. Errors are relative, in the Frobenius
norm, for the product with standard normal vectors."""

REFERENCES = """\
.. [1] S. Reiz. On the algorithmic impact of scientific computing on machine learning. PhD thesis,
   Technical University of Munich, 2024.
"""


def run_one(name, folder, quick):
    """Run one benchmark in a process of its own; return whether it came to its end."""
    command = [
        sys.executable,
        str(HERE / f"bench_{name}.py"),
        "--json",
        str(folder / f"{name}.json"),
    ]
    return subprocess.run(command + ["--quick"] * quick, check=False).returncode == 0


def page(machine, results, quick):
    """Return the whole page."""
    parts = [heading("Benchmarks", "="), INTRODUCTION + "\n"]
    if quick:
        parts.append(
            ".. warning::\n\n   A quick run, on small matrices: it shows that everything works, "
            "and no more.\n   The targets are meant for the full run, ``make bench``.\n"
        )
    if warning := load_warning(float(machine["load average at start"])):
        parts.append(f".. warning::\n\n   {warning}\n")
    parts.append(as_rst([{"": key, "this run": value} for key, value in machine.items()]))
    parts.append(heading("Targets", "-"))
    parts.append(as_rst([summary_row(result) for result in results.values()]))
    for result in results.values():
        parts += [heading(result["title"], "-"), result["text"] + "\n"]
        parts.append(f"Measured on {result['date']}, in {result['seconds']:.0f} seconds.\n")
        parts.append(as_rst(result["rows"]))
    parts += [heading("References", "-"), REFERENCES]
    return "\n".join(parts)


def summary_row(result):
    """Return how many targets of one benchmark are met."""
    every = figures(result["rows"])
    return {
        "benchmark": result["title"],
        "targets": len(every),
        "met": sum(figure.met for figure in every),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help=f"some of: {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, a few minutes in all")
    parser.add_argument(
        "--output", type=Path, help="default: docs/benchmarks.rst, none with --quick"
    )
    args = parser.parse_args()
    if unknown := set(args.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    output = args.output or (None if args.quick else ROOT / "docs" / "benchmarks.rst")
    folder = ROOT / "build" / "benchmarks" / ("quick" if args.quick else "full")
    folder.mkdir(parents=True, exist_ok=True)

    if warning := load_warning(os.getloadavg()[0]):
        print(f"WARNING: {warning}")
    machine = describe_machine()
    print("\n".join(f"{key}: {value}" for key, value in machine.items()), flush=True)
    start = time.perf_counter()
    failed = []
    for name in args.names or NAMES:
        if not run_one(name, folder, args.quick):
            failed.append(name)
        results = {
            name: load_result(folder / f"{name}.json")
            for name in NAMES
            if (folder / f"{name}.json").exists()
        }
        if output and results:
            output.write_text(page(machine, results, args.quick), encoding="utf-8")
    for result in map(summary_row, results.values()):
        print(f"{result['met']:>4} of {result['targets']:>3} targets met: {result['benchmark']}")
    print(f"{time.perf_counter() - start:.0f} s in all" + (f", {output}" if output else ""))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
