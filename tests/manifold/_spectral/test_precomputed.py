"""Kernels and distances that users computed, through `DiffusionMaps`."""

import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.base import clone

from skhmat.manifold import DiffusionMaps
from skhmat.manifold._spectral.precomputed import check_precomputed

from ..affinities import (
    EPSILON,
    STRICT,
    Reference,
    arc,
    assert_eigenpairs,
    assert_refuses,
    assert_same_functions,
    kernel,
)

pytestmark = STRICT


def as_given(array, form):
    return sparse.csr_matrix(array) if form == "sparse" else array


@pytest.mark.parametrize("given", ["dense", "sparse"])
@pytest.mark.parametrize("t", [0, 1, 3])
def test_precomputed_kernel(given, t, rng):
    X, Y = arc(rng, 150), arc(rng, 40)
    points = DiffusionMaps(3, epsilon=EPSILON, alpha=0.5, t=t).fit(X)
    model = DiffusionMaps(3, kernel="precomputed", alpha=0.5, t=t)
    K, K_new = as_given(kernel(X, X), given), as_given(kernel(Y, X), given)
    np.testing.assert_allclose(model.fit_transform(K), points.embedding_, atol=1e-9)
    np.testing.assert_allclose(model.transform(K_new), points.transform(Y), atol=1e-9)
    np.testing.assert_allclose(model.transform(K), model.embedding_, atol=1e-9)
    np.testing.assert_allclose(model.extend(K_new), points.extend(Y), atol=1e-9)
    assert np.isnan(model.epsilon_)
    assert_eigenpairs(model, Reference(kernel(X, X), 0.5))


def distances(A, B, given):
    """The zeros of a sparse matrix are also distances: all are kept."""
    D = cdist(A, B)
    if given == "dense":
        return D
    rows, cols = np.indices(D.shape)
    return sparse.csr_matrix((D.ravel(), (rows.ravel(), cols.ravel())), shape=D.shape)


@pytest.mark.parametrize("given", ["dense", "sparse"])
@pytest.mark.parametrize("epsilon", [EPSILON, "auto"])
def test_precomputed_distances(epsilon, given, rng):
    X, Y = arc(rng, 150), arc(rng, 40)
    model = DiffusionMaps(3, metric="precomputed", epsilon=epsilon).fit(distances(X, X, given))
    # Distances are rounded: the next bandwidth that is tried may be as good.
    assert model.epsilon_ == pytest.approx(DiffusionMaps(epsilon=epsilon).fit(X).epsilon_, rel=0.1)
    points = DiffusionMaps(3, epsilon=model.epsilon_).fit(X)
    np.testing.assert_allclose(model.embedding_, points.embedding_, atol=1e-6)
    own, new = (model.transform(distances(A, X, given)) for A in (X, Y))
    np.testing.assert_allclose(own, model.embedding_, atol=1e-6)
    np.testing.assert_allclose(new, points.transform(Y), atol=1e-6)


@pytest.mark.parametrize("given", ["dense", "sparse"])
def test_precomputed_distances_with_a_cut(given, rng):
    X, Y = arc(rng, 150), arc(rng, 40)
    options = {"epsilon": EPSILON, "cut_off": 0.35}
    points = DiffusionMaps(2, **options).fit(X)
    model = DiffusionMaps(2, metric="precomputed", **options).fit(distances(X, X, given))
    np.testing.assert_allclose(model.embedding_, points.embedding_, atol=1e-9)
    found = model.extend(distances(Y, X, given))
    np.testing.assert_allclose(found, points.extend(Y), atol=1e-9)


def test_distances_that_are_not_held_are_infinite(rng):
    """The diagonal of the samples need not be held."""
    X = arc(rng, 150)
    D = cdist(X, X)
    near = np.where(D <= 0.35, D, 0)
    given = sparse.csr_matrix(near)
    assert given.nnz == np.count_nonzero(near)
    model = DiffusionMaps(2, metric="precomputed", epsilon=EPSILON).fit(given)
    assert_eigenpairs(model, Reference(np.where(D <= 0.35, kernel(X, X), 0), 1.0))
    chosen = DiffusionMaps(2, metric="precomputed", epsilon="sum").fit(given)
    squares = near[near > 0] ** 2
    tried = np.geomspace(squares.min() / 60, squares.max() * 4, 600)
    sums = np.array([150 + np.exp(-squares / (2 * e)).sum() for e in tried])
    best = np.argmax(np.gradient(np.log(sums), np.log(tried)))
    assert abs(np.log(chosen.epsilon_ / tried[best])) < 0.2


def test_samples_whose_kernel_is_zero_everywhere(rng):
    X = arc(rng, 50)
    K = kernel(X, X, 0.5)
    K[[3, 7]], K[:, [3, 7]] = 0, 0
    for matrix in (K, sparse.csr_matrix(K)):
        with pytest.warns(UserWarning, match="kernel of 2 samples, number 3 first, is 0"):
            model = DiffusionMaps(2, kernel="precomputed").fit(matrix)
        np.testing.assert_allclose(model.embedding_[[3, 7]], 0, atol=1e-12)
        others = np.delete(np.arange(50), [3, 7])
        alone = DiffusionMaps(2, kernel="precomputed").fit(K[np.ix_(others, others)])
        assert_same_functions(model.eigenvectors_[others], alone.eigenvectors_, 1e-8)
        with pytest.warns(UserWarning, match="kernel of 1 points"):
            assert not model.transform(np.zeros((1, 50))).any()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("given", [np.zeros((10, 10)), sparse.csr_matrix((10, 10))])
