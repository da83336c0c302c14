"""`compress`: the pipeline from entries to a hierarchical matrix that keeps its promise."""

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.sparse import csc_matrix

from .._utils.blas import limited_blas
from .._utils.logging import Log
from .._utils.parallel import effective_n_threads, physical_memory
from .._utils.validation import check_random_state, parameter_error
from .._utils.warnings import warn
from ._entries.entries import Entries, as_entries
from ._entries.sources import as_source
from ._fourier.fit import FourierFit, reason_against
from ._fourier.nonuniform import is_installed, require
from ._gofmm.blocks import assemble
from ._gofmm.cluster_tree import Tree, build_tree, depth_for
from ._gofmm.cost_model import CostModel
from ._gofmm.distances import POINT_DISTANCES, make_distance
from ._gofmm.error_estimate import ErrorEstimator
from ._gofmm.interaction_lists import find_interactions
from ._gofmm.neighbors import find_neighbors
from ._gofmm.plan import Planner, exact_plans, finest_leaf_size
from ._gofmm.rank_pilot import RankPilot
from ._gofmm.row_sample import naming_lists
from ._gofmm.skeletonization import Skeletonizer
from ._hierarchical.form import HierarchicalForm, exact_form
from ._hierarchical.report import CompressionReport
from ._hierarchical.summary import format_bytes
from ._hierarchical_matrix import HierarchicalMatrix
from ._parameters import COMPRESSION


@dataclass(frozen=True)
class CompressionPolicy:
    """How `compress` chooses tolerances so that it keeps its promise.

    The bases of a level contribute about t^2 ||K||_F^2 to ||K~ - K||_F^2 if each of them misses a
    fraction t of its share of the norm, and each far block has a basis on both sides. If all these
    errors are independent, 2 depth levels add up to a relative error of t sqrt(2 depth).

    Attributes
    ----------
    max_attempts : int
        Maximum number of compressions tried.
    first_aim : float
        The first t is this fraction of rtol / sqrt(2 depth), so that the first attempt usually
        keeps the promise.
    next_aim : float
        Fraction of the promise that is aimed for after a miss.
    min_factor : float
        Smallest factor by which the tolerance is multiplied after a miss.
    surprise : float
        An error larger than the tolerance explains by this factor is blamed on the sample.
    read_all_below : int
        Rows up to which every far row is read once the sample is to blame.
    least_gain : float
        The exact matrix is held at once if it costs at most this multiple of the least that any
        hierarchical one costs: looking for it would cost more than is to be gained.
    """

    max_attempts: int = 6
    first_aim: float = 0.65
    next_aim: float = 0.8
    min_factor: float = 0.02
    surprise: float = 4.0
    read_all_below: int = 32_768
    least_gain: float = 2.0


POLICY = CompressionPolicy()


