"""The bandwidth and the number of eigenpairs that suit a function, by leave-one-out errors.

A kernel matrix K whose eigenvalues beyond the k-th are replaced by the k-th, tau, is::

    A = V diag(lambda) V^T + tau (I - V V^T),     V, lambda: the first k eigenpairs of K

If a function y is interpolated with the kernel A, the error at sample i of the interpolant without
that sample is (A^-1 y)_i / (A^-1)_ii (Allen, Technometrics 16, 1974), for all i and k from one
decomposition. It is that of the projection on k eigenvectors but for the tail, which is there for a
reason: the usual errors of a projection, (y - V V^T y)_i / (1 - V V^T)_ii, take the eigenvectors as
given, though they were computed with sample i. Where a kernel is so narrow that no sample reaches
another, any function then looks as if it could be predicted.

Errors of many candidates are close to each other. Among those that are not worse than the best by
more than a standard error, the one with the fewest eigenpairs is taken (Breiman et al.,
Classification and Regression Trees, 1984, section 3.4.3): it is the smoothest function.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from .._utils.validation import parameter_error
from ..linalg._spectral.dense import largest_eigenpairs


@dataclass(frozen=True)
class LeaveOneOutPolicy:
    """What is tried.

    Attributes
    ----------
    max_rows : int
        Samples up to which all take part in the choice of the bandwidth, and the kernel matrix is
        decomposed as it is. Of more, so many are drawn for the choice, and are landmarks.
    count_ratio : float
        Ratio of one number of eigenpairs that is tried and the next.
    widest : float
        Largest bandwidth, relative to the median of squared distances: polynomials of low degree.
    narrowest : float
        Smallest bandwidth, relative to the median of squared distances from the nearest sample: the
        kernel is then exp(-4) between neighbours.
    coarse_ratio, fine_ratio : float
        Ratio of neighbouring bandwidths, at first and around the best of those.
    exact : float
        Mean squared error, relative to the variance of the function, that counts as none.
    min_relative : float
        Eigenvalue, relative to the largest: a smaller one is no more than rounding.
    """

    max_rows: int = 1000
    count_ratio: float = 1.1
    widest: float = 64.0
    narrowest: float = 0.125
    coarse_ratio: float = 4.0
    fine_ratio: float = 2.0
    exact: float = 1e-12
    min_relative: float = 1e-12


POLICY = LeaveOneOutPolicy()


@dataclass(frozen=True, eq=False)
class Standardized:
    """Functions at samples with mean 0 and variance 1, and how to go back.

    Attributes
    ----------
    values : ndarray of shape (n, n_targets)
        All 0 for a function that is constant but for rounding.
    mean, scale : ndarray of shape (n_targets,)
    """

    values: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def from_functions(cls, Y):
        """Standardize functions of shape (n, n_targets), float64 of any finite size."""
        unit = np.ldexp(1.0, np.frexp(np.abs(Y).max(axis=0))[1] - 1)
        values = Y / unit  # at most 2, so that squares do not overflow
        mean = values.mean(axis=0)
        values -= mean
        scale = np.sqrt(np.mean(np.square(values), axis=0))
        is_constant = scale <= len(Y) * np.finfo(np.float64).eps
        scale[is_constant] = 1.0
        values[:, is_constant] = 0.0
        return cls(values / scale, mean * unit, scale * unit)

    @classmethod
    def unchanged(cls, Y):
        """Take functions of shape (n, n_targets) as they are."""
        return cls(Y, np.zeros(Y.shape[1]), np.ones(Y.shape[1]))

    def restore(self, values):
        """Return values, of shape (n_new, n_targets), in the units of the functions."""
        return values * self.scale + self.mean


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen for a function, and by which errors.

    Attributes
    ----------
    epsilon : float
    n_pairs : int
    error : float
        Mean squared leave-one-out error, relative to the variance of the function.
    curve : (ndarray of shape (n_tried,), ndarray of shape (n_tried,))
        Bandwidths that were tried, ascending, and the smallest such error of each.
    """

    epsilon: float
    n_pairs: int
    error: float
    curve: tuple


def tried_counts(k, ratio):
    """Return the numbers of eigenpairs, up to k, that are tried."""
    n_steps = 1 + math.ceil(math.log(k) / math.log(ratio))
    return np.unique(np.round(np.geomspace(1, k, n_steps)).astype(np.intp))


def leave_one_out(values, vectors, Y, counts):
    """Return squared leave-one-out errors for several numbers of eigenpairs.

    Parameters
    ----------
    values : ndarray of shape (k,)
        Positive, descending: eigenvalues of a kernel that is 1 on the diagonal.
    vectors : ndarray of shape (n, k)
    Y : ndarray of shape (n, n_targets)
    counts : ndarray of shape (n_counts,), intp
        Ascending, at most k.

    Returns
    -------
    squares : ndarray of shape (n_counts, n)
        At each sample, the mean over the targets.
    """
    coefficients = vectors.T @ Y
    squares = np.empty((len(counts), len(Y)))
    missed, solution = Y.copy(), np.zeros_like(Y)
    left, inverse = np.ones(len(Y)), np.zeros(len(Y))
    start = 0
    for i, stop in enumerate(counts):
        V, added = vectors[:, start:stop], coefficients[start:stop]
        divisors, start = values[start:stop], stop
        missed -= V @ added
        solution += V @ (added / divisors[:, np.newaxis])
        left -= np.square(V).sum(axis=1)
        inverse += np.square(V) @ (1 / divisors)
        # A^-1 y and the diagonal of A^-1, both times tau. The entries of A are at most 1 + tau.
        tau = values[stop - 1]
        diagonal = np.maximum(tau * inverse + np.maximum(left, 0), tau / (1 + tau))
        errors = (tau * solution + missed) / diagonal[:, np.newaxis]
        squares[i] = np.mean(np.square(errors), axis=1)
    return squares


