import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from sklearn.exceptions import ConvergenceWarning

from skhmat.linalg import KernelMatrix
from skhmat.linalg._stochastic.logarithm import LogdetPolicy, estimate_logdet, log_apply
from skhmat.linalg._stochastic.trace import Estimate

from ..matrices import make_matrix, quietly, symmetric


def logarithm(A):
    values, vectors = np.linalg.eigh(A)
    return (vectors * np.log(values)) @ vectors.T


@pytest.mark.parametrize("condition", [1, 10, 1e3, 1e6])
@pytest.mark.parametrize("n", [1, 2, 5, 200])
def test_logarithm_of_any_condition(n, condition, global_random_seed):
    eigenvalues = np.geomspace(1, condition, n) / np.sqrt(condition)
    A = symmetric(eigenvalues, global_random_seed)
    B = np.random.default_rng(global_random_seed).standard_normal((n, 3))
    expected = logarithm(A) @ B
    error = np.linalg.norm(log_apply(A, B, rtol=1e-9) - expected)
    assert error <= 1e-8 * np.linalg.norm(expected) + 1e-13 * np.linalg.norm(B)


def test_logarithm_of_scipy(global_random_seed):
    A = make_matrix("covariance", 80, global_random_seed).dense
    expected = scipy.linalg.logm(A)
    np.testing.assert_allclose(log_apply(A, np.eye(80), rtol=1e-10), expected, atol=1e-8)


