"""What all benchmarks share: timing in turn, the figures and their targets, tables, the machine."""

import argparse
import gc
import json
import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import numpy as np
import sklearn.exceptions
import threadpoolctl
from skhmat._ext.simd import dispatch

from skhmat._utils.parallel import effective_n_threads
from skhmat.linalg import KernelMatrix, compress

REPEATS = 5
# After a product the threads of OpenBLAS spin for about a tenth of a second, on the cores that the
# next step is to be timed on.
PAUSE = 0.15
# Shorter steps are repeated for this long, after a first time that fills caches and wakes threads.
SHORT = 0.05
# Above this load average other programs run too, and the seconds mean little.
QUIET = 0.5
_SAME_ROWS = 2048  # rows compared at a time


# ---- figures


@dataclass(frozen=True)
class Figure:
    """A measured value, the target that goes with it, if any, and whether it is met."""

    value: float
    target: str = ""
    met: bool | None = None
    note: str = ""

    def __str__(self):
        return f"{number(self.value)}{self.note and ' ' + self.note}"


def at_most(value, limit, note=""):
    """Return a figure that should not be above `limit`."""
    return Figure(float(value), f"≤ {number(limit)}", bool(value <= limit), note)


def at_least(value, limit, note=""):
    """Return a figure that should not be below `limit`."""
    return Figure(float(value), f"≥ {number(limit)}", bool(value >= limit), note)


def number(value):
    """Write a number with three digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if value != 0 and not 1e-2 <= abs(value) < 1e6:
        return f"{value:.1e}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


# ---- measuring


def interleaved(steps, repeats=REPEATS, seconds=float("inf")):
    """Run all steps in turn, with a pause before each, so that a busy moment hurts them alike.

    Parameters
    ----------
    steps : dict of str to callable
        A name that starts with an underscore is run but not timed.
    repeats : int
    seconds : float
        From three repeats on, no further one is begun after this time.

    Returns
    -------
    medians : dict of str to float
        Median seconds of each timed step.
    n_runs : int
    """
    taken = {name: [] for name in steps if not name.startswith("_")}
    begin = time.perf_counter()
    gc.collect()
    gc.disable()
    try:
        for n_runs in range(1, repeats + 1):
            for name, step in steps.items():
                if name in taken:
                    time.sleep(PAUSE)
                    taken[name].append(_time(step))
                else:
                    step()
            if n_runs >= 3 and time.perf_counter() - begin > seconds:
                break
    finally:
        gc.enable()
    return {name: statistics.median(times) for name, times in taken.items()}, n_runs


def _time(step):
    start = time.perf_counter()
    step()
    seconds = time.perf_counter() - start
    if seconds >= SHORT:
        return seconds
    n_calls = math.ceil(SHORT / seconds)
    start = time.perf_counter()
    for _ in range(n_calls):
        step()
    return (time.perf_counter() - start) / n_calls


def normal_points(n, dtype, d=6, seed=0):
    """Return standard normal points."""
    return np.random.default_rng(seed).standard_normal((n, d)).astype(dtype)


def normal_vectors(n, k, dtype, seed=1):
    """Return standard normal right-hand sides."""
    return np.random.default_rng(seed).standard_normal((n, k), dtype=np.dtype(dtype))


def compress_noting(K, **options):
    """Return `compress(K, **options)` and whether it warned that the promise is missed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        H = compress(K, **options)
    missed = sklearn.exceptions.ConvergenceWarning
    return H, any(issubclass(warning.category, missed) for warning in caught)


def relative_error(got, exact):
    """Return ||got - exact||_F / ||exact||_F, summed up in float64."""
    difference = norm = 0.0
    for i in range(0, len(exact), _SAME_ROWS):
        part = exact[i : i + _SAME_ROWS].astype(np.float64)
        norm += np.vdot(part, part)
        part -= got[i : i + _SAME_ROWS]
        difference += np.vdot(part, part)
    return float(np.sqrt(difference / norm))


