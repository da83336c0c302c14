"""Approximate inverses: which one is taken, and how good it is."""

import dataclasses
import pickle

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator

from skhmat.linalg import Factorization
from skhmat.linalg._solvers.preconditioners import (
    _ROUGH,
    POLICY,
    can_factorize,
    check_preconditioner_of_solve,
    definite_factorization,
    find_factorizable,
    make_preconditioner,
)

from ..matrices import small
from .problems import N, own_dense


def condition(A, M):
    """Condition number of M A, for positive definite matrices."""
    values = np.linalg.eigvals(M @ A).real
    return values.max() / values.min()


@pytest.mark.parametrize("form", ["hss", "fmm"])
@pytest.mark.parametrize("preconditioner", ["auto", "hierarchical", "cholesky"])
@pytest.mark.parametrize("vector", [False, True])
def test_preconditioned_systems_are_well_conditioned(vector, preconditioner, form, K, rng):
    H = small(K, budget=0 if form == "hss" else 0.2)
    shift = 5 + vector * rng.random(N)  # more than the error of a rough compression
    A = K.toarray() + np.diag(np.full(N, shift))
    M, raised = make_preconditioner(H, K, shift, preconditioner, random_state=0)
    assert raised == 0
    assert isinstance(M, Factorization) == (preconditioner != "cholesky")
    M = M @ np.eye(N)
    np.testing.assert_allclose(M, M.T, atol=1e-6 * np.abs(M).max())
    assert condition(A, M) < 2 < condition(A, np.eye(N))


def test_what_is_given_is_taken(K):
    H = small(K, budget=0)
    assert make_preconditioner(H, H, 1.0, None) == (None, 0.0)
    M = LinearOperator((N, N), matvec=np.copy, dtype=float)
    assert make_preconditioner(H, H, 1.0, M)[0] is M


def test_without_a_shift_there_is_no_low_rank_preconditioner(K):
    H = small(K, fallback="exact")
    assert H.is_dense
    policy = dataclasses.replace(POLICY, max_dense=N - 1)
    assert make_preconditioner(H, H, 0.0, "auto", policy=policy) == (None, 0.0)
    assert make_preconditioner(H, H, 0.1, "auto", policy=policy)[0] is not None


def test_an_indefinite_matrix_has_no_low_rank_preconditioner(rng):
    A = rng.standard_normal((200, 200))
    A += A.T
    np.fill_diagonal(A, 1.0)
    H = small(A)
    policy = dataclasses.replace(POLICY, max_dense=199)
    assert H.is_dense
    assert make_preconditioner(H, H, 1.0, "auto", policy=policy) == (None, 0.0)
    with pytest.raises(np.linalg.LinAlgError):
        make_preconditioner(H, H, 1.0, "cholesky", policy=policy)


@pytest.mark.parametrize("max_dense", [N - 1, N])
def test_what_can_be_factorized(max_dense, K):
    policy = dataclasses.replace(POLICY, max_dense=max_dense)
    hss, fmm, dense = small(K, budget=0), small(K, budget=0.2), small(K, fallback="exact")
    assert can_factorize(hss, policy)
    assert not can_factorize(fmm, policy)
    assert can_factorize(dense, policy) == (max_dense >= N)
    assert find_factorizable(hss, policy=policy) is hss
    assert find_factorizable(fmm, policy=policy).form.is_hss
    assert find_factorizable(dense, policy=policy) is (dense if max_dense >= N else None)


@pytest.mark.parametrize("given", ["auto", "hierarchical", "cholesky", None])
def test_names(given):
    assert check_preconditioner_of_solve(given, N, 1.0) is given


def test_the_preconditioner_is_raised_until_it_is_definite(K):
    H = small(K, rtol=1e-1, budget=0)
    smallest = np.linalg.eigvalsh(own_dense(H))[0]
    assert smallest < -1e-3
    F, raised = definite_factorization(H, 1e-5)
    assert raised > 0
    assert np.linalg.eigvalsh(own_dense(H))[0] + 1e-5 + raised > 0
    np.testing.assert_allclose(own_dense(H) @ (F @ np.ones(N)) + F.shift * (F @ np.ones(N)), 1)
    assert definite_factorization(H, 10.0)[1] == 0


def test_the_rough_form_is_made_once_and_not_pickled(K):
    H = small(K, budget=0.2)
    H.solve(np.ones(N), 1.0)
    rough = _ROUGH[H.form]
    H.solve(np.ones(N), 2.0)
    assert _ROUGH[H.form] is rough
    form = pickle.loads(pickle.dumps(H)).form
    assert form.recompress is not None
    assert form not in _ROUGH


@pytest.mark.parametrize(
    ("n", "rank"), [(1, 1), (300, 300), (2000, 500), (20_000, 2000), (100_000, 1000)]
)
def test_rank_of_the_low_rank_preconditioner(n, rank):
    assert POLICY.cholesky_rank(n) == rank
    assert POLICY.cholesky_rank(10**9) == 1
