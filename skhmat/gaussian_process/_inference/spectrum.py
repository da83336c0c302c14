"""Covariances as sums over Fourier modes, with the derivatives of their coefficients.

A sum of stationary kernels, constants and noise has the covariance F D F* + noise, with the
exponentials F of equally spaced frequencies at the samples and coefficients D that are sampled
spectral densities (P. Greengard, M. Rachh, A. Barnett, arXiv:2210.10210, 2022). Hyperparameters
change D and the noise alone; a constant is a part of mode 0.
"""

import math
from dataclasses import dataclass

import numpy as np

from ...linalg._fourier.modes import Demand, ModesPolicy, choose_modes
from ...linalg._fourier.transforms import transform_of
from .covariance import (
    ConstantCovariance,
    ProductCovariance,
    StationaryCovariance,
    SumCovariance,
    WhiteCovariance,
)


@dataclass(frozen=True)
class Term:
    """A part of a sum of covariances: a product of constants with at most one other factor.

    Attributes
    ----------
    scale : float
        Product of the constants.
    constants : tuple of int
        Where theta has those that are free.
    factor : StationaryCovariance, WhiteCovariance or None
    offset : int
        Where theta has the hyperparameters of the factor.
    """

    scale: float = 1.0
    constants: tuple = ()
    factor: object = None
    offset: int = 0

    def times(self, other):
        """Return the product with another term, or None where both have a factor."""
        if self.factor is not None and other.factor is not None:
            return None
        owner = other if self.factor is None else self
        scale, constants = self.scale * other.scale, self.constants + other.constants
        return Term(scale, constants, owner.factor, owner.offset)


def terms_of(covariance, offset=0):
    """Return a covariance as a list of terms, or None where it is no such sum."""
    if isinstance(covariance, ConstantCovariance):
        return [Term(covariance.value, tuple(range(offset, offset + covariance.n_dims)))]
    if isinstance(covariance, (StationaryCovariance, WhiteCovariance)):
        return [Term(factor=covariance, offset=offset)]
    if not isinstance(covariance, (SumCovariance, ProductCovariance)):
        return None
    first = terms_of(covariance.first, offset)
    second = terms_of(covariance.second, offset + covariance.first.n_dims)
    if first is None or second is None:
        return None
    if isinstance(covariance, SumCovariance):
        return first + second
    products = [a.times(b) for a in first for b in second]
    return None if None in products else products


def reason_against(covariance, n_features):
    """Return why a covariance has no such sum, as text, or an empty one if it has."""
    terms = terms_of(covariance)
    if terms is None:
        return "kernel is no sum of stationary kernels, constants and noise"
    factors = [term.factor for term in terms if isinstance(term.factor, StationaryCovariance)]
    if not factors:
        return "kernel has no stationary part"
    if any(factor.shape.name == "rational_quadratic" for factor in factors):
        return "a rational quadratic kernel has coefficients that may be negative"
    if n_features > 3:
        return f"X has {n_features} features, more than 3"
    return ""


@dataclass(frozen=True, eq=False)
class Grid:
    """Frequencies j / period with |j| <= n_half in each dimension.

    Attributes
    ----------
    period : ndarray of shape (d,)
        In the unit of the samples.
    n_half : ndarray of shape (d,), int
    """

    period: np.ndarray
    n_half: np.ndarray

    @property
    def size(self):
        """Number of modes."""
        return math.prod((2 * self.n_half + 1).tolist())

    def covers(self, other):
        """Return whether it has the period and the frequencies of another grid, or more."""
        is_fine = (self.n_half / self.period >= other.n_half / other.period * (1 - 1e-9)).all()
        return bool(is_fine and (self.period >= other.period * (1 - 1e-9)).all())


def grid_for(covariance, extent, entry_error, max_modes):
    """Return the grid on which the entries of a covariance have an error, or None.

    Parameters
    ----------
    covariance : Covariance
    extent : ndarray of shape (d,)
        Largest differences of points, in their unit.
    entry_error : float
        Root mean square, and the largest between distant points.
    max_modes : int
        None is returned where there are more.
    """
    terms = [term for term in terms_of(covariance) if isinstance(term.factor, StationaryCovariance)]
    periods, frequencies = [], []
    for term in terms:
        scales = np.broadcast_to(term.factor.length_scale, len(extent))
        rtol = entry_error / (term.scale * len(terms))
        with np.errstate(over="ignore"):
            scaled_extent = extent / scales
        if not (rtol > 1e-14 and np.isfinite(scaled_extent).all()):
            return None
        # An error relative to the largest entry, whatever the others are.
        demand = Demand(min(rtol, 0.5), 1.0, np.iinfo(np.int64).max)
        policy = ModesPolicy(max_modes=max_modes)
        modes = choose_modes(term.factor.shape.name, 1.0, scaled_extent, demand, policy)
        if modes is None:
            return None
        periods.append(modes.period * scales)
        frequencies.append(modes.n_half / periods[-1])
    period, frequency = np.max(periods, axis=0), np.max(frequencies, axis=0)
    grid = Grid(period, np.ceil(frequency * period * (1 - 1e-9)).astype(int))
    return grid if grid.size <= max_modes else None