def error_on_rows(H, K, n_rows=512, n_vectors=32, seed=2):
    """Return the relative error of a product in random rows, where all rows would take too long."""
    n = K.shape[0]
    rows = np.sort(np.random.default_rng(seed).choice(n, size=min(n, n_rows), replace=False))
    W = normal_vectors(n, n_vectors, K.dtype, seed)
    exact = np.zeros((len(rows), n_vectors))
    step = 1 << 15
    for start in range(0, n, step):
        cols = np.arange(start, min(start + step, n))
        exact += K.block(rows, cols) @ W[cols]
    return relative_error((H @ W)[rows], exact)


def describe_form(H, warned):
    """Say how the promise was met: compressed, dense, or not at all and with a warning."""
    if H.is_dense:
        return "dense"
    return "warned" if warned else "compressed"


def describe_ranks(H):
    """Return mean and largest rank of the nodes that have a basis."""
    ranks = H.ranks_[H.ranks_ > 0]
    return f"{ranks.mean():.0f} / {ranks.max()}" if len(ranks) else "-"


def promised_error(error, rtol, warned):
    """Return the true error as a figure: at most `rtol`, or a warning was given."""
    if warned and error > rtol:
        return Figure(error, f"≤ {number(rtol)}", True, "warned")
    return at_most(error, rtol)


def gaussian(n, dtype, bandwidth=4.0):
    """Return the Gaussian kernel matrix of standard normal points in six dimensions."""
    return KernelMatrix(normal_points(n, dtype), kernel="gaussian", bandwidth=bandwidth)


# ---- memory


def rss():
    """Return the bytes of memory this process holds now (its peak where that is hidden)."""
    return _status("VmRSS")


def peak_rss():
    """Return the largest memory this process held since it began, or since `reset_peak_rss`.

    Linux' ``VmHWM`` and not ``ru_maxrss``: a new process inherits the latter from the one that
    started it.
    """
    return _status("VmHWM")


def reset_peak_rss():
    """Begin a new peak, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _status(key):
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def in_fresh_process(function, *args):
    """Return `function(*args)` from a new process, or None if that was killed (out of memory)."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        try:
            return pool.submit(function, *args).result()
        except (BrokenProcessPool, MemoryError):
            return None


# ---- the machine


def gemm_step(dtype, n=8192, k=512):
    """Return a dense product as a step to time, its flops and its bytes."""
    dtype = np.dtype(dtype)
    A = np.full((n, n), 0.5, dtype=dtype)
    W = np.full((n, k), 0.5, dtype=dtype)
    W = W[:, 0] if k == 1 else W
    return (lambda: A @ W), 2 * n**2 * k, n**2 * dtype.itemsize


def describe_machine():
    """Return what the seconds depend on, as a dict of strings."""
    load = os.getloadavg()[0]
    rates = {}
    for dtype in ("float32", "float64"):
        for k, name in ((512, "GEMM"), (1, "GEMV")):
            step, flops, n_bytes = gemm_step(dtype, 4096 if k > 1 else 8192, k)
            step()
            seconds = interleaved({"it": step})[0]["it"]
            what = f"{flops / seconds / 1e9:.0f} GFLOP/s"
            rates[f"{name} {dtype}"] = what if k > 1 else f"{n_bytes / seconds / 1e9:.0f} GB/s"
    blas = {
        f"{library['internal_api']} {library['version']}, {library['num_threads']} threads"
        for library in threadpoolctl.threadpool_info()
        if library["user_api"] == "blas"
    }
    packages = ("skhmat", "numpy", "scipy", "scikit-learn")
    return {
        "date": date.today().isoformat(),
        "load average at start": f"{load:.2f}",
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores"
        if hasattr(os, "sched_getaffinity")
        else f"{_processor()}, {os.cpu_count()} cores",
        "threads": str(effective_n_threads(None)),
        "instruction set of the kernel loops": dispatch.isa(),
        **rates,
        "BLAS": "; ".join(sorted(blas)),
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{p} {version(p)}" for p in packages)]
        ),
    }


def _processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def heading(text, line):
    """Return a heading in reStructuredText."""
    return f"{text}\n{line * len(text)}\n"


