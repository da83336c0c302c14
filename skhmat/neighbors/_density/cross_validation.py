"""The likelihood of held-out samples, for each of several bandwidths."""

from contextlib import contextmanager
from numbers import Integral

import numpy as np
from sklearn.model_selection import check_cv

from ..._base.pairwise_kernels import as_matrix
from ..._utils.validation import parameter_error


def score_bandwidths(mixture, name, bandwidths, sample_weight, cv, *, rtol, algorithm, log):
    """Return the weighted mean logarithm of the density at held-out samples.

    Parameters
    ----------
    mixture : Mixture
        Of all samples.
    name : str
        The kernel.
    bandwidths : ndarray of shape (n_bandwidths,)
    sample_weight : ndarray of shape (n_samples,) or None
        As for `mixture`.
    cv : int, cross-validation generator, iterable or None
        None leaves out one sample at a time.
    rtol : float
    algorithm : {"auto", "brute", "tree", "fourier"}
    log : Log

    Returns
    -------
    scores : ndarray of shape (n_bandwidths,)
    """
    scores, total = np.zeros(len(bandwidths)), 0.0
    for queries, weights, exclude in _folds(mixture, cv):
        w = np.ones(len(queries)) if sample_weight is None else sample_weight[queries]
        counted = np.flatnonzero(w)
        queries, w = queries[counted], w[counted]
        exclude = None if exclude is None else exclude[counted]
        total += w.sum()
        for i, bandwidth in enumerate(bandwidths):
            log_densities, _ = mixture.log_densities(
                mixture.X[queries],
                name,
                bandwidth,
                rtol,
                algorithm=algorithm,
                weights=weights,
                exclude=exclude,
            )
            scores[i] += w @ log_densities
            log.progress(f"KernelDensityCV: bandwidth {bandwidth:.4g}")
    return scores / total


def _folds(mixture, cv):
    """Yield the samples that are left out, the weights of all samples, and what each excludes."""
    n = len(mixture.X)
    if cv is None:
        yield np.arange(n), None, np.arange(n)
        return
    for train, test in _splits(cv, as_matrix(mixture.X)):
        weights = np.zeros(n)
        weights[train] = 1.0 if mixture.weights is None else mixture.weights[train]
        if not weights.any():
            allowed = "a splitter that trains on a sample with positive weight in each fold"
            raise parameter_error("cv", allowed, got="a fold without any")
        yield test, weights, None


def _splits(cv, X):
    """Yield the indices of train and test samples; those of an iterable are all checked first."""
    allowed = "None, an integer, a splitter or an iterable of pairs (train, test) of indices"
    with _refused_as_cv(cv, allowed):
        splits = check_cv(cv).split(X)
        if not isinstance(cv, Integral) and not hasattr(cv, "split"):
            splits = iter([_as_indices(split, X.shape[0]) for split in splits])
    n_splits = 0
    while True:
        with _refused_as_cv(cv, allowed):
            split = next(splits, None)
            if split is None:
                break
            split = _as_indices(split, X.shape[0])
        yield split
        n_splits += 1
    if n_splits == 0:
        raise parameter_error("cv", allowed, got="no splits")


@contextmanager
def _refused_as_cv(cv, allowed):
    """Let an error of a splitter, or of what is none, name the parameter."""
    try:
        yield
    except (TypeError, ValueError, IndexError) as error:
        raise parameter_error("cv", allowed, got=f"{cv!r} ({error})") from error


def _as_indices(split, n):
    """Return a pair of arrays of indices below n; a boolean mask is turned into them."""
    train, test = map(np.asarray, split)
    for indices in (train, test):
        if indices.ndim != 1 or indices.dtype.kind not in "iub":
            raise ValueError("indices must be integers")
    return np.arange(n)[train], np.arange(n)[test]