def noise_of(covariance):
    """Return the variance of the noise in a covariance that has `terms_of`."""
    terms = terms_of(covariance)
    levels = (t.scale * t.factor.level for t in terms if isinstance(t.factor, WhiteCovariance))
    return sum(levels, 0.0)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The coefficients of a covariance on a grid, and how theta changes them.

    Attributes
    ----------
    grid : Grid
    coefficients : ndarray of shape (2 n_half + 1, ...)
        At least 0.
    derivatives : list of ndarray or None
        Of the coefficients, by theta; None stands for zeros.
    rest : float
        What the coefficients lack of the variance: that of all other frequencies, which is added to
        the noise.
    rest_derivatives : ndarray of shape (n_dims,)
    noise : float
        Variance of the kernel's noise.
    noise_derivatives : ndarray of shape (n_dims,)
    """

    grid: Grid
    coefficients: np.ndarray
    derivatives: list
    rest: float
    rest_derivatives: np.ndarray
    noise: float
    noise_derivatives: np.ndarray

    @property
    def period(self):
        """As that of `FourierModes`."""
        return self.grid.period

    @property
    def n_half(self):
        """As that of `FourierModes`."""
        return self.grid.n_half

    @classmethod
    def of_covariance(cls, covariance, grid):
        """Return the spectrum of a covariance that `reason_against` has nothing against."""
        n_dims = covariance.n_dims
        shape = tuple((2 * grid.n_half + 1).tolist())
        coefficients, derivatives = np.zeros(shape), [None] * n_dims
        rest = 0.0
        rest_derivatives, noise_derivatives = np.zeros(n_dims), np.zeros(n_dims)

        def add(index, values):
            old = derivatives[index]
            derivatives[index] = values if old is None else old + values

        for term in terms_of(covariance):
            constants = list(term.constants)
            if isinstance(term.factor, WhiteCovariance):
                free = [*constants, *range(term.offset, term.offset + term.factor.n_dims)]
                noise_derivatives[free] += term.scale * term.factor.level
                continue
            if term.factor is None:
                own, scale_derivatives = _constant_mode(term.scale, grid), []
                missing = 0.0
            else:
                own, scale_derivatives = _stationary_modes(term, grid)
                missing = term.scale - own.sum()
            coefficients += own
            rest += missing
            rest_derivatives[constants] += missing
            for index in constants:
                add(index, own)
            for index, values in scale_derivatives:
                add(index, values)
                rest_derivatives[index] -= values.sum()
        noise = noise_of(covariance)
        return cls(
            grid, coefficients, derivatives, rest, rest_derivatives, noise, noise_derivatives
        )


def _constant_mode(value, grid):
    out = np.zeros(tuple((2 * grid.n_half + 1).tolist()))
    out[tuple(grid.n_half)] = value
    return out


def _stationary_modes(term, grid):
    """Return the coefficients of a term, and (index in theta, derivative) for its length scales."""
    factor, d = term.factor, len(grid.period)
    scales = np.broadcast_to(factor.length_scale, d)
    axes = [
        (np.arange(-m, m + 1) / length * scale) ** 2
        for m, length, scale in zip(grid.n_half, grid.period, scales, strict=True)
    ]
    squares = np.meshgrid(*axes, indexing="ij", sparse=True)
    total = sum(squares)
    transform = transform_of(factor.shape.name, d)
    own = transform.density(total) * (term.scale * np.prod(scales / grid.period))
    if not factor.has_free_scales:
        return own, []
    slope = own * (2 * transform.log_density_slope(total))
    by_feature = [own + slope * square for square in squares]
    if factor.length_scale.ndim == 0:
        by_feature = [np.sum(by_feature, axis=0)]
    return own, [(term.offset + i, values) for i, values in enumerate(by_feature)]