def choose_simplest(squares, counts, policy=POLICY):
    """Return the index of the candidate with the fewest eigenpairs that is as good as the best.

    Parameters
    ----------
    squares : ndarray of shape (n_candidates, n)
        Squared leave-one-out errors.
    counts : ndarray of shape (n_candidates,)
        Eigenpairs of each.
    policy : LeaveOneOutPolicy
    """
    means = squares.mean(axis=1)
    excess = squares - squares[np.argmin(means)]
    tolerated = excess.std(axis=1) / math.sqrt(squares.shape[1])
    is_good = (excess.mean(axis=1) <= tolerated) | (means <= policy.exact)
    good = np.flatnonzero(is_good)
    return int(good[np.lexsort((means[good], counts[good]))[0]])


def choose_for_function(X, Y, epsilon, cut_off, rng, policy=POLICY):
    """Choose a bandwidth and the number of eigenpairs for functions known at samples.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    Y : ndarray of shape (n, n_targets)
        Standardized functions.
    epsilon : float or "auto"
        A bandwidth that is given, or "auto".
    cut_off : float or None
        Distance beyond which the kernel is 0.
    rng : numpy.random.RandomState
        Draws samples where there are many.
    policy : LeaveOneOutPolicy

    Returns
    -------
    choice : Choice
    """
    if len(X) > policy.max_rows:
        # Which samples are drawn depends on the samples and not on their order.
        ascending = np.lexsort(np.hstack([Y, X]).T)
        rows = ascending[rng.permutation(len(X))[: policy.max_rows]]
        X, Y = X[rows], Y[rows]
    squared_distances = cdist(X, X, "sqeuclidean")
    epsilons = [float(epsilon)] if epsilon != "auto" else _coarse(squared_distances, policy)
    is_apart = None if cut_off is None else squared_distances > cut_off**2
    tried = {}

    def score(epsilon):
        K = np.exp(squared_distances / (-2 * epsilon))
        if is_apart is not None:
            K[is_apart] = 0.0
        values, vectors = largest_eigenpairs(K, len(K))
        # A cut-off may make eigenvalues negative.
        k = max(1, np.count_nonzero(values > policy.min_relative * values[0]))
        counts = tried_counts(k, policy.count_ratio)
        tried[epsilon] = counts, leave_one_out(values, vectors, Y, counts)

    def error(epsilon):
        return tried[epsilon][1].mean(axis=1).min()

    # From the widest on: of equal errors, as those of a constant function are, its are taken.
    for value in epsilons:
        score(value)
    best = min(tried, key=error)
    if epsilon == "auto":
        for value in (best * policy.fine_ratio, best / policy.fine_ratio):
            score(value)
    counts = np.concatenate([counts for counts, _ in tried.values()])
    squares = np.vstack([squares for _, squares in tried.values()])
    which = choose_simplest(squares, counts, policy)
    owners = np.repeat(list(tried), [len(counts) for counts, _ in tried.values()])
    ascending = sorted(tried)
    curve = np.array(ascending), np.array([error(value) for value in ascending])
    return Choice(float(owners[which]), int(counts[which]), float(squares[which].mean()), curve)


def _coarse(squared_distances, policy):
    """Return the bandwidths that are tried first, descending."""
    off_diagonal = squared_distances[~np.eye(len(squared_distances), dtype=bool)]
    positive = off_diagonal[off_diagonal > 0]
    if len(positive) == 0:
        raise parameter_error(
            "epsilon", "a number where all distances between samples are 0", "auto"
        )
    apart = np.where(squared_distances > 0, squared_distances, np.inf).min(axis=1)
    nearest = np.median(apart[np.isfinite(apart)])
    high, low = policy.widest * np.median(positive), policy.narrowest * nearest
    n_steps = math.ceil(math.log(high / low) / math.log(policy.coarse_ratio))
    return list(high / policy.coarse_ratio ** np.arange(n_steps + 1))


def choose_count(values, vectors, Y, policy=POLICY):
    """Choose how many of the eigenpairs of all samples to take.

    Parameters
    ----------
    values : ndarray of shape (k,)
    vectors : ndarray of shape (n, k)
    Y : ndarray of shape (n, n_targets)
        Standardized functions.
    policy : LeaveOneOutPolicy

    Returns
    -------
    n_pairs : int
    error : float
        As in `Choice`.
    """
    counts = tried_counts(len(values), policy.count_ratio)
    squares = leave_one_out(values, vectors, Y, counts)
    which = choose_simplest(squares, counts, policy)
    return int(counts[which]), float(squares[which].mean())
