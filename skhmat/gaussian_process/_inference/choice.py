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
    mode_entry : float
        Nanoseconds for each pair of modes.
    fourier : FourierPolicy
    """

    max_direct: int = 1000
    max_cholesky: int = 20_000
    cholesky_work: float = 0.5
    fourier_work: float = 0.5
    mode_entry: float = 20.0
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
        if not self._takes_modes(covariance):
            return CholeskyInference(covariance, self.sample)
        try:
            return FourierInference(covariance, self.systems)
        except TooManyModesError:
            self.n_impossible += 1
            raise

    def _takes_modes(self, covariance):
        n, policy = len(self.sample), self.policy
        if self.method != "auto":
            return self.method == "fourier"
        if n <= policy.max_direct or self.reason_against_modes(covariance):
            return False
        if n > policy.max_cholesky:
            return True
        try:
            size = self.systems.grid(covariance, is_strict=True).size
        except TooManyModesError:
            return False
        exact = policy.cholesky_work * n**3 * RATES.cholesky + 10.0 * n**2
        modes = policy.fourier_work * size**3 * RATES.cholesky + policy.mode_entry * size**2
        return modes + 5e3 * n < exact