def load_warning(load):
    """Return a line that says that the machine is busy, or nothing."""
    if load <= QUIET:
        return ""
    return (
        f"The load average was {load:.2f} at the start, above {QUIET}: other programs ran too, and "
        "the seconds mean little."
    )


# ---- tables


def cells(rows):
    """Return header and cells as text, with a last column for the targets if there are any.

    A target that is the same in a whole column goes into its header, others stand beside the value.
    """
    names = list(dict.fromkeys(name for row in rows for name in row if name != "table"))
    header, columns = [], []
    for name in names:
        column = [row.get(name, "") for row in rows]
        targets = {c.target for c in column if isinstance(c, Figure) and c.target}
        common = targets.pop() if len(targets) == 1 else ""
        header.append(f"{name} ({common})" if common else name)
        columns.append([_cell(value, common) for value in column])
    met = [_met(row) for row in rows]
    if any(met):
        header.append("met")
        columns.append(met)
    return header, [list(row) for row in zip(*columns, strict=True)]


def _cell(value, common_target):
    if not isinstance(value, Figure):
        return number(value)
    text = str(value)
    return text if value.target in ("", common_target) else f"{text} ({value.target})"


def _met(row):
    figures = {k: v for k, v in row.items() if isinstance(v, Figure) and v.met is not None}
    missed = [name for name, figure in figures.items() if not figure.met]
    if not figures:
        return ""
    return "no: " + ", ".join(missed) if missed else "yes"


def tables(rows):
    """Yield the caption and the rows of each table; rows name theirs under "table"."""
    for caption, group in groupby(rows, lambda row: row.get("table", "")):
        yield caption, list(group)


def as_text(rows):
    """Return the rows as tables for a terminal."""
    lines = []
    for caption, group in tables(rows):
        header, body = cells(group)
        widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
        lines += ["", caption] if caption else [""]
        for row in [header, ["-" * width for width in widths], *body]:
            lines.append("  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)))
    return "\n".join(lines)


def as_rst(rows):
    """Return the rows as reStructuredText tables."""
    none = {"-": "–"}  # a hyphen alone would be an item of a list
    lines = []
    for caption, group in tables(rows):
        header, body = cells(group)
        lines += [f".. csv-table:: {caption}".rstrip(), "   :header-rows: 1", ""]
        for row in [header, *body]:
            lines.append("   " + ", ".join(f'"{none.get(cell, cell)}"' for cell in row))
        lines.append("")
    return "\n".join(lines)


def figures(rows):
    """Return all figures that have a target."""
    every = [value for row in rows for value in row.values() if isinstance(value, Figure)]
    return [figure for figure in every if figure.met is not None]


# ---- one benchmark as a script


def main(run, doc):
    """Run one benchmark as a script: print its tables, and write them to --json for `run.py`."""
    title, _, text = doc.strip().partition("\n")
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, seconds instead of minutes"
    )
    parser.add_argument("--json", type=Path, help="write the rows here")
    args = parser.parse_args()
    if not args.json and (warning := load_warning(os.getloadavg()[0])):
        print(f"WARNING: {warning}")
    start = time.perf_counter()
    rows = run(args.quick)
    seconds = time.perf_counter() - start
    print(f"\n{title}\n{as_text(rows)}\n{seconds:.0f} s", flush=True)
    if args.json:
        save_result(args.json, rows, title=title, text=text.strip(), seconds=seconds)


def save_result(path, rows, **more):
    """Write rows and what belongs to them."""
    result = {"date": date.today().isoformat(), **more, "rows": _encode(rows)}
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")


def load_result(path):
    """Read back what `save_result` wrote."""
    result = json.loads(path.read_text(encoding="utf-8"))
    result["rows"] = [
        {k: Figure(**v) if isinstance(v, dict) else v for k, v in row.items()}
        for row in result["rows"]
    ]
    return result


def _encode(rows):
    def plain(value):
        if isinstance(value, Figure):
            return asdict(value)
        return value.item() if isinstance(value, np.generic) else value

    return [{name: plain(value) for name, value in row.items()} for row in rows]
