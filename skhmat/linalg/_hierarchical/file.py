"""Files: dense matrices in raw format, and hierarchical matrices saved and loaded."""

import dataclasses
import inspect
import json
import math
import os
from types import SimpleNamespace

import numpy as np

from ..._utils.files import new_file
from ..._utils.parallel import effective_n_threads, run_tasks
from .._entries.entries import Entries
from .._entries.raw_file import MAX_BATCH_ENTRIES as _BATCH
from .._entries.raw_file import row_batches as _row_batches
from .._entries.sources import ArraySource
from .._gofmm.structure import Structure
from .._hierarchical_matrix import HierarchicalMatrix, exact_form
from .._kernels.matrix import KernelMatrix
from .checks import check_structure
from .npz import NpzReader, NpzWriter
from .report import Report

_FORMAT = "skhmat.HierarchicalMatrix"
_VERSION = 1


def save(H, path):
    """Save a hierarchical matrix as one uncompressed .npz file.

    The file holds no pickles. It appears only when it is complete: an error leaves what was there
    before.

    Parameters
    ----------
    H : HierarchicalMatrix
        Near blocks that are recomputed for each product are computed once more and saved. Where the
        exact form is held, the matrix is saved, or only points, kernel and parameters for a
        `KernelMatrix` whose kernel has a name.
    path : str or path-like
        Used as it is, no suffix is added.

    See Also
    --------
    load : Reads the file.
    """
    form, kernel = "hierarchical", None
    if H.is_dense:
        kernel = _named_kernel(H._exact)
        form = "array" if kernel is None else "kernel"
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "form": form,
        "n": H.shape[0],
        "dtype": H.dtype.name,
        "report": {f.name: getattr(H.report_, f.name) for f in dataclasses.fields(H.report_)},
        "kernel": kernel,
    }
    text = json.dumps(header, default=_plain).encode()
    with new_file(path) as file, NpzWriter(file) as npz:
        npz.write("header", np.frombuffer(text, dtype=np.uint8))
        if form == "kernel":
            npz.write("points", H._exact.points)
        elif form == "array":
            batches = _row_batches(H._exact, max(1, _BATCH // H.shape[0]))
            npz.write_pieces("exact", H.shape, H.dtype, batches)
        else:
            _write_structure(npz, H)


def load(path, mmap_mode=None, *, n_jobs=None):
    """Load a hierarchical matrix that was saved.

    Parameters
    ----------
    path : str or path-like
    mmap_mode : {None, "r"}, default=None
        With "r" the arrays stay in the file and are read when a product needs them; what is in them
        is then not compared with the checksums.
    n_jobs : int, default=None
        Threads of the products, as in `compress`.

    Returns
    -------
    H : HierarchicalMatrix

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file was not written by `save`, or by a newer version of it, or it is damaged.

    See Also
    --------
    save : Writes the file.
    """
    if mmap_mode not in (None, "r"):
        raise ValueError(f"mmap_mode is {mmap_mode!r}; allowed are None and 'r'.")
    _check_beginning(path)
    try:
        with NpzReader(path, mapped=mmap_mode == "r") as npz:
            return _read(npz, _read_header(npz), n_jobs)
    except ValueError as error:
        name = os.fspath(path)
        raise ValueError(f"{name!r} cannot be loaded as a HierarchicalMatrix: {error}") from error


def _plain(value):
    """Return in JSON's types what `json` does not know; for what no file can hold, its name."""
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else repr(value)


def _named_kernel(exact):
    """Return kernel and parameters of a KernelMatrix, or None if only entries can be saved."""
    if not isinstance(exact, KernelMatrix) or callable(exact.kernel):
        return None
    names = list(inspect.signature(KernelMatrix.__init__).parameters)[2:]
    return {name: getattr(exact, name) for name in names if name != "n_jobs"}


def _write_structure(npz, H):
    for field in dataclasses.fields(Structure):
        array = getattr(H._structure, field.name)
        if array is None:
            length, pieces = _near_blocks(H)
            npz.write_pieces(field.name, (length,), H.dtype, pieces)
        else:
            npz.write(field.name, array)


def _near_blocks(H):
    """Return the size of all near blocks and an iterator that computes them one by one."""
    s = H._structure
    leaf = np.repeat(np.arange(len(s.leaf_bounds) - 1), np.diff(s.near_ptr))
    stored = np.flatnonzero(s.near_transposed == 0)
    stored = stored[np.argsort(s.near_offset[stored], kind="stable")]
    rows, cols = leaf[stored], s.near_leaf[stored]
    sizes = np.diff(s.leaf_bounds)
    ends = np.cumsum(sizes[rows] * sizes[cols])
    n_threads = effective_n_threads(H._n_jobs) if H._entries.thread_safe else 1

    def block(pair):
        points = [np.arange(*s.leaf_bounds[side : side + 2]) for side in pair]
        return H._entries.block(*points)

    def pieces():
        start = 0
        while start < len(rows):
            done = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, done + _BATCH, side="right")))
            pairs = list(zip(rows[start:stop], cols[start:stop], strict=True))
            yield from run_tasks(block, pairs, n_threads)
            start = stop

    return int(ends[-1]), pieces()


def _check_beginning(path):
    """Tell a foreign file by its first bytes, before anything looks for a table at its end."""
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
    names = {field.name for field in dataclasses.fields(Report)}
    report = Report(**{key: value for key, value in header["report"].items() if key in names})
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
    arrays = {field.name: npz.read(field.name) for field in dataclasses.fields(Structure)}
    check_structure(arrays, n, dtype)
    # All blocks are here, so a product needs nothing of the entries but what they look like.
    H = HierarchicalMatrix(
        Structure(**arrays), SimpleNamespace(shape=(n, n), dtype=dtype), report, n_jobs
    )
    H._entries = None
    return H


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
