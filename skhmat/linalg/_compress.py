"""`compress`: the pipeline from entries to a hierarchical matrix that keeps its promise."""

import time
from contextlib import contextmanager
from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state

from .._utils.logging import Log
from .._utils.parallel import effective_n_threads, physical_memory
from .._utils.warnings import warn
from ._entries.entries import as_entries
from ._entries.sources import as_source
from ._gofmm.blocks import assemble
from ._gofmm.cluster_tree import build_tree
from ._gofmm.cost_model import extrapolate_ranks, pays, product_cost
from ._gofmm.distances import DISTANCES, make_distance
from ._gofmm.error_estimate import ErrorEstimator
from ._gofmm.interaction_lists import find_interactions
from ._gofmm.neighbors import find_neighbors
from ._gofmm.skeletonization import Skeletonizer
from ._hierarchical.report import Report
from ._hierarchical_matrix import HierarchicalMatrix, exact_form

_MAX_ATTEMPTS = 6
# The first tolerance is this part of what the error would be if those of all levels added up as
# independent random numbers, so that the first attempt mostly meets the promise.
_SAFETY = 0.65
# Near partners per leaf that budget="auto" tries.
_AUTO_PARTNERS = 6
# After a miss, aim at this part of the promise.
_AIM = 0.8
# An error this many times larger than the tolerance lets expect shows that the sample is to blame.
_SURPRISE = 4.0
# Up to this many rows, every far row is read when sampling fails its check.
_READ_ALL_BELOW = 32768


def compress(
    K,
    rtol=1e-4,
    leaf_size=256,
    max_rank=None,
    n_neighbors=32,
    budget="auto",
    distance="auto",
    n_jobs=None,
    random_state=None,
    verbose=0,
    *,
    shape=None,
    dtype=None,
    points=None,
    max_bytes=None,
):
    """Compress a symmetric positive definite matrix by the geometry-oblivious FMM.

    The matrix is read entry by entry, never as a whole. The error of the result is measured: on all
    rows of a small matrix, else on rows that compression did not read and on rows drawn from the
    others. Ranks and samples grow until the promise `rtol` is kept, or a warning says by how much
    it is missed.

    Parameters
    ----------
    K : ndarray, memmap, KernelMatrix or callable
        The matrix, of shape (n, n), in float32 or float64 (integers become float64). A callable
        ``K(rows, cols)`` takes two integer arrays and returns the block of entries; it is called by
        one thread at a time and needs a `shape`.
    rtol : float, default=1e-4
        The promise, in (0, 1): relative error ||K~W - KW||_F / ||KW||_F for standard normal W
        ([1]_, equation 6.2).
    leaf_size : int, default=256
        Largest number of points in a leaf of the tree, at least 2.
    max_rank : int, default=None
        Largest rank of a node, at least 1; None lets ranks grow until dense would be cheaper.
    n_neighbors : int, default=32
        Neighbours of each point that are found, at least 1; they vote for near pairs and guide the
        sampling of rows.
    budget : float or "auto", default="auto"
        Largest fraction of all pairs of leaves that are held as exact near blocks, in [0, 1]. 0
        gives the HSS format; "auto" spends near pairs where they cost less than the rank they save.
    distance : {"auto", "kernel", "angle", "geometric", "lexicographic", "random"}, default="auto"
        What near means: Gram distance, Gram angle, distance of the points, the given order, or a
        random order. "auto" is "geometric" where points are known and "kernel" elsewhere.
    n_jobs : int, default=None
        Threads; None means all that OpenMP would use, -1 all cores. The result does not depend on
        it.
    random_state : int, RandomState or None, default=None
        Draws the tree, the samples and the rows the error is measured on.
    verbose : int, default=0
        1 logs each phase to the logger "skhmat", and the progress of long ones; 2 also each level.
    shape : tuple (n, n), default=None
        Shape of a callable K that has no attribute of that name.
    dtype : dtype, default=None
        float32 or float64: dtype of a callable K; None means its attribute of that name, or
        float64.
    points : array-like of shape (n, n_features), default=None
        Points behind an array or a callable, for distance="geometric".
    max_bytes : int, default=None
        Largest memory for near blocks; beyond it they are computed anew in each product. None means
        half of the machine's memory.

    Returns
    -------
    H : HierarchicalMatrix
        Holds the exact matrix where compression does not pay.

    Raises
    ------
    ValueError
        K is not square, empty, complex, not symmetric, has entries that are NaN or infinite or a
        diagonal that is not positive, or a parameter is out of its range.
    TypeError
        K is nothing that entries can be read from.

    Warns
    -----
    ConvergenceWarning
        The promise is missed; the message has the error reached and the parameter to raise.

    References
    ----------
    .. [1] S. Reiz. On the algorithmic impact of scientific computing on machine learning. PhD
       thesis, Technical University of Munich, 2024.
    .. [2] C. D. Yu, J. Levitt, S. Reiz, G. Biros. Geometry-oblivious FMM for compressing dense SPD
       matrices. SC17, 2017. https://doi.org/10.1145/3126908.3126921

    Examples
    --------
    >>> import numpy as np
    >>> from skhmat.linalg import KernelMatrix, compress
    >>> X = np.random.default_rng(0).standard_normal((4000, 3))
    >>> H = compress(KernelMatrix(X, bandwidth=2.0), rtol=1e-3, random_state=0)
    >>> H.error_estimate_ <= 1e-3
    True
    >>> (H @ np.ones(4000)).shape
    (4000,)
    """
    _check_parameters(rtol, leaf_size, max_rank, n_neighbors, budget, distance, max_bytes)
    # NumPy's narrow integers would overflow on the way.
    rtol, leaf_size, n_neighbors = float(rtol), int(leaf_size), int(n_neighbors)
    n_threads = effective_n_threads(n_jobs)
    rng = np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
    source = as_source(K, shape, dtype, points)
    if distance == "geometric" and source.points is None:
        raise ValueError(
            "distance is 'geometric' but K has no points; pass points=, or use 'kernel' or 'angle'."
        )
    if distance == "auto":
        distance = "kernel" if source.points is None else "geometric"
    options = {
        "leaf_size": leaf_size,
        "max_rank": None if max_rank is None else min(int(max_rank), source.shape[0]),
        "n_neighbors": n_neighbors,
        "budget": budget,
        "distance": distance,
        "max_bytes": physical_memory() / 2 if max_bytes is None else max_bytes,
    }
    return _Compression(source, rtol, options, n_jobs, n_threads, rng, verbose).run()


