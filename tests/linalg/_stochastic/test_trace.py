import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator
from sklearn.exceptions import ConvergenceWarning

from skhmat.linalg._stochastic.trace import Estimate, estimate_diagonal, xtrace

from ..matrices import make_matrix, quietly, symmetric

SPECTRA = {
    "flat": lambda n: np.linspace(1, 3, n),
    "slow": lambda n: np.arange(1, n + 1) ** -0.5,
    "geometric": lambda n: 0.8 ** np.arange(n),
    "step": lambda n: np.r_[np.ones(10), np.full(n - 10, 1e-3)],
    "indefinite": lambda n: np.linspace(-1, 2, n),
}


class Recorder:
    """Products with a matrix, and all vectors that were multiplied."""

    def __init__(self, A):
        self.A, self.blocks = A, []

    def __call__(self, B):
        self.blocks.append(B.copy())
        return self.A @ B

    @property
    def n_products(self):
        return sum(B.shape[1] for B in self.blocks)

    @property
    def random_vectors(self):
        """Every other block; the others are orthonormal."""
        return np.hstack(self.blocks[::2])


def without(A, vectors, i):
    """Return what is left of I - P: the projection on what the other vectors have not found."""
    Q = np.linalg.qr(A @ np.delete(vectors, i, axis=1))[0]
    return np.eye(len(A)) - Q @ Q.T, Q


def naive_traces(A, vectors):
    """XTrace by its definition: every vector with the subspace that the others have found."""
    traces = []
    for i, x in enumerate(vectors.T):
        outside, Q = without(A, vectors, i)
        rest = outside @ x
        rest *= np.sqrt(len(A) - Q.shape[1]) / np.linalg.norm(rest)
        traces.append(np.trace(Q.T @ A @ Q) + rest @ A @ rest)
    return np.array(traces)


def naive_diagonals(A, vectors):
    """XDiag by its definition, with the projection from both sides."""
    diagonals = []
    for i, x in enumerate(vectors.T):
        outside, _ = without(A, vectors, i)
        rest = outside @ A @ outside
        diagonals.append(np.diagonal(A - rest) + x * (rest @ x))
    return np.array(diagonals)


def fixed(function, *args, n_products, **kwargs):
    """Estimate with this number of products, however accurate that is."""
    limits = {"n_products": n_products, "max_products": n_products, "rtol": 0.0}
    return quietly(function, *args, **{**limits, **kwargs})


