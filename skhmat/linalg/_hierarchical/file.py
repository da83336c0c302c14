"""The file of a hierarchical matrix: its form as one uncompressed .npz file, without pickles."""

import dataclasses
import inspect
import json
import math
import os
from functools import partial

import numpy as np

from ..._utils.files import new_file
from ..._utils.parallel import run_tasks
from .._entries.entries import Entries
from .._entries.raw_file import row_batches
from .._entries.sources import ArraySource
from .._gofmm.structure import BlockStructure
from .._kernels.matrix import KernelMatrix
from .checks import check_structure
from .form import HierarchicalForm, exact_form
from .npz import NpzReader, NpzWriter
from .report import CompressionReport

_FORMAT = "skhmat.HierarchicalMatrix"
# Version 1 also held the positions of the skeletons, which nothing read.
_VERSION = 2
# Entries of K that are in memory at once while a file is written.
_BATCH_ENTRIES = 1 << 23


def write_form(form, path):
    """Write a form to a file, which appears only when it is complete.

    Near blocks that products recompute are computed once more and saved. An exact form is saved as
    the whole matrix or, for a `KernelMatrix` with a named kernel, as points, kernel and parameters.

    Parameters
    ----------
    form : HierarchicalForm
    path : str or path-like
        Used unchanged; no suffix is added.
    """
    kind, kernel = "hierarchical", None
    if form.is_dense:
        kernel = _named_kernel(form.exact)
        kind = "array" if kernel is None else "kernel"
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "form": kind,
        "n": form.shape[0],
        "dtype": form.dtype.name,
        "report": {f.name: getattr(form.report, f.name) for f in dataclasses.fields(form.report)},
        "kernel": kernel,
    }
    text = json.dumps(header, default=_plain).encode()
    with new_file(path) as file, NpzWriter(file) as npz:
        npz.write("header", np.frombuffer(text, dtype=np.uint8))
        if kind == "kernel":
            npz.write("points", form.exact.points)
        elif kind == "array":
            batches = row_batches(form.exact, max(1, _BATCH_ENTRIES // form.shape[0]))
            npz.write_pieces("exact", form.shape, form.dtype, batches)
        else:
            _write_structure(npz, form)


def read_form(path, mapped=False, n_jobs=None):
    """Read what `write_form` wrote.

    Parameters
    ----------
    path : str or path-like
    mapped : bool
        Map the arrays, so that each is read from the file when a product needs it.
    n_jobs : int or None
        Threads of the products.

    Returns
    -------
    form : HierarchicalForm

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file has another format or a newer version, or is damaged.
    """
    _check_beginning(path)
    try:
        with NpzReader(path, mapped=mapped) as npz:
            return _read(npz, _read_header(npz), n_jobs)
    except ValueError as error:
        name = os.fspath(path)
        raise ValueError(f"{name!r} cannot be loaded as a HierarchicalMatrix: {error}") from error


def _plain(value):
    """Convert what `json` cannot encode: NumPy's values to Python's, anything else to its repr."""
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else repr(value)


def _named_kernel(exact):
    """Return kernel and parameters of a KernelMatrix, or None if only entries can be saved."""
    if not isinstance(exact, KernelMatrix) or callable(exact.kernel):
        return None
    names = list(inspect.signature(KernelMatrix.__init__).parameters)[2:]
    return {name: getattr(exact, name) for name in names if name != "n_jobs"}


def _write_structure(npz, form):
    for name, array in vars(form.structure).items():
        if array is None:
            length, pieces = _near_blocks(form)
            npz.write_pieces(name, (length,), form.dtype, pieces)
        else:
            npz.write(name, array)


def _near_blocks(form):
    """Return the number of entries of all near blocks, and functions that each compute some."""
    s, entries = form.structure, form.entries
    stored = np.flatnonzero(s.near_transposed == 0)
    stored = stored[np.argsort(s.near_offset[stored], kind="stable")]
    rows, cols = s.near_rows()[stored], s.near_leaf[stored]
    sizes = np.diff(s.leaf_bounds)
    ends = np.cumsum(sizes[rows] * sizes[cols])
    n_threads = form.n_threads if entries.thread_safe else 1

    def block(pair):
        return entries.block(*map(s.leaf_positions, pair)).reshape(-1)

    def blocks(pairs):
        return np.concatenate(run_tasks(block, pairs, n_threads))

    def pieces():
        start = 0
        while start < len(rows):
            done = ends[start - 1] if start else 0
            stop = int(np.searchsorted(ends, done + _BATCH_ENTRIES, side="right"))
            stop = max(start + 1, stop)
            pairs = list(zip(rows[start:stop], cols[start:stop], strict=True))
            yield partial(blocks, pairs)
            start = stop

    return int(ends[-1]), pieces()


def _check_beginning(path):
    """Reject a foreign file by its first bytes; zipfile would search all of it for a directory."""
    with open(path, "rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise ValueError(
                f"{os.fspath(path)!r} is not a saved HierarchicalMatrix: it is no .npz file."
            )


def _read_header(npz):
    if "header" not in npz:
        raise ValueError("it is an .npz file of something else")
    header = json.loads(npz.read("header").tobytes())
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise ValueError("it is an .npz file of something else")
    version = header.get("version")
    if not isinstance(version, int) or version > _VERSION:
        raise ValueError(
            f"it has format version {version!r}, this skhmat reads up to {_VERSION}; update skhmat"
        )
    for name, allowed in (
        ("n", isinstance(header.get("n"), int) and header["n"] > 0),
        ("dtype", header.get("dtype") in ("float32", "float64")),
        ("form", header.get("form") in ("hierarchical", "array", "kernel")),
        ("report", isinstance(header.get("report"), dict)),
    ):
        if not allowed:
            raise ValueError(f"its header is damaged: {name} is {header.get(name)!r}")
    return header


def _read_report(header):
    names = {field.name for field in dataclasses.fields(CompressionReport)}
    known = {key: value for key, value in header["report"].items() if key in names}
    report = CompressionReport(**known)
    scale = report.parameters.get("scale", 1.0) if isinstance(report.parameters, dict) else None
    if not isinstance(scale, (int, float)) or not 0 < scale < math.inf:
        raise ValueError("its header is damaged: the report has no valid scale")
    return report


def _read(npz, header, n_jobs):
    report, n, dtype = _read_report(header), header["n"], np.dtype(header["dtype"])
    if header["form"] == "kernel":
        return exact_form(Entries(_read_kernel(npz, header, n_jobs)), report, n_jobs)
    if header["form"] == "array":
        exact = npz.read("exact")
        _check_array("exact", exact, (n, n), dtype)
        return exact_form(Entries(ArraySource(exact)), report, n_jobs)
    arrays = {field.name: npz.read(field.name) for field in dataclasses.fields(BlockStructure)}
    check_structure(arrays, n, dtype)
    return HierarchicalForm((n, n), dtype, report, BlockStructure(**arrays), n_jobs=n_jobs)


def _read_kernel(npz, header, n_jobs):
    points = npz.read("points")
    _check_array("points", points, (header["n"], *points.shape[1:2]), np.dtype(header["dtype"]))
    try:
        return KernelMatrix(points, n_jobs=n_jobs, **header["kernel"])
    except TypeError as error:
        raise ValueError(f"its kernel is unknown to this version of skhmat: {error}") from error


def _check_array(name, array, shape, dtype):
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"array {name!r} has shape {array.shape} and {array.dtype}, not {shape} and {dtype}"
        )
