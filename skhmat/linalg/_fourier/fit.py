"""From entries to the Fourier form: which modes a promise needs, and the error that was reached."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from .._gofmm.error_estimate import ErrorEstimator, ErrorPolicy
from .._gofmm.plan import FormPlan
from .._kernels.matrix import KernelMatrix
from .matrix import FourierForm, transform_tolerance
from .modes import POLICY as MODES
from .modes import Demand, FourierModes, are_too_many, choose_modes
from .nonuniform import require
from .transforms import FOURIER_KERNELS

# Dimensions of the points that nonuniform transforms are made for.
MAX_DIMENSION = 3


@dataclass(frozen=True)
class FitPolicy:
    """How modes are chosen so that the promise is kept.

    Attributes
    ----------
    max_attempts : int
        Most forms tried.
    next_aim : float
        Fraction of the promise that is aimed for after a miss.
    min_entry_error : float
        Smallest error of an entry that is tried, relative to the diagonal: below, rounding is
        larger.
    error : ErrorPolicy
        How the error is measured. Errors of rows differ little: few rows tell.
    """

    max_attempts: int = 4
    next_aim: float = 0.7
    min_entry_error: float = 1e-12
    error: ErrorPolicy = field(
        default_factory=lambda: ErrorPolicy(
            all_rows_up_to=128, n_held_out=8, n_drawn=56, n_vectors=4, n_norm_rows=32
        )
    )


POLICY = FitPolicy()


def reason_against(source):
    """Return why a matrix has no Fourier form, as text, or an empty one if it has.

    Whether FINUFFT is installed is another question; see `nonuniform`.

    Parameters
    ----------
    source : ArraySource, CallableSource or KernelMatrix
    """
    if not isinstance(source, KernelMatrix):
        return "K is no KernelMatrix"
    if source.kernel not in FOURIER_KERNELS:
        name = source.kernel if isinstance(source.kernel, str) else "a callable"
        return f"the kernel is {name}, and not one of {', '.join(FOURIER_KERNELS)}"
    if source.points is None or source.X.shape[1] > MAX_DIMENSION:
        return f"the points have {source.X.shape[1]} features, more than {MAX_DIMENSION}"
    return ""


class FourierFit:
    """The Fourier form of one matrix, before it is made.

    Parameters
    ----------
    entries : Entries
        Of a kernel matrix that `reason_against` has nothing against, in the user's order.
    rtol : float
        The promise.
    model : CostModel
    max_seconds : float
        Modes that cost more are not looked for.
    rng : numpy.random.Generator
    n_threads : int
    policy : FitPolicy

    Attributes
    ----------
    entries : Entries
    plan : FormPlan or None
        What it costs; None before `choose`, and where there are no modes.
    """

    def __init__(self, entries, rtol, model, max_seconds, rng, n_threads, *, policy=POLICY):
        self.entries, self.rtol, self.policy = entries, rtol, policy
        self._K, self._model, self._rng, self._n_threads = entries.source, model, rng, n_threads
        self._center, self._extent = box_of(self._K)
        self._modes_policy = replace(MODES, max_modes=self._n_modes_within(max_seconds))
        self._check = self._modes = self.plan = None

    def choose(self):
        """Choose the modes, which takes some rows of the matrix.

        Returns
        -------
        bool
            Whether there are any: not where they are too many, or the promise is beyond the
            rounding of transforms.
        """
        n, policy = self.entries.shape[0], self.policy.error
        no_neighbors = np.empty((n, 0), dtype=np.intp)
        self._check = ErrorEstimator(
            self.entries, no_neighbors, self._rng, self._n_threads, policy=policy
        )
        # Entries are at most 1, those of the diagonal.
        mean_entry = min(np.sqrt(self._check.mean_square / n) / self.entries.scale, 1.0)
        self._modes = self._modes_for(Demand(self.rtol, float(mean_entry), n))
        if self._modes is not None:
            n_rows = policy.n_held_out + policy.n_drawn + policy.n_norm_rows
            self.plan = FormPlan(
                "Fourier", self._cost(self._modes.shape, self._modes.demand, n_rows)
            )
        return self._modes is not None

    def _cost(self, shape, demand, n_rows):
        """Return the cost of modes of a shape if so many rows are read."""
        n_vectors = self.policy.error.n_vectors
        return self._model.fourier(shape, transform_tolerance(demand), n_rows, n_vectors)

    def _n_modes_within(self, max_seconds):
        """Return a number of modes, to a factor of two, that costs so many seconds."""
        # The largest errors are allowed where all entries are 1.
        demand, d = Demand(self.rtol, 1.0, self.entries.shape[0]), len(self._extent)
        n_modes = 1
        while n_modes < MODES.max_modes:
            shape = (math.ceil(n_modes ** (1 / d)),) * d
            if self._cost(shape, demand, 0).total > max_seconds:
                break
            n_modes *= 2
        return n_modes

    @property
    def reason(self):
        """Why there are no modes, as text."""
        if not np.isfinite(self._extent).all():
            return "the extent of the points, in units of the bandwidth, overflows"
        return f"rtol={self.rtol:.0e} takes too many modes, or more digits than transforms have"

    def make(self):
        """Return the form that kept the promise, or came closest, and its error.

        Returns
        -------
        form : FourierForm
        error : float
            As `ErrorEstimator.measure` estimates it.
        """
        modes, demand, best = self._modes, self._modes.demand, None
        for _ in range(self.policy.max_attempts):
            form = FourierForm(modes, self._K.X, self._K.bandwidth, self._center)
            error, upper_bound = self._check.measure(self._product(form))
            if best is None or error < best[1]:
                best = form, error
            if upper_bound <= self.rtol:
                break
            factor = self.policy.next_aim * self.rtol / upper_bound
            demand = replace(demand, rtol=demand.rtol * max(factor, 0.1))
            modes = self._modes_for(demand)
            if modes is None:
                break
        return best

    def _product(self, form):
        """Return the rows that are measured of the product with random vectors, at scale."""
        # In pairs, whose plans serve single vectors, too.
        W, rows = self._check.W, self._check.rows
        pairs = [W[:, i : i + 2] for i in range(0, W.shape[1], 2)]
        products = [form.multiply(pair, self._n_threads)[rows] for pair in pairs]
        return np.hstack(products) * self.entries.scale

    def _modes_for(self, demand):
        """Return the modes that meet a demand, or None."""
        is_possible = np.isfinite(self._extent).all() and demand.mean_entry > 0
        if not is_possible or demand.entry_error < self.policy.min_entry_error:
            return None
        kernel, alpha = self._K.kernel, _alpha(self._K)
        return choose_modes(kernel, alpha, self._extent, demand, self._modes_policy)


def box_of(K):
    """Return the center of the box around the points of a kernel matrix, (d,), and its extent.

    The center has the unit of the points, the extent that of the bandwidth.
    """
    low, high = (end(axis=0).astype(np.float64) for end in (K.X.min, K.X.max))
    with np.errstate(over="ignore"):
        return low / 2 + high / 2, (high / 2 - low / 2) / K.bandwidth * 2


def _alpha(K):
    """Return the exponent of a rational quadratic kernel, which an inverse multiquadric is too."""
    return 0.5 if K.kernel == "inverse_multiquadric" else float(K.alpha)


def fourier_from_record(K, record):
    """Return the Fourier form of a kernel matrix from what `FourierModes.as_record` returned.

    Raises
    ------
    ImportError
        FINUFFT is missing.
    ValueError
        The record does not fit the matrix, which has all that a form needs but the modes.
    """
    require()
    center, extent = box_of(K)
    try:
        period, n_half = np.array(record["period"], float), np.array(record["n_half"])
        same_extent = np.array_equal(record["extent"], extent)
        demand = Demand(**record["demand"])
        is_valid = (
            not reason_against(K)
            and same_extent
            and n_half.dtype.kind == "i"
            and period.shape == n_half.shape == extent.shape
            and bool((n_half >= 0).all() and (period > extent).all())
            and not are_too_many(n_half)
            and np.isfinite(period).all()
            and 0 < demand.rtol < 1
            and 0 < demand.mean_entry <= 1
            and demand.n == K.shape[0]
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        is_valid = False
    if not is_valid:
        raise ValueError("its header is damaged: modes do not fit the kernel and the points")
    modes = FourierModes(K.kernel, _alpha(K), period, n_half, extent, demand)
    return FourierForm(modes, K.X, K.bandwidth, center)
