"""Points from their features: kernel ridge regression in the other direction."""

import scipy.linalg

from ._features import POLICY


def fit_preimages(K, X, alpha, compress, policy=POLICY):
    """Return C with (K + alpha I) C = X: a point with features z is about k(z, Z) C.

    Parameters
    ----------
    K : KernelMatrix of shape (n, n)
        Of the features Z of the samples.
    X : ndarray of shape (n, d)
        The samples.
    alpha : float
        Positive.
    compress : callable
        ``compress(K)`` returns a HierarchicalMatrix, which preconditions the exact system of more
        samples than are held.
    policy : FeaturesPolicy

    Returns
    -------
    C : ndarray of shape (n, d)

    Raises
    ------
    numpy.linalg.LinAlgError
        K + alpha I is not positive definite.
    """
    if K.shape[0] > policy.max_held:
        return compress(K).solve(X, shift=alpha, operator=K)
    array = K.toarray()
    array.flat[:: len(array) + 1] += alpha
    return scipy.linalg.solve(array, X, assume_a="pos", overwrite_a=True)