def compress(
    K,
    rtol=1e-4,
    leaf_size="auto",
    max_rank=None,
    n_neighbors=32,
    budget="auto",
    distance="auto",
    n_jobs=None,
    random_state=None,
    verbose=0,
    *,
    n_products=None,
    fallback="auto",
    form="auto",
    shape=None,
    dtype=None,
    points=None,
    max_bytes=None,
):
    """Compress a symmetric positive definite matrix by the geometry-oblivious FMM.

    The matrix is read entry by entry, never as a whole. The error of the result is measured: on all
    rows of a small matrix, otherwise on rows that compression did not read and on rows sampled from
    the rest. Ranks and samples grow until the promise `rtol` is kept; if it cannot be, a warning
    says by how much it is missed.

    Parameters
    ----------
    K : ndarray, memmap, KernelMatrix or callable
        The matrix, of shape (n, n), in float32 or float64 (integers become float64). A callable
        ``K(rows, cols)`` takes two integer arrays and returns the block of entries; it is called by
        one thread at a time and needs a `shape`.
    rtol : float, default=1e-4
        The promise, in (0, 1): relative error ||K~W - KW||_F / ||KW||_F for standard normal W
        ([1]_, equation 6.2).
    leaf_size : int or "auto", default="auto"
        Largest number of points in a leaf of the tree, at least 2; "auto" takes the one of 64, 128,
        256 and 512 that costs least.
    max_rank : int, default=None
        Largest rank of a node, at least 1; None lets ranks grow while compression pays.
    n_neighbors : int, default=32
        Number of neighbours to find for each point, at least 1; they vote for near pairs and guide
        the sampling of rows.
    budget : float or "auto", default="auto"
        Largest fraction of all pairs of leaves that are held as exact near blocks, in [0, 1]. 0
        gives the HSS format; "auto" spends near pairs where they cost less than the rank they save.
    distance : {"auto", "kernel", "angle", "geometric", "lexicographic", "random"}, default="auto"
        Distance that decides what is near: Gram distance, Gram angle, distance of the points,
        distance in the given order, or in a random order. "auto" is "geometric" if the points are
        known, otherwise "kernel".
    n_jobs : int, default=None
        Threads. None means all that OpenMP would use; -1 as many as `joblib.cpu_count` says, which
        respects affinity and container limits (1 in a worker of joblib). The result does not depend
        on it.
    random_state : int, RandomState, Generator or None, default=None
        Draws the tree, the samples and the rows the error is measured on.
    verbose : int, default=0
        1 logs each phase to the logger "skhmat", and the progress of long ones; 2 also each level.
    n_products : int, default=None
        About how many vectors will be multiplied in all, at least 1: few are not worth a long
        set-up. None means iterating, some thousands.
    fallback : {"auto", "never", "exact"}, default="auto"
        "auto" holds the exact matrix where that costs less: in memory, or, for a kernel matrix,
        computed anew for each product. If `leaf_size` or `budget` is a number, it does so only
        where ranks are so high that blocks would take a third of the memory of all entries.
        "never" compresses at whatever ranks the promise takes; "exact" does not try to.
    form : {"auto", "hierarchical", "fourier"}, default="auto"
        "fourier" holds a sum over Fourier modes, for smooth kernels (gaussian, exponential, Matérn,
        rational quadratic, inverse multiquadric) of a KernelMatrix on points with one to three
        features; it needs FINUFFT (``pip install skhmat[fourier]``). "auto" takes it where it costs
        less than blocks, unless a parameter or `fallback` asks for these; "hierarchical" never.
    shape : tuple (n, n), default=None
        Shape of a callable K that has no attribute of that name.
    dtype : dtype, default=None
        float32 or float64: dtype of a callable K; None means its attribute of that name, or
        float64.
    points : array-like of shape (n, n_features), default=None
        Points behind an array or a callable, for distance="geometric".
    max_bytes : float or inf, default=None
        Largest memory for near blocks; if they need more, each product recomputes them. None means
        half of the machine's memory.

    Returns
    -------
    H : HierarchicalMatrix
        Holds the exact matrix if compression does not pay.

    Raises
    ------
    ValueError
        K is not square, empty, complex, not symmetric, has entries that are NaN or infinite or a
        diagonal that is not positive, a parameter is out of its range, or `form` is "fourier" and
        the matrix has no such form or one of too many modes.
    TypeError
        Entries cannot be read from K.
    ImportError
        `form` is "fourier" and FINUFFT is missing.

    Warns
    -----
    ConvergenceWarning
        The promise is missed; the message states the error reached and the parameter to raise.
    UserWarning
        An exact matrix is held that is larger than `max_bytes`, as a file may be.

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
    parameters = {
        "rtol": rtol,
        "leaf_size": leaf_size,
        "max_rank": max_rank,
        "n_neighbors": n_neighbors,
        "budget": budget,
        "distance": distance,
        "max_bytes": max_bytes,
        "n_products": n_products,
        "fallback": fallback,
        "form": form,
    }
    # The checks return Python's numbers: arithmetic with NumPy's narrow integers could overflow.
    options = {name: COMPRESSION[name].check(name, value) for name, value in parameters.items()}
    n_threads = effective_n_threads(n_jobs)
    rng = np.random.default_rng(check_random_state(random_state).randint(2**31 - 1))
    source = as_source(K, shape, dtype, points)
    if distance in POINT_DISTANCES and source.points is None:
        allowed = "another one where K has no points (give them by points=)"
        raise parameter_error("distance", allowed, distance)
    if distance == "auto":
        options["distance"] = "kernel" if source.points is None else "geometric"
    if fallback == "exact" and budget not in ("auto", 0):
        raise parameter_error("budget", 'left alone or 0 with fallback="exact"', budget)
    _check_form(form, options, source)
    n = source.shape[0]
    if max_rank is not None:
        options["max_rank"] = min(options["max_rank"], n)
    if leaf_size != "auto":
        options["leaf_size"] = finest_leaf_size(n, options["leaf_size"])
    if max_bytes is None:
        options["max_bytes"] = physical_memory() / 2
    rtol = options.pop("rtol")
    with limited_blas(n_threads):
        return _Compression(source, rtol, options, n_jobs, n_threads, rng, Log(verbose)).run()


compress.__module__ = "skhmat.linalg"


def _check_form(form, options, source):
    """Raise ValueError if the Fourier form is asked for in vain."""
    if form != "fourier":
        return
    require()
    reason = reason_against(source)
    if reason:
        raise parameter_error("form", f'"auto" or "hierarchical" where {reason}', form)
    for name in _asks_for_blocks(options):
        raise parameter_error(name, 'left alone with form="fourier"', options[name])


def _asks_for_blocks(options):
    """Return the names of the options given that no Fourier form can obey."""
    defaults = {"leaf_size": "auto", "budget": "auto", "max_rank": None, "fallback": "auto"}
    return [name for name, default in defaults.items() if options[name] != default]


@dataclass(frozen=True)
class _OrderedMatrix:
    """The entries in tree order, the neighbours in that order, and the check of the error.

    Attributes
    ----------
    entries : Entries
    tree : Tree
    neighbors : ndarray of shape (n, n_neighbors)
        Positions in tree order.
    naming : csc_matrix of shape (n, n)
        The same lists by the points that they name.
    check : ErrorEstimator
    """

    entries: Entries
    tree: Tree
    neighbors: np.ndarray
    naming: csc_matrix
    check: ErrorEstimator

    def cut_at(self, level):
        """Return the same with the nodes of a level as leaves."""
        return replace(self, tree=self.tree.cut_at(level))


class _Compression:
    """One run of the pipeline, phase by phase."""

    def __init__(self, source, rtol, options, n_jobs, n_threads, rng, log, policy=POLICY):
        self.source = source
        self.options = options
        self.model = CostModel(source, options["n_products"])
        self.exact_plans = exact_plans(self.model, source, options["max_bytes"])
        self.n_jobs = n_jobs
        self.n_threads = n_threads
        self.rng = rng
        self.log = log
        self.policy = policy
        self.report = CompressionReport(rtol=rtol, parameters=dict(options))

    def run(self):
        with self._phase("check"):
            entries = as_entries(self.source, self.rng, self.n_threads)
        self.report.parameters["scale"] = entries.scale
        fourier = self._fourier_candidate(entries)
        reason = self._reason_not_to_try(fourier)
        if reason:
            return self._exact(entries, self.exact_plans[0], [], reason)
        H = self._fourier(fourier) if self._is_fourier_best(fourier) else None
        if H is None or not (H.error_estimate_ <= self.report.rtol or self._is_fourier_asked):
            H = self._approximate(self._ordered(entries), fourier if H is None else None)
        H.report_.n_read = entries.n_read
        self.log.info(f"{H!r}")
        if not H.error_estimate_ <= self.report.rtol:  # NaN too
            warn(self._missed(H.error_estimate_))
        return H

    def _ordered(self, entries):
        """Bring the entries into tree order, find neighbours, and draw the rows to measure."""
        n, name = entries.shape[0], self.options["distance"]
        with self._phase("tree"):
            distance = make_distance(name, entries, self.rng)
            leaf_size = finest_leaf_size(n, self.options["leaf_size"])
            tree = build_tree(distance, n, leaf_size, self.rng, self.n_threads)
            entries = entries.in_order(tree.permutation)
        with self._phase("neighbors"):
            # In tree order, points that are compared lie close together in memory.
            distance = make_distance(name, entries, self.rng)
            k = self.options["n_neighbors"] if tree.depth > 0 else 0
            found = find_neighbors(distance, n, k, self.rng, self.n_threads)
            self.report.parameters["recall"] = found.recall
        with self._phase("error"):
            check = ErrorEstimator(entries, found.indices, self.rng, self.n_threads)
        return _OrderedMatrix(entries, tree, found.indices, naming_lists(found.indices), check)

    def _fourier_candidate(self, entries):
        """Return the Fourier form before it is made, or None."""
        options, is_asked = self.options, self._is_fourier_asked
        if options["form"] == "hierarchical" or _asks_for_blocks(options):
            return None
        if reason_against(self.source) or not is_installed():
            return None
        with self._phase("modes"):
            fit = FourierFit(
                entries,
                self.report.rtol,
                self.model,
                np.inf if is_asked else self.exact_plans[0].cost.total,
                self.rng,
                self.n_threads,
            )
            if fit.choose():
                return fit
        if is_asked:
            allowed = f'"auto" or "hierarchical" where {fit.reason}'
            raise parameter_error("form", allowed, options["form"])
        return None

    @property
    def _is_fourier_asked(self):
        return self.options["form"] == "fourier"

    def _reason_not_to_try(self, fourier):
        """Return why the exact matrix is held without a look at the entries; empty if it is not."""
        if self.options["fallback"] == "exact":
            return 'fallback is "exact"'
        exact = self.exact_plans[0].cost.total
        if self._is_fourier_asked or (fourier and fourier.plan.cost.total < exact):
            return ""
        if self._is_by_cost and exact <= self.policy.least_gain * self._least_of_blocks:
            return "so few products would take less time than compressing"
        return ""

    def _is_fourier_best(self, fourier):
        """Return whether the Fourier form is made without a look at others."""
        if fourier is None or self._is_fourier_asked:
            return fourier is not None
        return fourier.plan.cost.total <= self.policy.least_gain * self._least_of_blocks

    @property
    def _least_of_blocks(self):
        """Seconds that any hierarchical matrix takes at least, and the way to it."""
        size = finest_leaf_size(self.model.n, self.options["leaf_size"])
        return self.model.least(size).total + self.model.pilot(depth_for(self.model.n, size))

    @property
    def _is_by_cost(self):
        """Whether the exact matrix is held where it costs less: a number asks for blocks."""
        options = self.options
        is_free = options["leaf_size"] == options["budget"] == "auto"
        return is_free and options["fallback"] == "auto"

    def _tolerance(self, depth):
        """Return the first tolerance of bases, relative to the norm of the matrix."""
        return self.policy.first_aim * self.report.rtol / np.sqrt(2 * max(depth, 1))

    def _make_planner(self, matrix, fourier):
        """Return what finds the cheapest form, with the options as limits."""
        hss = find_interactions(matrix.tree, matrix.neighbors, 0.0)
        bases = self._make_skeletonizer(matrix, hss, self._tolerance(matrix.tree.depth))
        return Planner(
            self.model,
            RankPilot(bases),
            matrix.neighbors,
            leaf_size=self.options["leaf_size"],
            budget=self.options["budget"],
            max_rank=self.options["max_rank"],
            exact=self.exact_plans if self.options["fallback"] == "auto" else (),
            exact_competes=self._is_by_cost,
            others=[] if fourier is None else [fourier.plan],
        )

    def _make_skeletonizer(self, matrix, interactions, tolerance, read_all=False):
        return Skeletonizer(
            matrix.entries,
            matrix.tree,
            matrix.neighbors,
            interactions,
            tolerance * np.sqrt(matrix.check.mean_square),
            naming=matrix.naming,
            max_rank=self.options["max_rank"],
            # If every row is read, no row is at a disadvantage for being held out: hold out none.
            held_out=None if read_all else matrix.check.held_out,
            read_all=read_all,
            seed=int(self.rng.integers(2**31)),
            n_threads=self.n_threads,
        )

    def _approximate(self, matrix, fourier):
        """Compress until the promise is kept or a limit stops it; return the best result."""
        with self._phase("plan"):
            planner = self._make_planner(matrix, fourier)
            plan = planner.choose()
        best, least, read_all, tolerance = None, np.inf, False, self._tolerance(plan.depth)
        previous = None  # tolerance and error of the last attempt with the same kind of sample
        for attempt in range(self.policy.max_attempts):
            with self._phase("skeletons"):
                plan, skeletons = self._skeletons(matrix, planner, plan, tolerance, read_all)
            if plan.form == "Fourier":
                H = self._fourier(fourier, planner.records())
                if H.error_estimate_ <= self.report.rtol:
                    return H
                return self._approximate(matrix, None)
            if plan.is_exact:
                reason = "its ranks are too high for compression to pay"
                return self._exact(matrix.entries, plan, planner.records(), reason)
            cut = matrix.cut_at(plan.depth)
            H, error = self._measured(cut, plan, skeletons, planner)  # an upper bound
            self.log.info(
                f"attempt {attempt + 1}: error {H.error_estimate_:.2e}, promised "
                f"{self.report.rtol:.0e}, largest rank {skeletons.rank.max()}"
            )
            if best is None or error < least:
                best, least = H, error
            if error <= self.report.rtol:
                break
            can_read_all = matrix.entries.shape[0] <= self.policy.read_all_below
            if error > self._explained_error(tolerance, previous, can_read_all):
                # The sample is to blame: the first tolerance again, with all rows. This is in vain
                # if all were read already, or if the caller put a cap on the ranks.
                is_capped = skeletons.rank.max() == self.options["max_rank"]
                if is_capped or read_all or not can_read_all:
                    break
                read_all, previous, tolerance = True, None, self._tolerance(plan.depth)
            else:
                previous = tolerance, error
                factor = self.policy.next_aim * self.report.rtol / error
                tolerance *= max(factor, self.policy.min_factor)
            exact = planner.exact_instead(plan, skeletons.mean_ranks(), read_all)
            if exact is not None:
                reason = "another attempt to compress it would cost more"
                return self._exact(matrix.entries, exact, planner.records(), reason)
        return best

    def _explained_error(self, tolerance, previous, can_read_all):
        """Return the largest error that the tolerance explains; more is the fault of the sample.

        With a good sample the error is in proportion to the tolerance, and the first tolerance is
        chosen so that it gives about rtol.
        """
        if previous is None:
            return self.policy.surprise * self.report.rtol
        previous_tolerance, previous_error = previous
        reduction = tolerance / previous_tolerance
        if can_read_all:
            # In logarithms, halfway between the error in proportion to the tolerance, which is
            # reduction * previous_error, and an error that did not follow it, previous_error.
            return np.sqrt(reduction) * previous_error
        # Blaming the sample means to give up here, so only a clear case counts.
        return self.policy.surprise * reduction * previous_error

    def _skeletons(self, matrix, planner, plan, tolerance, read_all):
        """Find all bases, of another plan where ranks turn out too high for this one.

        Returns
        -------
        plan : FormPlan
            Maybe one without a tree.
        skeletons : NestedBases or None
        """
        while plan.tree is not None:
            cut = matrix.cut_at(plan.depth)
            bases = self._make_skeletonizer(cut, plan.interactions, tolerance, read_all)
            better = self._skeletonize(bases, planner, plan)
            if better is None:
                return plan, bases.nested_bases()
            plan = better
        return plan, None

    def _skeletonize(self, bases, planner, plan):
        """Find bases level by level; return another plan as soon as one is cheaper, else None."""
        for level in range(plan.depth, 0, -1):
            found = bases.skeletonize_level(level)
            self.log.progress(f"skeletons: level {level} of {plan.depth}, {len(found)} bases")
            if len(found):
                better = planner.revised(plan, level, found.mean())
                if better is not None:
                    self.log.info(f"mean rank {found.mean():.0f} at level {level}: {better}")
                    return better
        return None

    def _measured(self, matrix, plan, skeletons, planner):
        """Assemble the operator and measure its error; also return an upper bound of the error."""
        with self._phase("blocks"):
            structure, entries = assemble(
                matrix.entries,
                matrix.tree,
                plan.interactions,
                skeletons,
                self.options["max_bytes"],
                self.n_threads,
            )
        # The reports share the dict of seconds, which adds up the time of all attempts.
        chosen = {"leaf_size": plan.leaf_size}
        if self.options["budget"] == "auto":
            chosen["budget"] = plan.interactions.budget
        report = CompressionReport(
            self.report.seconds,
            rtol=self.report.rtol,
            parameters=self.report.parameters | chosen,
            considered=planner.records(),
        )
        H = HierarchicalMatrix(self._form(entries, report, structure=structure))
        check, permutation = matrix.check, matrix.tree.permutation
        with self._phase("error"):
            W = np.empty_like(check.W)
            W[permutation] = check.W
            product = H.product_at_scale(W)[permutation[check.rows]]
            report.error, upper = check.measure(product)
        return H, upper

    def _form(self, entries, report, **held):
        given = {name: self.options[name] for name in ("leaf_size", "n_neighbors", "distance")}
        return HierarchicalForm(
            entries.shape,
            entries.dtype,
            report,
            **held,
            entries=entries,
            n_jobs=self.n_jobs,
            recompress=partial(compress, self.source, **given),
        )

    def _fourier(self, fourier, considered=()):
        """Return the matrix in the Fourier form, and whatever error it has."""
        with self._phase("fourier"):
            held, error = fourier.make()
        report = replace(self.report, error=error)
        report.considered = list(considered) or [
            other.as_record()
            for other in sorted([fourier.plan, *self.exact_plans], key=lambda plan: plan.cost.total)
        ]
        self.log.info(f"{fourier.plan}: error {error:.2e}, promised {report.rtol:.0e}")
        return HierarchicalMatrix(self._form(fourier.entries, report, fourier=held))

    def _exact(self, entries, plan, considered, reason):
        """Return the exact matrix, held as a plan says."""
        report = self.report
        report.reason_dense = reason
        report.considered = considered or [other.as_record() for other in self.exact_plans]
        report.parameters["in_memory"] = plan.form == "in memory"
        self.log.info(f"the exact matrix is held, {plan.form}: {reason}")
        H = HierarchicalMatrix(exact_form(entries.as_given(), report, self.n_jobs))
        report.n_read = entries.n_read
        if plan.cost.nbytes > self.options["max_bytes"]:
            warn(
                f"compress holds an exact matrix of {format_bytes(plan.cost.nbytes)}, more than "
                f"max_bytes={self.options['max_bytes']:.3g}: each product reads all of it.",
                UserWarning,
            )
        return H

    def _missed(self, error):
        if self._is_fourier_asked:
            advice = 'Take form="auto".'
        elif self.options["max_rank"] is not None:
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
