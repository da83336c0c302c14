"""The Fourier form by `compress`: promises, choices, new points, files and errors."""

import pickle
import sys
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from skhmat.linalg import KernelMatrix, compress, eigsh, load
from skhmat.linalg._fourier import fit
from skhmat.linalg._fourier.fit import reason_against
from skhmat.linalg._fourier.modes import POLICY as MODES
from skhmat.linalg._fourier.modes import choose_modes
from skhmat.linalg._fourier.transforms import FOURIER_KERNELS

pytest.importorskip("finufft")
CLOUDS = {
    "normal": lambda rng, n, d: rng.standard_normal((n, d)),
    "uniform": lambda rng, n, d: 3 * rng.random((n, d)),
    "clusters": lambda rng, n, d: rng.integers(3, size=(n, 1)) + 0.1 * rng.standard_normal((n, d)),
    "equal": lambda rng, n, d: np.ones((n, d)),
    "line": lambda rng, n, d: rng.random((n, 1)) * np.arange(1, d + 1),
}


def true_error(H, K, rng):
    W = rng.standard_normal((K.shape[0], 20)).astype(K.dtype)
    exact = K.toarray().astype(float)
    error = np.linalg.norm(H @ W - exact @ W) / np.sqrt(20)
    return error / np.linalg.norm(exact)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("kernel", ["gaussian", "matern52", "rational_quadratic"])
def test_promise(kernel, cloud, dtype, rng):
    """The error on all rows, or a warning."""
    n, d = int(rng.integers(2, 1500)), int(rng.integers(1, 4))
    X = CLOUDS[cloud](rng, n, d).astype(dtype)
    K = KernelMatrix(X, kernel, bandwidth=10 ** rng.uniform(-0.7, 1))
    rtol = 10 ** rng.uniform(-3, -1.5)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        try:
            H = compress(K, rtol, form="fourier", random_state=0)
        except ValueError as error:
            if "too many modes" not in str(error):
                raise
            return
    assert H.is_fourier
    assert not H.is_dense
    # The mean over vectors varies where the matrix is nearly of rank one.
    assert caught or true_error(H, K, rng) <= 1.3 * rtol


def test_more_accurate_promise(rng):
    K = KernelMatrix(rng.standard_normal((1000, 2)), bandwidth=0.7)
    H = compress(K, 1e-8, form="fourier", random_state=0)
    assert true_error(H, K, rng) <= 1e-8


def test_auto_takes_it_where_it_costs_less(rng):
    X = rng.standard_normal((6000, 2))
    few = compress(KernelMatrix(X, bandwidth=0.5), 1e-5, n_products=1, random_state=0)
    assert few.is_fourier
    assert few.report_.considered[0]["form"] == "Fourier"
    assert "Fourier" in few.summary()
    many = compress(KernelMatrix(X, "exponential", 0.3), 1e-3, n_products=10**6, random_state=0)
    assert not many.is_fourier
    blocks = {"form": "hierarchical"}, {"leaf_size": 64}, {"budget": 0}, {"fallback": "never"}
    for options in blocks:
        H = compress(KernelMatrix(X, bandwidth=0.5), 1e-2, n_products=1, random_state=0, **options)
        assert not H.is_fourier


def test_without_the_library(rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "finufft", None)
    K = KernelMatrix(rng.standard_normal((6000, 2)), bandwidth=0.5)
    assert not compress(K, 1e-3, n_products=1, random_state=0).is_fourier
    with pytest.raises(ImportError, match=r"skhmat\[fourier\]"):
        compress(K, 1e-3, form="fourier")