def test_a_kernel_that_is_zero_is_one_of_samples_apart(given):
    embedding = DiffusionMaps(2, kernel="precomputed").fit_transform(given)
    np.testing.assert_array_equal(embedding, np.zeros((10, 2)))


@pytest.mark.parametrize("t", [0, 1, 2, 3])
def test_negative_eigenvalues(t, rng):
    """The kernel need not be definite; coordinates of samples and of new points agree."""
    K = rng.random((6, 6))
    K += K.T
    np.fill_diagonal(K, 0)
    model = DiffusionMaps(5, kernel="precomputed", t=t).fit(K)
    assert model.eigenvalues_[-1] < -0.1
    reference = Reference(K, 1.0)
    np.testing.assert_allclose(model.eigenvalues_, reference.values, atol=1e-12)
    positive = model.eigenvalues_[1:] > 0.01
    expected = model.eigenvectors_[:, 1:] * np.where(positive, model.eigenvalues_[1:], 1) ** t
    np.testing.assert_allclose(model.embedding_[:, positive], expected[:, positive], atol=1e-12)
    with np.errstate(all="raise"):
        own = model.fit(K).transform(K) if t else None
    if t:
        np.testing.assert_allclose(own, model.embedding_, atol=1e-10)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_asymmetry_by_rounding(form, rng):
    """A kernel's is that of its dtype; distances are roots, which have half of its digits."""
    X = rng.random((20, 2))
    distances = cdist(X, X)
    distances[2, 3] *= 1 + 1e-8
    assert check_precomputed(form(distances), "metric").shape == (20, 20)
    K = kernel(X, X).astype(np.float32)
    K[2, 3] += np.float32(2e-6)
    assert check_precomputed(form(K), "kernel").shape == (20, 20)
    with pytest.raises(ValueError, match="X must be symmetric where kernel is 'precomputed'"):
        check_precomputed(form(K.astype(np.float64)), "kernel")


@pytest.mark.parametrize("name", ["kernel", "metric"])
def test_bad_precomputed_matrices(name, rng):
    X = rng.random((20, 2))
    good = cdist(X, X) if name == "metric" else kernel(X, X)
    model = DiffusionMaps(1, epsilon=0.1, **{name: "precomputed"})
    negative, skew = good.copy(), good.copy()
    negative[2, 3] = negative[3, 2] = -0.25
    skew[2, 3] += 0.125
    for form in (lambda A: A, sparse.csr_matrix):
        model.fit(form(good))
        assert_refuses(
            model,
            form(good[:15]),
            rf"X must be square where {name} is 'precomputed', got shape \(15, 20\)",
        )
        assert_refuses(
            model,
            form(negative),
            f"Negative values.* at least 0 .* {name} is 'precomputed', got -0.25",
        )
        message = f"X must be symmetric where {name} is 'precomputed', got .* up to 0.125"
        assert_refuses(model, form(skew), message)
        model.fit(form(good))
        with pytest.raises(ValueError, match="20 features"):
            model.transform(form(good[:, :15]))
    missing = good.copy()
    missing[1, 1] = np.nan
    assert_refuses(model, missing, "NaN")
    for option in ("knn", "variable_bandwidth"):
        other = clone(model).set_params(**{option: 3})
        assert_refuses(other, good, f"{option} must be None where X is a precomputed matrix, got 3")


def test_a_sparse_kernel_of_many_samples_in_parts(rng):
    """For which no bandwidth says how far apart eigenvalues are."""
    X = arc(rng, 600)
    X[300:] += 50
    D = cdist(X, X)
    K = sparse.csr_matrix(np.where(D < 0.3, kernel(X, X), 0))
    model = DiffusionMaps(3, kernel="precomputed", random_state=0).fit(K)
    assert "lobpcg" in model.summary()
    np.testing.assert_allclose(
        model.eigenvalues_, Reference(K.toarray(), 1.0).values[:4], atol=1e-6
    )


@pytest.mark.parametrize("n_alone", [3, 100])
def test_samples_without_a_kernel_take_no_place(n_alone):
    """Rows of zeros are no parts: their eigenvalue is 0. Samples with a diagonal entry are."""
    path = sparse.diags([1.0, 0.5, 1.0], [-1, 0, 1], shape=(600, 600))
    zeros = sparse.csr_matrix((n_alone, n_alone))
    model = DiffusionMaps(5, kernel="precomputed", random_state=0)
    for own, n_ones in ((np.empty((0, 0)), 1), (np.eye(3), 4)):
        K = sparse.block_diag([path, own, zeros]).tocsr()
        with pytest.warns(UserWarning, match="is 0 with all samples|fall"):
            model.fit(K)
        exact = DiffusionMaps(
            5 - n_ones + 1, kernel="precomputed", random_state=0, eigen_solver="dense"
        )
        exact.fit(path.tocsr())
        expected = np.append(np.ones(n_ones - 1), exact.eigenvalues_)
        np.testing.assert_allclose(model.eigenvalues_, expected, atol=1e-8)
