"""Inference on Hessians against brute-force conditioning of Gaussians."""

import numpy as np
import pytest
from networks import tf

from skhmat.neural_network import _hessian_inference as inference
from skhmat.neural_network._hessian_inference import Prior, Sums

N = 6
EPSILON = np.finfo(float).eps


def matrix(rng, values):
    Q = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    return (Q * values) @ Q.T


def prior(mean=2.0, scale=1.5, noise=0.0):
    return Prior(*(tf.constant(value, tf.float64) for value in (mean, scale, noise)))


def dense(posterior):
    return np.array([inference.multiply(posterior, tf.constant(row)) for row in np.eye(N)])


def conditioned(prior, S, Y):
    """Return the mean of B, n^2 Gaussian numbers, given Y = S B + noise, made symmetric."""
    mean, scale, noise = map(float, prior)
    n = S.shape[1]
    A = np.kron(S, np.eye(n))  # of the rows of B, one after the other
    covariance = scale**2 * np.eye(n * n)
    noises = noise**2 * np.kron(np.diag(np.sum(S**2, axis=1)), np.eye(n))
    start = mean * np.eye(n)
    gain = covariance @ A.T @ np.linalg.pinv(A @ covariance @ A.T + noises)
    B = (start.ravel() + gain @ (Y.ravel() - A @ start.ravel())).reshape(n, n)
    return (B + B.T) / 2