def test_the_same_seed_gives_the_same_matrix(rng):
    K = KernelMatrix(rng.standard_normal((1000, 2)))
    first, second = (
        compress(K, 1e-4, form="fourier", random_state=3, n_jobs=n_jobs) for n_jobs in (1, 2)
    )
    W = rng.standard_normal((1000, 3))
    assert_array_equal(first @ W, second @ W)
    assert first.error_estimate_ == second.error_estimate_


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_new_points_in_and_outside_the_box(dtype, rng):
    K = KernelMatrix(rng.standard_normal((1500, 2)).astype(dtype))
    H = compress(K, 1e-4, form="fourier", random_state=0)
    X_new = (3 * rng.standard_normal((300, 2))).astype(dtype)
    w = rng.random((1500, 3)).astype(dtype)
    sums, error = H.evaluate(X_new, w, return_error=True)
    exact = K.evaluate(X_new, w)
    assert error <= 1e-4
    assert np.linalg.norm(sums - exact) <= 2e-4 * np.linalg.norm(exact)
    outside = np.abs(X_new).max(axis=1) > np.abs(K.X).max()
    assert outside.any()
    assert_allclose(sums[outside], exact[outside], rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_file(mmap_mode, tmp_path, rng):
    K = KernelMatrix(rng.standard_normal((700, 3)), "matern52", bandwidth=2.0)
    H = compress(K, 1e-3, form="fourier", random_state=0)
    H.save(tmp_path / "H.npz")
    loaded = load(tmp_path / "H.npz", mmap_mode)
    W = rng.standard_normal((700, 2))
    assert_array_equal(loaded @ W, H @ W)
    assert loaded.is_fourier
    assert loaded.error_estimate_ == H.error_estimate_
    assert_array_equal(loaded.evaluate(K.X[:5], W), H.evaluate(K.X[:5], W))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kernel", FOURIER_KERNELS)
def test_one_bandwidth_for_each_feature(kernel, dtype, tmp_path, rng):
    d = int(rng.integers(1, 4))
    units = 10 ** rng.uniform(-3, 3, d)
    X, X_new = np.split((rng.random((1000, d)) * 3 * units).astype(dtype), [900])
    K = KernelMatrix(X, kernel, bandwidth=units * rng.uniform(1, 2, d))
    H = compress(K, 1e-2, form="fourier", random_state=0)
    assert H.is_fourier
    assert true_error(H, K, rng) <= 1.3e-2
    W = (0.5 + rng.standard_normal((900, 2))).astype(dtype)
    sums = H.evaluate(X_new, W)
    exact = K.evaluate(X_new, W)
    assert np.linalg.norm(sums - exact) <= 2e-2 * np.linalg.norm(exact)
    outside = X.max(axis=0) + units.astype(dtype)
    assert_allclose(H.evaluate([outside], W), K.evaluate([outside], W), rtol=1e-5, atol=1e-4)
    H.save(tmp_path / "H.npz")
    loaded = load(tmp_path / "H.npz")
    for again in (loaded, pickle.loads(pickle.dumps(H))):
        assert again.is_fourier
        assert_array_equal(again @ W, H @ W)
        assert_array_equal(again.evaluate(X_new, W), sums)
    K = KernelMatrix(X, kernel, bandwidth=2 * K.bandwidth)
    with pytest.raises(ValueError, match="modes do not fit"):
        fit.fourier_from_record(K, H.form.fourier.modes.as_record())


def test_record_that_does_not_fit_is_refused(rng):
    K = KernelMatrix(rng.standard_normal((100, 2)))
    H = compress(K, 1e-3, form="fourier", random_state=0)
    record = H.form.fourier.modes.as_record()
    bad = [
        {"period": [1.0, 1.0]},
        {"period": [np.inf, 30.0]},
        {"n_half": [10**9, 10**9]},
        # 11 times the second number of modes is 2^64 + 1.
        {"n_half": [5, 1676976733973595601]},
        {"n_half": [-1, 4]},
        {"n_half": [4.0, 4.0]},
        {"n_half": [4]},
        {"extent": [1.0, 2.0]},
        {"demand": {}},
        {"demand": record["demand"] | {"n": 99}},
        {"demand": record["demand"] | {"rtol": float("nan")}},
    ]
    for change in bad:
        with pytest.raises(ValueError, match="modes do not fit"):
            fit.fourier_from_record(K, record | change)
    with pytest.raises(ValueError, match="modes do not fit"):
        fit.fourier_from_record(K, None)


@pytest.mark.parametrize("kernel", ["gaussian", "rational_quadratic"])
def test_modes_that_cost_more_than_exact_products_are_not_looked_for(kernel, rng, monkeypatch):
    sizes = []

    def recorded(*args):
        sizes.append(args[-1].max_modes)
        return choose_modes(*args)

    monkeypatch.setattr(fit, "choose_modes", recorded)
    K = KernelMatrix(rng.random((400, 3)), kernel, bandwidth=0.1)
    assert compress(K, 1e-6, n_products=1, random_state=0).is_dense
    assert sizes[-1] < 10_000
    assert compress(K, 1e-2, form="fourier", random_state=0).is_fourier
    assert sizes[-1] == MODES.max_modes


def test_solve_and_eigenvalues(rng):
    K = KernelMatrix(rng.standard_normal((900, 2)))
    H = compress(K, 1e-6, form="fourier", random_state=0)
    b = rng.standard_normal(900)
    x = H.solve(b, shift=0.5, operator=K)
    assert np.linalg.norm(K @ x + 0.5 * x - b) <= 1e-7 * np.linalg.norm(b)
    values = eigsh(H, 5, random_state=0)[0]
    largest = np.linalg.eigvalsh(K.toarray())[-1]
    assert_allclose(values, np.linalg.eigvalsh(K.toarray())[-5:], atol=2e-6 * largest)
    with pytest.raises(ValueError, match=r"Fourier modes.*budget=0"):
        H.factorize()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "fft"}, "form must be one of 'auto', 'hierarchical', 'fourier', got 'fft'"),
        ({"form": "fourier", "leaf_size": 64}, "leaf_size must be left alone"),
        ({"form": "fourier", "budget": 0.1}, "budget must be left alone"),
        ({"form": "fourier", "max_rank": 10}, "max_rank must be left alone"),
        ({"form": "fourier", "fallback": "never"}, "fallback must be left alone"),
    ],
)
def test_options_that_contradict(options, message, rng):
    with pytest.raises(ValueError, match=message):
        compress(KernelMatrix(rng.random((50, 2))), **options)


def test_matrices_without_a_fourier_form(rng):
    X = rng.standard_normal((80, 2))
    for K, message in [
        (KernelMatrix(rng.random((50, 4))), "the points have 4 features, more than 3"),
        (KernelMatrix(X, "polynomial"), "the kernel is polynomial, and not one of gaussian"),
        (KernelMatrix(X, lambda A, B: np.exp(-np.abs(A @ B.T))), "the kernel is a callable"),
        (np.eye(50), "K is no KernelMatrix"),
        (KernelMatrix(X, bandwidth=1e-7), "takes too many modes"),
        (KernelMatrix(X * 1e150, bandwidth=1e-100), "more digits"),
    ]:
        with pytest.raises(ValueError, match=message):
            compress(K, 1e-3, form="fourier")


def test_a_promise_that_is_missed_warns(rng, monkeypatch):
    monkeypatch.setattr(fit.FourierFit, "make", lambda self: (form, 0.5))
    K = KernelMatrix(rng.standard_normal((100, 2)))
    form = None
    with pytest.warns(ConvergenceWarning, match='Take form="auto"'):
        compress(K, 1e-3, form="fourier")


def test_every_kernel_is_allowed(rng):
    for kernel in FOURIER_KERNELS:
        assert reason_against(KernelMatrix(rng.random((10, 3)), kernel)) == ""