class _Compression:
    """One run of the pipeline, phase by phase."""

    def __init__(self, source, rtol, options, n_jobs, n_threads, rng, verbose):
        self.source = source
        self.options = options
        self.n_jobs = n_jobs
        self.n_threads = n_threads
        self.rng = rng
        self.log = Log(verbose)
        self.report = Report(rtol=rtol, parameters=dict(options))
        self._skeletonizer = None  # that of the pilot, where there was one

    def run(self):
        with self._phase("check"):
            self.entries = as_entries(self.source, self.rng, self.n_threads)
        self.report.parameters["scale"] = self.entries.scale
        self._order()
        with self._phase("error"):
            self.check = ErrorEstimator(self.entries, self.neighbors, self.rng, self.n_threads)
        tolerance = _SAFETY * self.report.rtol / np.sqrt(2 * max(self.tree.depth, 1))
        with self._phase("interactions"):
            self._choose_interactions(tolerance)
        H = self._approximate(tolerance)
        H.report_.n_read = self.entries.n_read
        self.log.info(f"{H!r}")
        if not H.error_estimate_ <= self.report.rtol:  # NaN too
            warn(self._missed(H.error_estimate_))
        return H

    def _order(self):
        """Bring the entries into tree order and find the neighbours in it."""
        n, name = self.entries.shape[0], self.options["distance"]
        with self._phase("tree"):
            distance = make_distance(name, self.entries, self.rng)
            self.tree = build_tree(distance, n, self.options["leaf_size"], self.rng, self.n_threads)
            self.entries = self.entries.in_order(self.tree.permutation)
        with self._phase("neighbors"):
            # In tree order points that are compared lie close together in memory.
            distance = make_distance(name, self.entries, self.rng)
            k = self.options["n_neighbors"] if self.tree.depth > 0 else 0
            found = find_neighbors(distance, n, k, self.rng, self.n_threads)
            self.neighbors = found.indices
            self.report.parameters["recall"] = found.recall

    def _choose_interactions(self, tolerance):
        """Decide on the near pairs; with budget="auto" by a pilot of both formats."""
        budget = self.options["budget"]
        if budget != "auto":
            self.interactions = find_interactions(self.tree, self.neighbors, budget)
            return
        self.interactions = plain = find_interactions(self.tree, self.neighbors, 0.0)
        n_leaves = self.tree.n_leaves
        if n_leaves <= 2 * _AUTO_PARTNERS:
            return
        near, far = product_cost(self.tree, plain, self._pilot(tolerance))
        if far <= _AUTO_PARTNERS * near:
            return
        plain_skeletonizer = self._skeletonizer
        budget = _AUTO_PARTNERS / n_leaves
        self.interactions = find_interactions(self.tree, self.neighbors, budget)
        if sum(product_cost(self.tree, self.interactions, self._pilot(tolerance))) > near + far:
            self.interactions, self._skeletonizer = plain, plain_skeletonizer

    def _pilot(self, tolerance):
        """Return the ranks to expect at each level."""
        self._skeletonizer = self._make_skeletonizer(tolerance)
        return self._expected_ranks()

    def _expected_ranks(self):
        ranks = np.zeros(self.tree.depth + 1)
        ranks[-1], growth = self._skeletonizer.probe_ranks()
        max_rank = self.options["max_rank"]
        return extrapolate_ranks(self.tree, ranks, self.tree.depth, growth, max_rank)

    def _make_skeletonizer(self, tolerance, read_all=False):
        return Skeletonizer(
            self.entries,
            self.tree,
            self.neighbors,
            self.interactions,
            tolerance * np.sqrt(self.check.mean_square),
            max_rank=self.options["max_rank"],
            # Where all rows are read, those measured are like any others, and need not be unseen.
            held_out=None if read_all else self.check.held_out,
            read_all=read_all,
            seed=int(self.rng.integers(2**31)),
            n_threads=self.n_threads,
        )

    def _approximate(self, tolerance):
        """Compress until the promise is kept, or as far as the caller's limits allow."""
        best, least, read_all, previous = None, np.inf, False, None
        for attempt in range(_MAX_ATTEMPTS):
            with self._phase("skeletons"):
                if self._skeletonizer is None:
                    self._skeletonizer = self._make_skeletonizer(tolerance, read_all)
                skeletons = self._skeletons()
            if skeletons is None:
                return self._dense("its ranks are too high for compression to pay")
            self._skeletonizer = None  # its bases are in `skeletons` now
            H, error = self._measured(skeletons)  # an upper bound
            self.log.info(
                f"attempt {attempt + 1}: error {H.error_estimate_:.2e}, promised "
                f"{self.report.rtol:.0e}, largest rank {skeletons.rank.max()}"
            )
            if best is None or error < least:
                best, least = H, error
            if error <= self.report.rtol:
                break
            if self._sample_is_to_blame(tolerance, error, previous):
                # A cap on the ranks is the caller's.
                capped = skeletons.rank.max() == self.options["max_rank"]
                if capped or read_all or self.tree.leaf_bounds[-1] > _READ_ALL_BELOW:
                    break
                read_all, previous = True, None
                continue
            previous = tolerance, error
            tolerance *= max(_AIM * self.report.rtol / error, 0.02)
        return best

    def _sample_is_to_blame(self, tolerance, error, previous):
        """Say whether an error is not that of the tolerance: a smaller one would not help."""
        if previous is None:
            return error > _SURPRISE * self.report.rtol
        factor = tolerance / previous[0]
        if self.tree.leaf_bounds[-1] > _READ_ALL_BELOW:  # nothing else is left to try
            return error > _SURPRISE * factor * previous[1]
        return error > np.sqrt(factor) * previous[1]

    def _skeletons(self):
        """Find all bases, or return None as soon as they turn out not to pay."""
        worker, tree = self._skeletonizer, self.tree
        if tree.depth == 0:
            return worker.nested_bases()
        ranks = self._expected_ranks()
        for level in range(tree.depth, 0, -1):
            if not pays(tree, self.interactions, ranks, self.entries.dtype.itemsize):
                return None
            found = worker.skeletonize_level(level)
            self.log.progress(f"skeletons: level {level} of {tree.depth}, {len(found)} bases")
            ranks[level] = found.mean() if len(found) else 0.0
            if level < tree.depth:
                growth = ranks[level] / max(ranks[level + 1], 1.0)
                extrapolate_ranks(tree, ranks, level, growth, self.options["max_rank"])
        return worker.nested_bases()

    def _measured(self, skeletons):
        """Put the operator together and measure its error; return an upper bound of it too."""
        with self._phase("blocks"):
            structure, entries = assemble(
                self.entries,
                self.tree,
                self.interactions,
                skeletons,
                self.options["max_bytes"],
                self.n_threads,
            )
        report = Report(self.report.seconds, 0, 0.0, self.report.rtol, self.report.parameters)
        H = HierarchicalMatrix(structure, entries, report, self.n_jobs)
        with self._phase("error"):
            W = np.empty_like(self.check.W)
            W[self.tree.permutation] = self.check.W
            product = H._product_at_scale(W)[self.tree.permutation[self.check.rows]]
            report.error, upper = self.check.measure(product)
        return H, upper

    def _dense(self, reason):
        self.report.reason_dense = reason
        self.log.info(f"the exact matrix is held: {reason}")
        return exact_form(self.entries.as_given(), self.report, self.n_jobs)

    def _missed(self, error):
        if self.options["max_rank"] is not None:
            advice = f"Raise max_rank (now {self.options['max_rank']}) or budget."
        else:
            advice = (
                f"Raise n_neighbors (now {self.options['n_neighbors']}) or budget, or try another "
                "distance."
            )
        return (
            f"compress reached a relative error of {error:.2e}, but rtol="
            f"{self.report.rtol:.0e} was asked for. {advice}"
        )

    @contextmanager
    def _phase(self, name):
        """Add up the seconds of a phase and log it."""
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        self.report.seconds[name] = self.report.seconds.get(name, 0.0) + seconds
        self.log.info(f"{name}: {seconds:.3f} s")


