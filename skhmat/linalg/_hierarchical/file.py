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
from .._fourier.fit import fourier_from_record
from .._gofmm.structure import BlockStructure
from .._kernels.matrix import KernelMatrix
from .checks import DATA, check_structure
from .form import HierarchicalForm, exact_form
from .npz import NpzReader, NpzWriter
from .report import CompressionReport

_FORMS = ("hierarchical", "array", "kernel", "fourier")
_FORMAT = "skhmat.HierarchicalMatrix"
# Version 1 also held the positions of the skeletons, which nothing read; version 3 has the forms
# that were considered; version 4 the Fourier form, and kernels with a bandwidth for each feature.
_VERSION = 4
# Entries of K that are in memory at once while a file is written.
_BATCH_ENTRIES = 1 << 23


def write_form(form, path):
    """Write a form to a file, which appears only when it is complete.

    Near blocks that products recompute are computed once more and saved. An exact form is saved as
    the whole matrix or, for a `KernelMatrix` with a named kernel, as points, kernel and parameters;
    so is the Fourier form, with what its coefficients follow from.

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
    elif form.is_fourier:
        kind, kernel = "fourier", _named_kernel(form.source)
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "form": kind,
        "n": form.shape[0],
        "dtype": form.dtype.name,
        "report": {f.name: getattr(form.report, f.name) for f in dataclasses.fields(form.report)},
        "kernel": kernel,
        "modes": form.fourier.modes.as_record() if form.is_fourier else None,
    }
    text = json.dumps(header, default=_plain).encode()
    with new_file(path) as file, NpzWriter(file) as npz:
        npz.write("header", np.frombuffer(text, dtype=np.uint8))
        if kernel is not None:
            npz.write("points", form.source.points)
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
        Map the arrays of numbers, so that each is read from the file when a product needs it. The
        header and all indices are read now: a file that changes later makes numbers wrong, but no
        product reads out of bounds.
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
    return {name: getattr(exact, name) for name in _kernel_parameters()}


def _kernel_parameters():
    """Return the names of the parameters of a KernelMatrix that a file holds."""
    names = list(inspect.signature(KernelMatrix.__init__).parameters)[2:]
    return [name for name in names if name != "n_jobs"]


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
    try:
        header = json.loads(npz.read("header").tobytes())
    except RecursionError:
        raise ValueError("its header is damaged: it is nested too deeply") from None
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise ValueError("it is an .npz file of something else")
    version = header.get("version")
    if type(version) is not int or not 1 <= version <= _VERSION:
        raise ValueError(
            f"it has format version {version!r}, this skhmat reads up to {_VERSION}; update skhmat"
        )
    _check_header(header, "n", lambda n: type(n) is int and n > 0)
    _check_header(header, "dtype", lambda name: name in ("float32", "float64"))
    _check_header(header, "form", lambda form: form in _FORMS)
    _check_header(header, "report", lambda report: isinstance(report, dict))
    return header


def _check_header(values, name, is_allowed, where=""):
    if not is_allowed(values.get(name)):
        raise ValueError(f"its header is damaged: {where}{name} is {values.get(name)!r:.80}")


def _is_number(value):
    """Return whether a value of the header is a number that a float can hold."""
    return type(value) is float or (type(value) is int and abs(value) < 1 << 63)


def _read_report(header):
    # Files of the versions before the third have no forms that were considered.
    report, dtype = {"considered": []} | header["report"], np.dtype(header["dtype"])
    if not _has_scale(report, dtype, is_needed=header["form"] == "hierarchical"):
        raise ValueError("its header is damaged: the report has no valid scale")
    for name, is_allowed in {
        "seconds": lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
        "n_read": lambda value: type(value) is int and _is_number(value),
        "error": _is_number,
        "rtol": _is_number,
        "parameters": lambda value: isinstance(value, dict),
        "reason_dense": lambda value: isinstance(value, str),
        "considered": lambda value: isinstance(value, list) and all(map(_is_plan, value)),
    }.items():
        _check_header(report, name, is_allowed, "report: ")
    names = [field.name for field in dataclasses.fields(CompressionReport)]
    return CompressionReport(**{name: report[name] for name in names})


def _is_plan(value):
    """Return whether a value of the header describes a form that was considered."""
    if not (isinstance(value, dict) and isinstance(value.get("form"), str)):
        return False
    names = ["setup", "products", "nbytes"]
    names += ["leaf_size", "budget"] if "leaf_size" in value else []
    return all(_is_number(value.get(name)) for name in names)


def _has_scale(report, dtype, is_needed):
    """Return whether the scale is a power of two that can bring some number of the dtype to 1."""
    parameters = report.get("parameters")
    if not is_needed and (not isinstance(parameters, dict) or "scale" not in parameters):
        return True
    scale = parameters.get("scale") if isinstance(parameters, dict) else None
    if type(scale) is not float:
        return False
    mantissa, exponent = math.frexp(scale)
    limits = np.finfo(dtype)
    return mantissa == 0.5 and limits.minexp - 1 <= exponent <= limits.maxexp


def _read(npz, header, n_jobs):
    report, n, dtype = _read_report(header), header["n"], np.dtype(header["dtype"])
    if header["form"] == "kernel":
        return exact_form(Entries(_read_kernel(npz, header, n_jobs)), report, n_jobs)
    if header["form"] == "fourier":
        K = _read_kernel(npz, header, n_jobs)
        fourier = fourier_from_record(K, header.get("modes"))
        entries = Entries(K)
        return HierarchicalForm(
            (n, n), dtype, report, fourier=fourier, entries=entries, n_jobs=n_jobs
        )
    if header["form"] == "array":
        exact = npz.map("exact")
        _check_array("exact", exact, (n, n), dtype)
        return exact_form(Entries(ArraySource(exact)), report, n_jobs)
    names = [field.name for field in dataclasses.fields(BlockStructure)]
    arrays = {name: npz.map(name) if name in DATA else npz.read(name) for name in names}
    check_structure(arrays, n, dtype)
    return HierarchicalForm((n, n), dtype, report, BlockStructure(**arrays), n_jobs=n_jobs)


def _read_kernel(npz, header, n_jobs):
    parameters = header.get("kernel")
    if not isinstance(parameters, dict) or not parameters.keys() >= set(_kernel_parameters()):
        # A default in place of a parameter would be another matrix.
        raise ValueError("its header is damaged: parameters of the kernel are missing")
    points = npz.map("points")
    _check_array("points", points, (header["n"], *points.shape[1:2]), np.dtype(header["dtype"]))
    try:
        return KernelMatrix(points, n_jobs=n_jobs, **parameters)
    except TypeError as error:
        raise ValueError(f"its kernel is unknown to this version of skhmat: {error}") from error


def _check_array(name, array, shape, dtype):
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"array {name!r} has shape {array.shape} and {array.dtype}, not {shape} and {dtype}"
        )