@pytest.mark.parametrize("rtol", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("condition", [10, 1e3, 1e5])
def test_accuracy_is_what_was_asked_for(condition, rtol, global_random_seed):
    eigenvalues = np.geomspace(1, condition, 200)
    A = symmetric(eigenvalues, global_random_seed)
    B = np.random.default_rng(global_random_seed).standard_normal((200, 4))
    expected = logarithm(A) @ B
    errors = np.linalg.norm(log_apply(A, B, rtol=rtol) - expected, axis=0)
    assert (errors <= 4 * rtol * np.linalg.norm(expected, axis=0)).all()


def test_products_are_shared_and_no_more_than_needed(global_random_seed):
    # Three distinct eigenvalues: three steps, whatever the accuracy.
    eigenvalues = np.repeat([1.0, 10.0, 100.0], [50, 30, 20])
    calls = []

    def matmat(X):
        calls.append(X.shape)
        return eigenvalues[:, None] * X

    operator = LinearOperator((100, 100), matvec=lambda x: eigenvalues * x, matmat=matmat)
    B = np.random.default_rng(global_random_seed).standard_normal((100, 6))
    B[:, 2] = 0
    B[50:, 4] = 0  # done after one step
    expected = np.log(eigenvalues)[:, None] * B
    np.testing.assert_allclose(log_apply(operator, B, rtol=1e-12), expected, atol=1e-10)
    # One is for the dtype of the operator.
    assert [shape for shape in calls if shape[1] > 1] == [(100, 5), (100, 4), (100, 4)]


def test_groups_of_columns(global_random_seed):
    A = symmetric(np.geomspace(1, 100, 150), global_random_seed)
    B = np.random.default_rng(global_random_seed).standard_normal((150, 7))
    together = log_apply(A, B)
    for width in (1, 2):
        policy = LogdetPolicy(basis_bytes=width * 8 * 150 * 150)
        np.testing.assert_allclose(log_apply(A, B, policy=policy), together, atol=1e-10)


def test_shapes_of_the_right_hand_side():
    A = np.diag(np.linspace(1, 5, 40))
    b = np.linspace(-1, 1, 40)
    expected = np.log(np.linspace(1, 5, 40)) * b
    np.testing.assert_allclose(log_apply(A, b, rtol=1e-10), expected, atol=1e-9)
    assert log_apply(A, b[:, None].tolist()).shape == (40, 1)
    assert log_apply(sparse.csr_array(A), np.ones((40, 0))).shape == (40, 0)
    np.testing.assert_array_equal(log_apply(A, np.zeros((40, 2))), np.zeros((40, 2)))
    np.testing.assert_allclose(log_apply(np.eye(40), b), np.zeros(40), atol=1e-15)
    np.testing.assert_allclose(
        log_apply(A.astype(int) + np.eye(40, dtype=int), 1 + 0 * b)[0], np.log(2)
    )


@given(scale=st.floats(1e-100, 1e100))
@settings(max_examples=30, deadline=None)
def test_scaled_logarithm(scale):
    A = symmetric(np.geomspace(1, 100, 60), 0)
    B = np.random.default_rng(0).standard_normal((60, 2))
    one, other = log_apply(A, B, rtol=1e-8), log_apply(scale * A, B, rtol=1e-8, scale=scale)
    np.testing.assert_allclose(other, one, atol=1e-6)
    shifted = log_apply(A, B, rtol=1e-8, scale=scale)
    np.testing.assert_allclose(
        shifted, one - np.log(scale) * B, atol=1e-6 * (1 + abs(np.log(scale)))
    )


@pytest.mark.parametrize("condition", [10, 1e3])
def test_logarithm_in_single_precision(condition, global_random_seed):
    A = symmetric(np.geomspace(1, condition, 200), global_random_seed)
    B = np.random.default_rng(global_random_seed).standard_normal((200, 3))
    seen = []

    def matmat(X):
        seen.append(X.dtype)
        return A.astype(np.float32) @ X

    operator = LinearOperator(A.shape, matvec=matmat, matmat=matmat, dtype=np.float32)
    ours = log_apply(operator, B, rtol=1e-4)
    assert set(seen) == {np.dtype(np.float32)}
    assert ours.dtype == np.float64
    expected = logarithm(A) @ B
    assert np.linalg.norm(ours - expected) <= (1e-4 + 1e-6 * condition) * np.linalg.norm(expected)


@pytest.mark.parametrize(
    "eigenvalues",
    [np.r_[-1.0, np.ones(99)], -np.ones(100), np.linspace(-0.1, 1, 100), np.zeros(100)],
    ids=["one", "all", "some", "zero"],
)
def test_indefinite_matrices(eigenvalues, global_random_seed):
    A = symmetric(eigenvalues, global_random_seed)
    b = np.random.default_rng(global_random_seed).standard_normal(100)
    message = (
        r"not positive definite .* Ritz value (-\d|0).*largest is .*Raise shift.* by more than"
    )
    with pytest.raises(np.linalg.LinAlgError, match=message):
        log_apply(A, b)
    with pytest.raises(np.linalg.LinAlgError, match=message):
        estimate_logdet(A, max_products=32, random_state=global_random_seed)
    with pytest.raises(np.linalg.LinAlgError, match=message.replace("Ritz value", "eigenvalue")):
        estimate_logdet(A)


def test_singular_to_working_precision(global_random_seed):
    A = symmetric(np.r_[np.zeros(50), np.ones(50)], global_random_seed)
    with pytest.raises(np.linalg.LinAlgError, match="to the precision of its products"):
        log_apply(A, np.ones(100))


def test_shift_of_the_message_is_enough():
    A = np.diag(np.linspace(-0.5, 1, 50))
    with pytest.raises(np.linalg.LinAlgError, match=r"more than 0\.5\.$"):
        estimate_logdet(A)
    estimate_logdet(A + 0.51 * np.eye(50))


def test_unfinished_logarithm_is_reported(global_random_seed):
    A = symmetric(np.geomspace(1e-6, 1, 200), global_random_seed)
    B = np.random.default_rng(global_random_seed).standard_normal((200, 3))
    B[:, 1] = 0
    with pytest.warns(ConvergenceWarning) as record:
        unfinished = log_apply(A, B, maxiter=10)
    assert len(record) == 1
    assert record[0].filename == __file__
    message = str(record[0].message)
    assert "log_apply: the Lanczos method still changed 2 of 3 columns" in message
    assert "after 10 steps" in message
    assert "Raise maxiter (now 10)" in message
    expected = logarithm(A) @ B
    assert np.linalg.norm(unfinished - expected) <= 0.5 * np.linalg.norm(expected)


def test_every_limit_of_steps_is_noticed(global_random_seed):
    """The last change counts several steps, whatever the limit is."""
    A = symmetric(np.geomspace(1e-4, 1, 150), global_random_seed)
    b = np.random.default_rng(global_random_seed).standard_normal(150)
    for maxiter in range(2, 30):
        with pytest.warns(ConvergenceWarning, match=rf"1 of 1 columns .* {maxiter} steps"):
            log_apply(A, b, rtol=1e-2, maxiter=maxiter)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"A": np.ones((3, 4))}, r"A must be square, .* got shape \(3, 4\)"),
        ({"A": np.full((3, 3), np.nan)}, "A must be finite, got NaN"),
        (
            {"A": aslinearoperator(np.full((3, 3), np.nan))},
            "A must be finite, got a product that is NaN",
        ),
        ({"A": np.eye(3) * 1j}, "A must be real, got dtype complex128"),
        ({"B": np.ones(4)}, r"B must be of shape \(3,\) or \(3, k\), got shape \(4,\)"),
        ({"B": np.ones(3) * 1j}, "B must be real, got dtype complex128"),
        ({"B": np.full(3, np.inf)}, "B must be finite, got NaN or infinity"),
        ({"rtol": -1e-3}, r"rtol must be a number of at least 0, got -0\.001"),
        ({"rtol": True}, "rtol must be .*, got True"),
        ({"maxiter": 0}, "maxiter must be an integer of at least 1, got 0"),
        ({"scale": 0}, "scale must be a number above 0, got 0"),
        ({"scale": np.inf}, "scale must be .*, got inf"),
    ],
)
def test_bad_parameters_of_the_logarithm(changed, message):
    with pytest.raises(ValueError, match=message):
        log_apply(**{"A": np.eye(3), "B": np.ones(3), **changed})