def _check_parameters(rtol, leaf_size, max_rank, n_neighbors, budget, distance, max_bytes):
    """Raise before any work where a parameter is out of its range."""

    def fail(name, given, allowed):
        raise ValueError(f"{name} is {given!r}; allowed is {allowed}.")

    def is_integer(value):
        return isinstance(value, Integral) and not isinstance(value, bool)

    if not isinstance(rtol, Real) or not 0 < rtol < 1:
        fail("rtol", rtol, "a number in (0, 1)")
    if not is_integer(leaf_size) or leaf_size < 2:
        fail("leaf_size", leaf_size, "an integer of at least 2")
    if max_rank is not None and (not is_integer(max_rank) or max_rank < 1):
        fail("max_rank", max_rank, "None or an integer of at least 1")
    if not is_integer(n_neighbors) or n_neighbors < 1:
        fail("n_neighbors", n_neighbors, "an integer of at least 1")
    if isinstance(budget, str):
        if budget != "auto":
            fail("budget", budget, "'auto' or a number in [0, 1]")
    elif not isinstance(budget, Real) or not 0 <= budget <= 1:
        fail("budget", budget, "'auto' or a number in [0, 1]")
    if distance not in ("auto", *DISTANCES):
        fail("distance", distance, ", ".join(repr(name) for name in ("auto", *DISTANCES)))
    if max_bytes is not None and (not isinstance(max_bytes, Real) or not max_bytes >= 0):
        fail("max_bytes", max_bytes, "None or a number of at least 0")
