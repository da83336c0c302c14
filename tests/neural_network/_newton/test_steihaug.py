"""Conjugate gradients against dense solutions."""

import numpy as np
import pytest

from skhmat.neural_network._curvature.parameter_vector import ParameterVector
from skhmat.neural_network._newton.steihaug import steihaug

from ..networks import tf

N = 12


def matrix(rng, values):
    Q = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    return Q @ np.diag(values) @ Q.T


def solve(A, b, sizes=None, *, damping=0.0, unroll=False, **options):
    def product(v):
        return tf.linalg.matvec(A, v)

    def product_where(needed, v):
        return tf.where(needed, product(v), v)

    variables = [tf.Variable(tf.zeros(k, tf.float64)) for k in (sizes or [len(b)])]
    parameters = ParameterVector(variables, by_variable=sizes is not None)
    options = {
        "tolerance": tf.constant(1e-12, tf.float64),
        "max_steps": 60,
        "radius": 1e9,
    } | options
    options["radius"] = tf.constant(options["radius"], tf.float64)
    solution = steihaug(
        product,
        tf.constant(b),
        parameters,
        damping=lambda curvature: damping * tf.ones_like(curvature),
        product_where=product_where if unroll else None,
        **options,
    )
    return type(solution)(*(np.asarray(part) for part in solution))


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("damping", [0.0, 0.3])
def test_solution(damping, unroll, rng):
    A, b = matrix(rng, rng.uniform(0.5, 9, N)), rng.standard_normal(N)
    found = solve(A, b, damping=damping, unroll=unroll, max_steps=20)
    expected = np.linalg.solve(A + damping * np.eye(N), b)
    np.testing.assert_allclose(found.direction, expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(found.product, A @ expected, rtol=1e-8, atol=1e-10)
    assert found.damping == damping
    assert not found.negative
    assert found.n_products <= N + 2
    assert found.first_curvature == pytest.approx(b @ A @ b / (b @ b))
    assert found.curvature > 0.4


def test_it_stops_at_the_tolerance(rng):
    A, b = matrix(rng, np.geomspace(1, 1e4, N)), rng.standard_normal(N)
    counts = []
    for tolerance in (0.5, 0.1, 1e-3, 1e-8):
        found = solve(A, b, tolerance=tf.constant(tolerance, tf.float64))
        residual = np.linalg.norm(b - A @ found.direction) / np.linalg.norm(b)
        assert residual <= tolerance
        assert found.residual == pytest.approx(residual, rel=1e-3, abs=1e-12)
        counts.append(int(found.n_products))
    assert counts == sorted(counts)


def test_blocks_are_solved_on_their_own(rng):
    sizes = [3, 1, 5]
    A = np.zeros((9, 9))
    first = 0
    for size in sizes:
        rows = slice(first, first + size)
        A[rows, rows] = matrix(rng, rng.uniform(1, 50, size))
        first += size
    b = rng.standard_normal(9)
    b[3] = 0  # nothing to do there
    found = solve(A, b, sizes, damping=0.1)
    np.testing.assert_allclose(
        found.direction, np.linalg.solve(A + 0.1 * np.eye(9), b), rtol=1e-9, atol=1e-12
    )
    assert found.direction[3] == 0


@pytest.mark.parametrize("unroll", [False, True])
def test_negative_curvature_is_followed_to_the_boundary(unroll, rng):
    A = matrix(rng, np.r_[-2.0, rng.uniform(1, 4, N - 1)])
    b = rng.standard_normal(N)
    found = solve(A, b, radius=100.0, bounded=True, unroll=unroll)
    d = found.direction
    assert found.negative
    assert found.curvature < 0
    assert np.linalg.norm(d) == pytest.approx(100)
    assert b @ d > 0
    # Less than the Cauchy point, the best along b: that is Steihaug's theorem.
    model = lambda d: d @ A @ d / 2 - b @ d  # noqa: E731
    t = 100 / np.linalg.norm(b)
    if b @ A @ b > 0:
        t = min(t, (b @ b) / (b @ A @ b))
    assert model(d) <= model(t * b) + 1e-12


def test_trust_region(rng):
    A, b = matrix(rng, rng.uniform(0.5, 3, N)), rng.standard_normal(N)
    for radius in (0.01, 0.5, 1e6):
        found = solve(A, b, radius=radius, bounded=True)
        length = np.linalg.norm(found.direction)
        full = np.linalg.norm(np.linalg.solve(A, b))
        assert length == pytest.approx(min(radius, full), rel=1e-8)
    assert np.linalg.norm(solve(A, b, radius=0.01).direction) == pytest.approx(full)


def test_no_curvature_at_all(rng):
    b = rng.standard_normal(N)
    found = solve(np.zeros((N, N)), b, radius=2.0)
    np.testing.assert_allclose(found.direction, 2 * b / np.linalg.norm(b))
    assert found.negative


def test_singular_but_consistent(rng):
    A = matrix(rng, np.r_[np.zeros(4), rng.uniform(1, 4, N - 4)])
    b = A @ rng.standard_normal(N)
    found = solve(A, b, radius=1.0)
    np.testing.assert_allclose(found.direction, np.linalg.pinv(A) @ b, rtol=1e-6, atol=1e-9)
    assert not found.negative


def test_preconditioner_and_start(rng):
    scale = np.geomspace(1, 1e4, N)
    A = np.diag(scale) + 0.1 * matrix(rng, rng.uniform(0, 1, N))
    b = rng.standard_normal(N)
    plain = solve(A, b, tolerance=tf.constant(1e-8, tf.float64))
    better = solve(A, b, tolerance=tf.constant(1e-8, tf.float64), precondition=lambda r: r / scale)
    assert better.n_products < plain.n_products
    np.testing.assert_allclose(A @ better.direction, b, atol=1e-6)
    x = np.linalg.solve(A, b)
    warm = solve(
        A,
        b,
        start=tf.constant(x * (1 + 1e-9)),
        known_damping=tf.zeros([1], tf.float64),
        tolerance=tf.constant(1e-6, tf.float64),
    )
    assert warm.n_products == 1


def test_zero_right_hand_side(rng):
    found = solve(matrix(rng, rng.uniform(1, 2, N)), np.zeros(N))
    assert not found.direction.any()
    assert found.n_products == 0


def test_not_finite(rng):
    found = solve(np.full((N, N), np.nan), rng.standard_normal(N))
    assert not found.direction.any()


@pytest.mark.parametrize("unroll", [False, True])
def test_probes_move_only_along_negative_curvature(unroll, rng):
    b = rng.standard_normal(2 * N)
    flat, tiny, convex = np.zeros((N, N)), 1e-30 * np.eye(N), matrix(rng, rng.uniform(1, 9, N))
    indefinite = matrix(rng, np.r_[-2.0, rng.uniform(1, 9, N - 1)])
    nothing = np.zeros((N, N))
    for still in (flat, tiny, convex):
        A = np.block([[still, nothing], [nothing, indefinite]])
        found = solve(A, b, [N, N], unroll=unroll, radius=3.0, probing=True, max_steps=20)
        np.testing.assert_array_equal(found.direction[:N], 0)
        np.testing.assert_array_equal(found.product[:N], 0)
        assert found.negative
        assert np.linalg.norm(found.direction[N:]) > 2.999
        found = solve(still, b[:N], unroll=unroll, radius=3.0, probing=True, max_steps=20)
        np.testing.assert_array_equal(found.direction, 0)
        assert not found.negative