@pytest.mark.parametrize("noise", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("m", [0, 1, 3, 6])
def test_posterior_mean(noise, m, rng):
    S, Y = rng.standard_normal((2, m, N)) * rng.uniform(0.1, 10, (m, 1))
    given = prior(noise=noise)
    found = dense(inference.posterior(given, tf.constant(S), tf.constant(Y)))
    np.testing.assert_allclose(
        found, conditioned(given, S, Y), atol=1e-10 * max(1, abs(found).max())
    )


def test_directions_that_add_nothing_are_dropped(rng):
    B = matrix(rng, [50.0, 20.0, 1.0, 1.0, 1.0, 1.0])
    S = rng.standard_normal((3, N))
    S = np.vstack([S, np.zeros(N), S[0] - 2 * S[1], S[2]])
    once = inference.posterior(prior(), tf.constant(S[:3]), tf.constant(S[:3] @ B))
    twice = inference.posterior(prior(), tf.constant(S), tf.constant(S @ B))
    np.testing.assert_allclose(dense(twice), dense(once), atol=1e-9)
    values, vectors = inference.ritz_pairs(twice)
    assert np.isinf(values[3:]).all()
    np.testing.assert_array_equal(vectors[3:], 0)
    np.testing.assert_allclose(values[:3], inference.ritz_pairs(once)[0], rtol=1e-9)
    Q = np.linalg.qr(S[:3].T)[0]
    np.testing.assert_allclose(values[:3], np.linalg.eigvalsh(Q.T @ B @ Q)[::-1], rtol=1e-9)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_solve(noise, rng):
    B = matrix(rng, rng.uniform(1, 9, N))
    S = rng.standard_normal((3, N))
    given = inference.posterior(prior(noise=noise), tf.constant(S), tf.constant(S @ B))
    x = rng.standard_normal(N)
    expected = np.linalg.solve(dense(given), x)
    scale = np.linalg.cond(dense(given))
    np.testing.assert_allclose(inference.solve(given, tf.constant(x)), expected, rtol=1e-11 * scale)


def summed(products, rng, n=6):
    sums, last = Sums(*(tf.constant(0.0, tf.float64),) * 5), (np.zeros(n), np.zeros(n))
    for H in products:
        v = rng.standard_normal(n)
        sums = inference.accumulate(sums, v, H @ v, *last)
        last = v, H @ v
    return sums


def test_prior(rng):
    H = matrix(rng, rng.uniform(1, 9, N))
    found = inference.prior(summed([H] * 10, np.random.default_rng(1)), N, EPSILON)
    V = np.random.default_rng(1).standard_normal((10, N))
    Y = V @ H
    a, b, c = np.sum(V * Y), np.sum(Y**2), np.sum(V**2)
    assert float(found.mean) == pytest.approx(b / a)
    assert float(found.scale) == pytest.approx(a / c / np.sqrt(N))
    assert float(found.noise) == 0
    negative = inference.prior(summed([-H] * 3, rng), N, EPSILON)
    assert float(negative.mean) < 0 < float(negative.scale)
    for count in (0, 1):
        few = inference.prior(summed([H] * count, rng), N, EPSILON)
        assert float(few.noise) == 0
        assert np.isfinite([float(part) for part in few]).all()


def test_noise_is_found(rng):
    n, noise = 40, 0.7
    H = matrix(rng, rng.uniform(1, 9, n))

    def noisy():
        E = rng.standard_normal((n, n))
        return H + noise * (E + E.T) / np.sqrt(2)

    found = inference.prior(summed([noisy() for _ in range(400)], rng, n), n, EPSILON)
    assert float(found.noise) == pytest.approx(noise, rel=0.3)


@pytest.mark.parametrize("exponent", [1.0, 0.5])
def test_preconditioner(exponent, rng):
    B = matrix(rng, [50.0, 20.0, 2.0, 1.0, 1.0, 1.0])
    values, vectors = np.linalg.eigh(B)
    values, vectors = values[::-1].copy(), vectors.T[::-1].copy()
    P = inference.preconditioner(tf.constant(values), tf.constant(vectors), 2.0, 2, exponent)
    mapped = np.array([inference.precondition(P, tf.constant(row)) for row in B])
    found = np.sort(np.linalg.eigvals(mapped).real)[::-1]
    expected = np.sort(np.r_[values[:2] * (2 / values[:2]) ** exponent, values[2:]])[::-1]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    # Nothing is stretched, and values that are not there are left alone.
    none = inference.preconditioner(
        tf.constant([1.0, -np.inf]), tf.zeros((2, N), tf.float64), 2.0, 2, exponent
    )
    np.testing.assert_array_equal(none.factors, 1)


def test_what_a_product_is_worth(rng):
    S = np.linalg.qr(rng.standard_normal((N, 3)))[0].T
    # Where there is some noise, a second product of the same direction is worth taking.
    for noise, known, unknown in ((0.0, False, True), (0.5, True, True), (100.0, False, False)):
        given = inference.posterior(prior(noise=noise), tf.constant(S[:2]), tf.constant(S[:2]))
        assert bool(inference.worth(given, tf.constant(S[0]))) is known
        assert bool(inference.worth(given, tf.constant(S[2]))) is unknown


@pytest.mark.parametrize("ratio", [10, 1, 0.1])
@pytest.mark.parametrize("kind", ["two large", "spread"])
def test_noisy_products_help_and_never_harm(ratio, kind, rng):
    n, m = 100, 6
    values = np.r_[1000.0, 500.0, np.ones(n - 2)] if kind == "two large" else np.linspace(1, 100, n)
    H = matrix(rng, values)
    noise = np.linalg.norm(values) / n / ratio
    slope = H @ rng.standard_normal(n)

    def product(v):
        E = rng.standard_normal((n, n))
        return (H + noise * (E + E.T) / np.sqrt(2)) @ v

    def gradient():
        return slope + np.linalg.norm(slope) / ratio * rng.standard_normal(n) / np.sqrt(n)

    sums, last = Sums(*(tf.constant(0.0, tf.float64),) * 5), (np.zeros(n), np.zeros(n))
    for _ in range(10):
        v = gradient()
        sums, last = inference.accumulate(sums, v, y := product(v), *last), (v, y)
    given = inference.prior(sums, n, EPSILON)
    (S, Y), errors = np.zeros((2, 0, n)), []
    for _ in range(m + 1):
        found = inference.posterior(given, tf.constant(S), tf.constant(Y))
        B = np.array([inference.multiply(found, tf.constant(row)) for row in np.eye(n)])
        errors.append(np.linalg.norm(B - H))
        s = inference.solve(found, tf.constant(gradient())).numpy()
        s /= np.linalg.norm(s)
        S, Y = np.vstack([S, s]), np.vstack([Y, product(s)])
    assert max(errors) <= errors[0] * (1 + 1e-9)
    assert errors[-1] <= errors[m // 2] * (1 + 1e-3)