# ---- the determinant


@pytest.mark.parametrize("part", [1e-1, 3e-3])
@pytest.mark.parametrize(
    "name",
    [
        "gaussian_2d_wide",
        "gaussian_6d_narrow",
        "exponential_3d",
        "inverse_poisson_1d",
        "inverse_graph_laplacian",
        "covariance",
        "identity",
        "constant",
        "block_diagonal",
        "incompressible",
    ],
)
def test_determinants(name, part, global_random_seed):
    dense = make_matrix(name, 250, global_random_seed).dense
    A = dense + part * np.linalg.eigvalsh(dense)[-1] * np.eye(250)
    exact = np.linalg.slogdet(A)[1]
    options = {"n_products": 64, "max_products": 200, "random_state": global_random_seed}
    estimate = estimate_logdet(A, rtol=0.02, **options)
    wanted = 0.02 * max(abs(estimate.value), 250)
    assert estimate.standard_error <= 1.2 * wanted
    assert abs(estimate.value - exact) <= 6 * wanted
    assert estimate.n_products <= 200


@pytest.mark.parametrize("n", [1, 2, 30, 150])
def test_determinant_of_small_matrices_is_exact(n, global_random_seed):
    A = symmetric(np.geomspace(1e-3, 1e3, n), global_random_seed)
    estimate = estimate_logdet(A, max_products=150)
    assert estimate == Estimate(estimate.value, 0.0, n)
    assert estimate.value == pytest.approx(np.linalg.slogdet(A)[1], rel=1e-9, abs=1e-9 * n)


def test_standard_error_of_the_determinant_is_honest(global_random_seed):
    """As for the trace, plus the error of the Lanczos method."""
    A = sparse.diags(np.geomspace(1, 100, 100)).tocsr()
    exact = np.log(A.diagonal()).sum()
    ratios = []
    for seed in range(50):
        random_state = np.random.RandomState([global_random_seed, seed])
        options = {"n_products": 32, "max_products": 32, "rtol": 1e-2}
        estimate = quietly(estimate_logdet, A, random_state=random_state, **options)
        ratios.append((estimate.value - exact) / estimate.standard_error)
    assert np.sum(np.abs(ratios) > 4) <= 7
    assert 0.4 <= np.sqrt(np.mean(np.square(ratios))) <= 3


def test_few_products_for_low_rank_and_a_shift(global_random_seed):
    V = np.random.default_rng(global_random_seed).standard_normal((600, 8))
    A = 1e-3 * np.eye(600) + V @ V.T
    estimate = estimate_logdet(A, rtol=1e-4, random_state=global_random_seed)
    exact = 592 * np.log(1e-3) + np.log(1e-3 + np.linalg.eigvalsh(V.T @ V)).sum()
    assert estimate.n_products <= 32
    assert estimate.value == pytest.approx(exact, rel=1e-6)


def test_determinant_near_one_needs_no_relative_accuracy(global_random_seed):
    eigenvalues = np.geomspace(0.1, 10, 500)
    A = sparse.diags(eigenvalues)
    options = {"max_products": 128, "random_state": global_random_seed}
    estimate = estimate_logdet(A, rtol=0.02, **options)
    assert abs(estimate.value) <= 0.02 * 8 * 500
    accurate = quietly(estimate_logdet, A, rtol=1e-6, atol=1.0, **options)
    assert accurate.n_products > estimate.n_products


