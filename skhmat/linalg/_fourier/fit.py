"""From entries to the Fourier form: which modes a promise needs, and the error that was reached."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from .._gofmm.error_estimate import ErrorEstimator, ErrorPolicy
from .._kernels.matrix import KernelMatrix
from .matrix import FourierForm, transform_tolerance
from .modes import POLICY as MODES
from .modes import Demand, FourierModes, choose_modes
from .nonuniform import is_installed, require
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
    if not is_installed():
        return "FINUFFT is not installed (pip install 'skhmat[fourier]')"
    return ""


class FourierFit:
    """The Fourier form of one matrix, before it is made.

    Parameters
    ----------
    entries : Entries
        Of a kernel matrix that `reason_against` has nothing against, in the user's order.
    rtol : float
        The promise.
    rng : numpy.random.Generator
    n_threads : int
    policy : FitPolicy

    Attributes
    ----------
    modes : FourierModes or None
        None where they are too many, or the promise is beyond the rounding of transforms.
    entries : Entries
    check : ErrorEstimator
        Has read `check.rows` and some more rows of the matrix.
    """

    def __init__(self, entries, rtol, rng, n_threads, *, policy=POLICY):
        K, n = entries.source, entries.shape[0]
        no_neighbors = np.empty((n, 0), dtype=np.intp)
        self.check = ErrorEstimator(entries, no_neighbors, rng, n_threads, policy=policy.error)
        self.entries, self.rtol, self.policy = entries, rtol, policy
        self._K, self._scale, self._n_threads = K, entries.scale, n_threads
        self._center, self._extent = box_of(K)
        # Entries are at most 1, those of the diagonal.
        mean_entry = min(np.sqrt(self.check.mean_square / n) / entries.scale, 1.0)
        self.demand = Demand(rtol, float(mean_entry), n)
        self.modes = self._choose(self.demand)

    def cost(self, model):
        """Return the cost by a `CostModel`."""
        policy, tolerance = self.policy.error, transform_tolerance(self.demand)
        n_rows = policy.n_held_out + policy.n_drawn + policy.n_norm_rows
        return model.fourier(self.modes.shape, tolerance, n_rows, policy.n_vectors)

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
        modes, demand, best = self.modes, self.demand, None
        for _ in range(self.policy.max_attempts):
            form = FourierForm(modes, self._K.X, self._K.bandwidth, self._center)
            error, upper_bound = self.check.measure(self._product(form))
            if best is None or error < best[1]:
                best = form, error
            if upper_bound <= self.rtol:
                break
            factor = self.policy.next_aim * self.rtol / upper_bound
            demand = replace(demand, rtol=demand.rtol * max(factor, 0.1))
            modes = self._choose(demand)
            if modes is None:
                break
        return best

    def _product(self, form):
        """Return the rows that are measured of the product with random vectors, at scale."""
        # In pairs, whose plans serve single vectors, too.
        W, rows = self.check.W, self.check.rows
        pairs = [W[:, i : i + 2] for i in range(0, W.shape[1], 2)]
        products = [form.multiply(pair, self._n_threads)[rows] for pair in pairs]
        return np.hstack(products) * self._scale

    def _choose(self, demand):
        is_possible = np.isfinite(self._extent).all() and demand.mean_entry > 0
        if not is_possible or demand.entry_error < self.policy.min_entry_error:
            return None
        return choose_modes(self._K.kernel, _alpha(self._K), self._extent, demand)


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
    ValueError
        The record does not fit the matrix, which has all that a form needs but the modes.
    """
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
            and math.prod(2 * n_half + 1) <= MODES.max_modes
            and np.isfinite(period).all()
            and 0 < demand.rtol < 1
            and 0 < demand.mean_entry <= 1
            and demand.n == K.shape[0]
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        is_valid = False
    if not is_valid:
        require()
        raise ValueError("its header is damaged: modes do not fit the kernel and the points")
    modes = FourierModes(K.kernel, _alpha(K), period, n_half, extent, demand)
    return FourierForm(modes, K.X, K.bandwidth, center)
