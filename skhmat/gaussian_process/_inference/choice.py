"""Which way a Gaussian process is treated: exactly, or in the space of Fourier modes."""

from dataclasses import dataclass

from ..._utils.validation import parameter_error
from ...linalg._fourier.nonuniform import is_installed, require
from ...linalg._gofmm.cost_model import RATES
from . import spectrum
from .cholesky import CholeskyInference
from .covariance import covariance_of
from .fourier import POLICY as FOURIER
from .fourier import FourierInference, FourierPolicy, ModeSystems, TooManyModesError

METHODS = ("auto", "cholesky", "fourier")


@dataclass(frozen=True)
class ChoicePolicy:
    """When which way is taken.

    Attributes
    ----------
    max_direct : int
        Samples up to which nothing but the Cholesky factorization is considered.
    max_cholesky : int
        Most samples for it; the matrix takes 8 bytes for each pair.
    cholesky_work, fourier_work : float
        Multiply-adds of a likelihood with its gradient, in cubes of the number of samples and of
        modes.
    cholesky_entry, mode_entry, sample : float
        Nanoseconds of it for each pair of samples, each pair of modes, and each sample in the
        transforms.
    fourier : FourierPolicy
    """

    max_direct: int = 1000
    max_cholesky: int = 20_000
    cholesky_work: float = 0.5
    fourier_work: float = 0.5
    cholesky_entry: float = 10.0
    mode_entry: float = 20.0
    sample: float = 5e3
    fourier: FourierPolicy = FOURIER


POLICY = ChoicePolicy()


class Inference:
    """Makes the inference for any kernel, given one sample.

    Parameters
    ----------
    sample : Sample
    method : {"auto", "cholesky", "fourier"}
    tolerance : float
        Of the likelihood, in nats.
    policy : ChoicePolicy

    Attributes
    ----------
    n_impossible : int
        Kernels so far that there was no way for.
    """

    def __init__(self, sample, method="auto", tolerance=0.5, *, policy=POLICY):
        self.sample, self.method, self.policy = sample, method, policy
        self.systems = ModeSystems(sample, tolerance, policy=policy.fourier)
        self.n_impossible = 0

    def reason_against_modes(self, covariance):
        """Return why a covariance is not treated by modes, as text, or an empty one."""
        reason = spectrum.reason_against(covariance, self.sample.X.shape[1])
        if reason or is_installed():
            return reason
        return "FINUFFT is not installed (pip install 'skhmat[fourier]')"

    def check(self, kernel):
        """Raise an error where there is no way for a kernel, whatever its hyperparameters are."""
        covariance, n = covariance_of(kernel), len(self.sample)
        if self.method == "fourier":
            reason = spectrum.reason_against(covariance, self.sample.X.shape[1])
            if reason:
                raise parameter_error(
                    "method", "'auto' or 'cholesky' here", got=f"'fourier': {reason}"
                )
            require()
        if self.method == "auto" and n > self.policy.max_cholesky:
            reason = self.reason_against_modes(covariance)
            if reason:
                most = self.policy.max_cholesky
                allowed = f"at most {most} samples, or such that Fourier modes can be used"
                raise parameter_error("X", allowed, got=f"{n} samples: {reason}")

    def __call__(self, kernel):
        """Return a `CholeskyInference` or a `FourierInference`.

        Raises
        ------
        NotPositiveDefiniteError
            The covariance matrix is not definite to rounding.
        TooManyModesError
            The kernel takes too many modes, and there are too many samples for anything else.
        """
        covariance = covariance_of(kernel)
        grid = self._grid(covariance)
        if grid is None:
            return CholeskyInference(covariance, self.sample)
        return FourierInference(covariance, self.systems, grid)

    def _grid(self, covariance):
        """Return the grid of the modes to take, or None for a Cholesky factorization."""
        n, policy, is_auto = len(self.sample), self.policy, self.method == "auto"
        if self.method == "cholesky" or (is_auto and n <= policy.max_direct):
            return None
        if is_auto and self.reason_against_modes(covariance):
            return None
        can_factorize = is_auto and n <= policy.max_cholesky
        try:
            grid = self.systems.grid(covariance, is_strict=can_factorize)
        except TooManyModesError:
            if can_factorize:
                return None
            self.n_impossible += 1
            raise
        return None if can_factorize and not self._pays(grid) else grid

    def _pays(self, grid):
        """Return whether modes on a grid cost less than a Cholesky factorization."""
        n, size, policy = len(self.sample), grid.size, self.policy
        exact = policy.cholesky_work * n**3 * RATES.cholesky + policy.cholesky_entry * n**2
        modes = policy.fourier_work * size**3 * RATES.cholesky + policy.mode_entry * size**2
        return modes + policy.sample * n < exact
