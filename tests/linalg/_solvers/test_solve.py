import dataclasses
import pickle
import re
import warnings

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator
from sklearn.exceptions import ConvergenceWarning

from skhmat.linalg import KernelMatrix, compress
from skhmat.linalg._solvers.preconditioners import POLICY
from skhmat.linalg._solvers.solve import solve

from ..matrices import make_matrix, small
from .problems import FORMS, N, own_dense


def largest_residual(A, shift, x, b):
    A = A + np.diag(np.full(len(A), shift))
    missed = np.linalg.norm(A @ x - b, axis=0)
    return np.max(missed / np.linalg.norm(b, axis=0))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver": "cg"},
        {"solver": "minres"},
        {"preconditioner": None},
        {"preconditioner": "cholesky"},
        {"preconditioner": "hierarchical"},
    ],
    ids=lambda options: "-".join(map(str, options.values())) or "auto",
)
def test_solves_with_the_compressed_matrix(form, vector, options, K, rng):
    H = small(K, **FORMS[form])
    assert H.is_dense == (form == "dense")
    assert H.form.is_hss == (form == "hss")
    shift = 0.5 + vector * rng.random(N)
    B = rng.standard_normal((N, 3))
    x, info = H.solve(B, shift, return_info=True, random_state=0, **options)
    assert largest_residual(own_dense(H), shift, x, B) <= 1.1e-8
    assert (info.residuals <= 1e-8).all()
    assert info.residuals.shape == (3,)
    is_direct = form != "fmm" and not options
    assert info.solver == ("direct" if is_direct else options.get("solver", "cg"))
    assert (info.n_iterations == 0) == is_direct
    alone = H.solve(B[:, 0], shift, random_state=0, **options)
    np.testing.assert_allclose(alone, x[:, 0], atol=1e-5 * np.abs(x).max())