@given(
    n=st.integers(1, 12),
    scale=st.floats(1e-30, 1e30),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_scaling_shifts_the_determinant_of_small_matrices(n, scale, seed):
    A = symmetric(np.random.default_rng(seed).uniform(0.1, 10, n), seed)
    shift = n * np.log(scale)
    value = estimate_logdet(scale * A).value
    assert value == pytest.approx(estimate_logdet(A).value + shift, abs=1e-9 * (n + abs(shift)))


@given(scale=st.floats(1e-30, 1e30), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_scaling_shifts_the_determinant(scale, seed):
    A = sparse.diags(np.geomspace(0.1, 10, 100)).tocsr()
    # With one round, the accuracy, which depends on the scale, has no effect.
    options = {"n_products": 32, "max_products": 32, "atol": 1.0, "random_state": seed}
    one = quietly(estimate_logdet, A, **options)
    other = quietly(estimate_logdet, scale * A, **options)
    assert other.value == pytest.approx(one.value + 100 * np.log(scale), abs=1e-5)
    assert other.standard_error == pytest.approx(one.standard_error, rel=1e-4)


def test_determinant_in_single_precision(global_random_seed):
    A = make_matrix("exponential_3d", 200, global_random_seed).dense + np.eye(200)
    exact = np.linalg.slogdet(A)[1]
    options = {"n_products": 128, "max_products": 128, "random_state": global_random_seed}
    ours = estimate_logdet(A.astype(np.float32), **options)
    assert ours.value == pytest.approx(estimate_logdet(A, **options).value, abs=0.1)
    formed = estimate_logdet(A.astype(np.float32))
    assert formed.value == pytest.approx(exact, abs=1e-3)


def test_determinant_of_an_operator(global_random_seed):
    X = np.random.default_rng(global_random_seed).standard_normal((300, 2))
    K = KernelMatrix(X, bandwidth=0.5)
    options = {"n_products": 64, "max_products": 128, "random_state": global_random_seed}
    A = K + aslinearoperator(sparse.identity(300))
    estimate = estimate_logdet(A, **options)
    exact = np.linalg.slogdet(K.toarray() + np.eye(300))[1]
    assert abs(estimate.value - exact) <= 8e-2 * max(abs(exact), 300)
    again = estimate_logdet(A, **options)
    assert again == estimate


def test_missed_accuracy_of_the_determinant_is_reported(global_random_seed):
    A = symmetric(np.geomspace(1e-6, 1, 300), global_random_seed)
    options = {"max_products": 16, "rtol": 1e-3, "random_state": global_random_seed}
    with pytest.warns(ConvergenceWarning) as record:
        estimate = estimate_logdet(A, maxiter=20, **options)
    first, second = (str(warning.message) for warning in record)
    assert {warning.filename for warning in record} == {__file__}
    assert "standard error of the logarithm of the determinant" in first
    assert "Raise max_products (now 16)" in first
    assert "estimate_logdet: the Lanczos method still changed" in second
    assert "Raise maxiter (now 20)" in second
    assert "more than its standard error" in second
    assert estimate.n_products == 16


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"A": np.ones((3, 4))}, r"A must be square, .* got shape \(3, 4\)"),
        (
            {"A": aslinearoperator(np.full((100, 100), np.nan))},
            "A must be finite, got a product that is NaN",
        ),
        ({"rtol": -1}, "rtol must be a number of at least 0, got -1"),
        ({"atol": -1}, "atol must be .*, got -1"),
        ({"max_products": 0}, "max_products must be an integer of at least 4, got 0"),
        ({"n_products": 17}, "n_products must be an integer from 4 to 16, got 17"),
        ({"maxiter": 2.5}, r"maxiter must be .*, got 2\.5"),
        ({"random_state": "seed"}, "cannot be used to seed"),
    ],
)
def test_bad_parameters_of_the_determinant(changed, message):
    with pytest.raises(ValueError, match=message):
        estimate_logdet(**{"A": 2 * np.eye(100), "max_products": 16, **changed})


def test_what_is_no_matrix():
    with pytest.raises(TypeError, match=r"A must be an array, .*, got a NoneType"):
        estimate_logdet(None)