# ---- traces and diagonals


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("n_products", [4, 24])
def test_trace_is_the_mean_of_naive_estimates(spectrum, n_products, global_random_seed):
    apply = Recorder(symmetric(SPECTRA[spectrum](100), global_random_seed))
    estimate = fixed(xtrace, apply, 100, n_products=n_products, random_state=global_random_seed)
    expected = naive_traces(apply.A, apply.random_vectors)
    assert len(expected) == n_products / 2
    assert estimate.value == pytest.approx(expected.mean(), rel=1e-9)
    error = expected.std(ddof=1) / np.sqrt(len(expected))
    assert estimate.standard_error == pytest.approx(error, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("n_products", [8, 24])
def test_diagonal_is_the_mean_of_naive_estimates(spectrum, n_products, global_random_seed):
    apply = Recorder(symmetric(SPECTRA[spectrum](100), global_random_seed))
    random_state = global_random_seed
    estimate = fixed(
        estimate_diagonal, apply, 100, n_products=n_products, random_state=random_state
    )
    assert set(np.unique(apply.random_vectors)) == {-1.0, 1.0}
    expected = naive_diagonals(apply.A, apply.random_vectors)
    np.testing.assert_allclose(estimate.value, expected.mean(axis=0), atol=1e-9)
    errors = expected.std(axis=0, ddof=1) / np.sqrt(len(expected))
    np.testing.assert_allclose(estimate.standard_error, errors, atol=1e-9)


@pytest.mark.parametrize(
    ("function", "naive"), [(xtrace, naive_traces), (estimate_diagonal, naive_diagonals)]
)
def test_rounds_keep_all_products(function, naive, global_random_seed):
    apply = Recorder(symmetric(SPECTRA["slow"](150), global_random_seed))
    limits = {"n_products": 8, "max_products": 45, "rtol": 0.0}
    estimate = quietly(function, apply, 150, random_state=global_random_seed, **limits)
    assert [B.shape[1] for B in apply.blocks] == [4, 4, 4, 4, 8, 8, 6, 6]
    assert estimate.n_products == apply.n_products == 44
    expected = naive(apply.A, apply.random_vectors)
    np.testing.assert_allclose(estimate.value, expected.mean(axis=0), atol=1e-9)


def test_no_more_products_than_needed(global_random_seed):
    eigenvalues = SPECTRA["slow"](300)
    apply = Recorder(sparse.diags(eigenvalues))
    estimates = [
        xtrace(apply, 300, rtol=rtol, n_products=16, max_products=256, random_state=0)
        for rtol in (0.5, 0.01)
    ]
    assert estimates[0].n_products == 16
    assert 16 < estimates[1].n_products <= 256
    assert estimates[1].standard_error <= 0.01 * estimates[1].value
    atol = 0.5 * eigenvalues.sum()
    loose = xtrace(apply, 300, rtol=0, atol=atol, max_products=256, random_state=0)
    assert loose.n_products == 32


@pytest.mark.parametrize("sign", [1, -1, 0], ids=["positive", "negative", "both"])
@pytest.mark.parametrize("rank", [0, 1, 5])
def test_low_rank_is_exact(rank, sign, global_random_seed):
    V = np.random.default_rng(global_random_seed).standard_normal((200, rank))
    signs = sign if sign != 0 else (-1) ** np.arange(rank)
    A = (V * signs) @ V.T
    options = {"n_products": 16, "max_products": 16, "rtol": 0.0, "atol": 1e-8}
    trace = xtrace(A.__matmul__, 200, random_state=global_random_seed, **options)
    assert trace.value == pytest.approx(np.trace(A), abs=1e-9)
    assert trace.n_products == 8 + rank
    diagonal = estimate_diagonal(A.__matmul__, 200, random_state=global_random_seed, **options)
    np.testing.assert_allclose(diagonal.value, A.diagonal(), atol=1e-10)


def test_only_some_vectors_are_found(global_random_seed):
    """Products that are zero for some vectors, which no matrix has, but rounding does."""

    def apply(B):
        return 1e-16 * B * (np.arange(B.shape[1]) % 3 > 0)

    estimate = fixed(xtrace, apply, 200, n_products=32, random_state=global_random_seed)
    assert abs(estimate.value) <= 200e-16


@pytest.mark.parametrize("n", [1, 2, 64])
def test_small_matrices_are_exact(n, global_random_seed):
    A = symmetric(np.linspace(-1, 2, n), global_random_seed)
    for max_products in (4, 1000):
        trace = xtrace(A.__matmul__, n, max_products=max_products, offset=2.5)
        assert trace == Estimate(trace.value, 0.0, n)
        assert trace.value == pytest.approx(np.trace(A) + 2.5, abs=1e-12)
        diagonal = estimate_diagonal(A.__matmul__, n, max_products=max_products, offset=2.5)
        np.testing.assert_allclose(diagonal.value, A.diagonal() + 2.5, atol=1e-14)
        np.testing.assert_array_equal(diagonal.standard_error, np.zeros(n))


def test_as_many_products_as_rows_are_exact(global_random_seed):
    A = symmetric(np.linspace(-1, 2, 100), global_random_seed)
    apply = Recorder(A)
    assert xtrace(apply, 100, max_products=100).value == pytest.approx(np.trace(A), abs=1e-12)
    assert apply.n_products == 100
    assert fixed(xtrace, apply, 100, n_products=99).standard_error > 0


@pytest.mark.parametrize("spectrum", ["flat", "slow", "geometric", "indefinite"])
def test_standard_error_of_the_trace_is_honest(spectrum, global_random_seed):
    """At most one of 100 is off by more than 4 standard errors; 12 of 200 are very unlikely."""
    # Normal vectors have no preferred basis, so this stands for all matrices of that spectrum.
    eigenvalues = SPECTRA[spectrum](200)
    ratios = []
    for seed in range(200):
        random_state = np.random.RandomState([global_random_seed, seed])
        estimate = fixed(
            xtrace, sparse.diags(eigenvalues).dot, 200, n_products=64, random_state=random_state
        )
        ratios.append((estimate.value - eigenvalues.sum()) / estimate.standard_error)
    assert np.sum(np.abs(ratios) > 4) <= 12
    # Nor far too large; and there is no bias.
    assert 0.8 <= np.sqrt(np.mean(np.square(ratios))) <= 3
    assert abs(np.mean(ratios)) <= 1


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_standard_errors_of_the_diagonal_are_honest(spectrum, global_random_seed):
    A = symmetric(SPECTRA[spectrum](300), global_random_seed)
    estimate = fixed(
        estimate_diagonal, A.__matmul__, 300, n_products=64, random_state=global_random_seed
    )
    error = np.linalg.norm(estimate.value - A.diagonal())
    assert 0.3 <= error / np.linalg.norm(estimate.standard_error) <= 3


def test_diagonal_of_a_decaying_matrix(global_random_seed):
    A = make_matrix("gaussian_2d_wide", 500, global_random_seed).dense
    options = {"rtol": 1e-3, "max_products": 400, "random_state": global_random_seed}
    estimate = estimate_diagonal(A.__matmul__, 500, **options)
    assert np.linalg.norm(estimate.value - 1) <= 5e-3 * np.sqrt(500)


def test_diagonal_of_low_rank_and_a_known_shift(global_random_seed):
    V = np.random.default_rng(global_random_seed).standard_normal((200, 5))
    options = {"offset": 7.0, "max_products": 16, "random_state": global_random_seed}
    estimate = estimate_diagonal(lambda B: V @ (V.T @ B), 200, rtol=1e-12, **options)
    np.testing.assert_allclose(estimate.value, 7.0 + np.sum(V**2, axis=1))
    # The accuracy is relative to the whole.
    tiny = sparse.diags(1e-4 * SPECTRA["flat"](200)).dot
    assert estimate_diagonal(tiny, 200, rtol=1e-3, **options).n_products == 16


@given(scale=st.floats(1e-30, 1e30), offset=st.floats(-10, 10))
@settings(max_examples=20, deadline=None)
def test_traces_are_linear(scale, offset):
    eigenvalues = SPECTRA["slow"](100)
    one, other = (
        fixed(xtrace, sparse.diags(values).dot, 100, n_products=24, offset=added, random_state=0)
        for values, added in ((eigenvalues, 0.0), (scale * eigenvalues, scale * offset))
    )
    assert other.value == pytest.approx(scale * (one.value + offset), rel=1e-8, abs=1e-10 * scale)
    assert other.standard_error == pytest.approx(scale * one.standard_error, rel=1e-6)


def test_single_precision_products(global_random_seed):
    A = make_matrix("exponential_3d", 200, global_random_seed).dense
    single = A.astype(np.float32)

    def apply(B):
        return single @ B.astype(np.float32)

    for function, expected in ((xtrace, 200.0), (estimate_diagonal, np.ones(200))):
        options = {"n_products": 64, "random_state": global_random_seed}
        ours = fixed(function, apply, 200, **options)
        exact = fixed(function, A.__matmul__, 200, **options)
        assert np.asarray(ours.value).dtype == np.float64
        np.testing.assert_allclose(ours.value, exact.value, rtol=1e-4)
        np.testing.assert_allclose(ours.value, expected, rtol=0.5)
    low_rank = np.random.default_rng(global_random_seed).standard_normal((200, 5))
    single = (low_rank @ low_rank.T).astype(np.float32)
    estimate = xtrace(apply, 200, n_products=16, max_products=16, random_state=0)
    assert estimate.value == pytest.approx(np.sum(low_rank**2), rel=1e-5)


@pytest.mark.parametrize("function", [xtrace, estimate_diagonal])
def test_same_random_state_same_estimate(function):
    apply = sparse.diags(SPECTRA["slow"](200)).dot
    first, second = (fixed(function, apply, 200, n_products=16, random_state=5) for _ in range(2))
    np.testing.assert_array_equal(first.value, second.value)
    np.testing.assert_array_equal(first.standard_error, second.standard_error)
    other = fixed(function, apply, 200, n_products=16, random_state=6)
    assert np.any(other.value != first.value)


@pytest.mark.parametrize(("function", "what"), [(xtrace, "trace"), (estimate_diagonal, "diagonal")])
def test_missed_accuracy_is_reported(function, what):
    apply = aslinearoperator(symmetric(np.linspace(1, 3, 200), 0))
    with pytest.warns(ConvergenceWarning) as record:
        estimate = function(apply, 200, rtol=1e-6, max_products=16, random_state=0)
    assert len(record) == 1
    assert record[0].filename == __file__
    relative = np.linalg.norm(estimate.standard_error) / np.linalg.norm(estimate.value)
    message = str(record[0].message)
    assert f"standard error of the {what} is {relative:.2e} relative" in message
    assert "after 16 products, but rtol=1e-06 was asked for" in message
    assert "Raise max_products (now 16)" in message


@pytest.mark.parametrize("function", [xtrace, estimate_diagonal])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n": 0}, "n must be an integer of at least 1, got 0"),
        ({"n": 2.5}, r"n must be .*, got 2\.5"),
        ({"rtol": -1}, "rtol must be a number of at least 0, got -1"),
        ({"rtol": np.nan}, "rtol must be .*, got nan"),
        ({"atol": np.inf}, "atol must be .*, got inf"),
        ({"atol": "small"}, "atol must be .*, got 'small'"),
        ({"max_products": 3}, "max_products must be an integer of at least 4, got 3"),
        ({"n_products": 3}, "n_products must be an integer from 4 to 80, got 3"),
        ({"n_products": 81}, "n_products must be .*, got 81"),
        (
            {"apply": lambda B: B[1:]},
            r"apply must be .* shape \(100, 16\) .*, got shape \(99, 16\)",
        ),
        ({"apply": lambda B: B * 1j}, "apply must be .* real numbers, got dtype complex128"),
        ({"apply": lambda B: B * np.nan}, "apply must be .* finite numbers, got NaN or infinity"),
    ],
)
def test_bad_parameters_of_estimates(function, changed, message):
    parameters = {"apply": lambda B: B, "n": 100, "max_products": 80, **changed}
    with pytest.raises(ValueError, match=message):
        function(**parameters)


def test_what_is_no_function():
    with pytest.raises(TypeError, match="apply must be a function, got a ndarray"):
        xtrace(np.eye(3), 3)
    for function in (xtrace, estimate_diagonal):
        with pytest.raises(ValueError, match="offset must be a finite number, got nan"):
            function(lambda B: B, 3, offset=np.nan)
