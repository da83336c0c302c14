"""Regression problems, and policies by which small ones are solved like large ones."""

from dataclasses import replace

import numpy as np

from skhmat._base.pairwise_kernels import kernel_matrix
from skhmat.kernel_ridge._dual_system import POLICY, RidgeSystem
from skhmat.linalg import compress

# Nothing is solved directly, by Fourier modes, or preconditioned by a factorization of the exact
# matrix.
ITERATIVE = replace(
    POLICY,
    max_direct=0,
    max_factorized=0,
    fourier=replace(POLICY.fourier, max_cost_ratio=0.0),
)
# Nothing of low rank is tried before the compressed matrix.
COMPRESSED = replace(ITERATIVE, first_rank=0)
# Nothing is small enough for a dense factorization either.
NEVER_DENSE = {
    "solver": replace(POLICY.solver, max_dense=0),
    "low_rank": replace(POLICY.low_rank, max_dense=0),
}


def problem(rng, n=700, d=3):
    """Samples, two targets with noise, and new points."""
    X = rng.standard_normal((n, d))
    Y = np.column_stack([np.sin(X.sum(axis=1)), np.cos(X[:, 0])])
    return X, Y + 0.1 * rng.standard_normal(Y.shape), rng.standard_normal((100, d))


def with_policy(model, policy, leave_one_out=None):
    """The model, with policies in place of the default ones."""
    model._policy = policy
    if leave_one_out is not None:
        model._leave_one_out_policy = leave_one_out
    return model


def make_system(X, weights=None, policy=ITERATIVE, *, kernel="rbf", gamma=None, **options):
    """The system of a kernel of scikit-learn."""
    K = kernel_matrix(X, kernel, gamma)
    options = {"random_state": 0, "n_jobs": 1, **options}
    return RidgeSystem(K, lambda K: compress(K, **options), weights, n_jobs=1, policy=policy)


def assert_predicts_the_same(model, reference, X, Y, X_new, **fit):
    """To the documented accuracy: 1e-3 of the largest target."""
    predicted = model.fit(X, Y, **fit).predict(X_new)
    expected = reference.fit(X, Y, **fit).predict(X_new)
    assert predicted.shape == expected.shape
    assert np.abs(predicted - expected).max() <= 1e-3 * np.abs(Y).max()


def exact_scores(K, Y, alpha):
    """Mean squared leave-one-out errors by the inverse."""
    inverse = np.linalg.inv(K + alpha * np.eye(len(K)))
    return np.square(inverse @ Y / inverse.diagonal()[:, np.newaxis]).mean(axis=0)