@pytest.mark.parametrize("part", [1e-6, 1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("rtol", [1e-1, 1e-2])
def test_solves_with_the_exact_matrix(part, rtol, K, rng):
    """However rough the preconditioner is, and however indefinite: the exact system is solved."""
    H = small(K, rtol=rtol, budget=0)
    assert not H.is_dense
    exact = K.toarray()
    shift = part * np.linalg.eigvalsh(exact)[-1]
    b = rng.standard_normal(N)
    x, info = H.solve(b, shift, operator=K, return_info=True)
    assert largest_residual(exact, shift, x, b) <= 1.1e-8
    without = H.solve(b, shift, operator=K, preconditioner=None, return_info=True)[1]
    assert info.n_iterations < without.n_iterations
    for other in (exact, LinearOperator((N, N), matvec=exact.__matmul__, dtype=float)):
        np.testing.assert_allclose(H.solve(b, shift, operator=other), x, atol=1e-5 * abs(x).max())


def test_indefinite_matrices(K, rng):
    H = small(K, rtol=1e-2, budget=0.2)
    eigenvalues = np.linalg.eigvalsh(own_dense(H))
    shift = -eigenvalues[-4:-2].mean()  # three eigenvalues are above, and none is close
    b = rng.standard_normal(N)
    with pytest.raises(np.linalg.LinAlgError, match=r"curvature.*Raise shift.*minres"):
        H.solve(b, shift)
    x = H.solve(b, shift, solver="minres")
    assert largest_residual(own_dense(H), shift, x, b) <= 1.1e-8
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        small(K, budget=0).solve(b, shift)


def test_singular(rng):
    """All points are the same one: a matrix of ones."""
    K = KernelMatrix(np.ones((200, 2)))
    H = compress(K, leaf_size=32, budget=0, random_state=0)
    with pytest.raises(np.linalg.LinAlgError, match="Raise shift"):
        H.solve(rng.standard_normal(200))
    np.testing.assert_allclose(H.solve(np.ones(200), 1.0), 1 / 201)


def test_a_miss_is_a_warning_with_the_residual(K, rng):
    H = small(K, budget=0)
    b = rng.standard_normal((N, 2))
    with pytest.warns(ConvergenceWarning) as caught:
        x, info = H.solve(b, 1e-3, operator=K, preconditioner=None, maxiter=5, return_info=True)
    assert info.n_iterations == 5
    message = str(caught[0].message)
    assert "2 of 2" in message
    assert "maxiter (now 5)" in message
    assert caught[0].filename == __file__
    found = float(re.search(r"residual (\S+) after", message)[1])
    assert found == pytest.approx(largest_residual(K.toarray(), 1e-3, x, b), rel=0.01)
    np.testing.assert_allclose(info.residuals.max(), found, rtol=0.01)


@pytest.mark.parametrize("form", FORMS)
def test_float32(form, rng):
    K = KernelMatrix(rng.standard_normal((N, 2)).astype(np.float32))
    H = small(K, **FORMS[form])
    b = rng.standard_normal(N).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = H.solve(b, 1.0)
    assert x.dtype == np.float32
    dense = own_dense(H).astype(np.float64)
    assert largest_residual(dense, 1.0, x.astype(np.float64), b) <= 3e-5
    assert H.solve(b.astype(np.float64), 1.0).dtype == np.float64
    with pytest.warns(ConvergenceWarning, match="float64"):
        H.solve(b, 1.0, solver="cg", rtol=1e-12)


def test_complex_integer_and_empty_right_hand_sides(K):
    H = small(K, budget=0)
    b = np.arange(N)
    np.testing.assert_allclose(H.solve(b, 1.0), H.solve(b.astype(float), 1.0))
    for solver in ("direct", "cg"):
        x = H.solve(b + 2j * b[::-1], 1.0, solver=solver)
        expected = H.solve(b, 1.0) + 2j * H.solve(b[::-1], 1.0)
        np.testing.assert_allclose(x, expected, rtol=1e-6)
        assert H.solve(np.empty((N, 0)), 1.0, solver=solver).shape == (N, 0)
        assert not H.solve(np.zeros(N), 1.0, solver=solver).any()


def test_any_array_like(K):
    H = small(K, budget=0)
    np.testing.assert_array_equal(H.solve([1.0] * N, 1.0), H.solve(np.ones(N), 1.0))


def test_large_dense_matrices_get_a_low_rank_preconditioner(K, rng):
    H = small(K, **FORMS["dense"])
    policy = dataclasses.replace(POLICY, max_dense=N - 1)
    b = rng.standard_normal(N)
    x, info = solve(H, b, 0.1, return_info=True, policy=policy)
    assert info.solver == "cg"
    without = solve(H, b, 0.1, preconditioner=None, return_info=True, policy=policy)[1]
    assert info.n_iterations < without.n_iterations
    assert largest_residual(K.toarray(), 0.1, x, b) <= 1.1e-8
    with pytest.raises(ValueError, match="does not compress"):
        solve(H, b, 0.1, preconditioner="hierarchical", policy=policy)


def test_a_matrix_without_its_entries(rng):
    dense = make_matrix("gaussian_2d_wide", 500, 0).dense
    H = pickle.loads(pickle.dumps(small(dense, budget=0.2)))
    b = rng.standard_normal(500)
    x = H.solve(b, 1.0)
    assert largest_residual(own_dense(H), 1.0, x, b) <= 1.1e-8
    with pytest.raises(ValueError, match="loaded without its entries"):
        H.solve(b, 1.0, preconditioner="hierarchical")


def test_a_preconditioner_of_ones_own(K):
    H = small(K, budget=0.2)
    M = LinearOperator((N, N), matvec=lambda x: x / 2, matmat=lambda X: X / 2, dtype=float)
    x = H.solve(np.ones(N), 1.0, preconditioner=M)
    assert largest_residual(own_dense(H), 1.0, x, np.ones(N)) <= 1.1e-8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shift": np.nan}, "shift must be a finite number or .*, got nan"),
        ({"shift": "1"}, "shift must be .*, got '1'"),
        ({"shift": np.ones(3)}, r"shift must be .*got shape \(3,\)"),
        ({"shift": np.full(N, np.inf)}, "shift must be finite, got NaN"),
        ({"rtol": 0}, r"rtol must be a number in \(0, 1\) or None, got 0"),
        ({"rtol": "small"}, "rtol must be .*, got 'small'"),
        ({"maxiter": 0}, "maxiter must be an integer of at least 1, got 0"),
        ({"solver": "lu"}, "solver must be .*'minres', got 'lu'"),
        ({"preconditioner": "ilu"}, "preconditioner must be .*'cholesky'.*, got 'ilu'"),
        (
            {"preconditioner": LinearOperator((3, 3), np.copy)},
            r"preconditioner must be .*, got shape \(3, 3\)",
        ),
        ({"preconditioner": "cholesky", "shift": 0.0}, "needs a shift"),
        ({"operator": np.ones((3, 3))}, r"operator must be .*, got shape \(3, 3\)"),
        ({"operator": np.ones((N, 3))}, r"operator must be .*, got shape"),
        ({"operator": np.full((N, N), np.nan)}, "operator must be finite, got NaN"),
        ({"operator": np.eye(N), "solver": "direct"}, "no operator"),
        ({"b": np.ones(3)}, r"b must be of shape \(600,\) or \(600, k\), got shape \(3,\)"),
        ({"b": np.ones((N, 1, 1))}, r"b must be .*, got shape"),
        ({"b": np.full(N, np.nan)}, "b must be finite, got NaN"),
        ({"b": ["x"] * N}, r"b must be (real|numeric), got dtype"),
    ],
)
def test_bad_input(options, message, K):
    H = small(K, budget=0)
    options = {"b": np.ones(N), "shift": 1.0, **options}
    with pytest.raises(ValueError, match=message):
        H.solve(**options)


def test_operator_of_another_kind(K):
    with pytest.raises(TypeError, match=r"operator must be an array, .*, got a str"):
        small(K, budget=0).solve(np.ones(N), 1.0, operator="K")


def test_what_the_user_holds_is_not_changed(K, rng):
    H = small(K, budget=0.2)
    b, shift = rng.standard_normal((N, 2)), rng.random(N) + 0.5
    before = b.copy(), shift.copy()
    H.solve(b, shift, operator=K)
    np.testing.assert_array_equal(b, before[0])
    np.testing.assert_array_equal(shift, before[1])


@pytest.mark.parametrize("solver", ["direct", "cg", "minres"])
def test_right_hand_sides_of_any_size(solver, rng):
    H = compress(
        KernelMatrix(rng.standard_normal((300, 2))), leaf_size=32, budget=0, random_state=0
    )
    x, b = H.solve(np.ones(300), 1.0, solver=solver), np.ones((300, 1)) * [1e-300, 1e200, 1e300]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, info = H.solve(b, 1.0, solver=solver, return_info=True)
    np.testing.assert_allclose(found / b, np.tile(x[:, None], 3), rtol=0, atol=1e-6)
    assert np.all((info.residuals > 0) & (info.residuals < 1e-8))
