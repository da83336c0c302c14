"""Inference on Hessians against brute-force conditioning of Gaussians."""

import numpy as np
import pytest

from skhmat.neural_network._preconditioner import inference
from skhmat.neural_network._preconditioner.inference import InferencePolicy, Prior, Sums

from ..networks import tf

N = 6
EPSILON = np.finfo(float).eps


def matrix(rng, values):
    Q = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    return (Q * values) @ Q.T


def prior(mean=2.0, scale=1.5, noise=0.0):
    return Prior(*(tf.constant(value, tf.float64) for value in (mean, scale, noise)))


def dense(posterior):
    return np.array([inference.multiply(posterior, tf.constant(row)) for row in np.eye(N)])


def directions(m, rng):
    """Return rows of several lengths, far enough from dependent that 1e-10 can be asked for."""
    U, _, V = np.linalg.svd(rng.standard_normal((m, N)), full_matrices=False)
    return rng.uniform(0.3, 3, (m, 1)) * ((U * rng.uniform(0.1, 1, len(V))) @ V)


def conditioned(prior, S, Y):
    """Return the mean of B, n^2 Gaussian numbers, given Y = S B + noise, made symmetric."""
    mean, scale, noise = map(float, prior)
    n = S.shape[1]
    A = np.kron(S, np.eye(n))  # of the rows of B, one after the other
    covariance = scale**2 * np.eye(n * n)
    noises = noise**2 * np.kron(np.diag(np.sum(S**2, axis=1)), np.eye(n))
    start = mean * np.eye(n)
    gain = np.linalg.solve(A @ covariance @ A.T + noises, A @ covariance).T
    B = (start.ravel() + gain @ (Y.ravel() - A @ start.ravel())).reshape(n, n)
    return (B + B.T) / 2


@pytest.mark.parametrize("noise", [0.0, 0.3, 5.0])
@pytest.mark.parametrize("m", [0, 1, 3, 6])
def test_posterior_mean(noise, m, rng):
    S, Y = directions(m, rng), rng.standard_normal((m, N))
    given = prior(noise=noise)
    found = dense(inference.fit_posterior(given, tf.constant(S), tf.constant(Y)))
    np.testing.assert_allclose(
        found, conditioned(given, S, Y), atol=1e-10 * max(1, abs(found).max())
    )


def test_directions_that_add_nothing_are_dropped(rng):
    B = matrix(rng, [50.0, 20.0, 1.0, 1.0, 1.0, 1.0])
    S = rng.standard_normal((3, N))
    S = np.vstack([S, np.zeros(N), S[0] - 2 * S[1], S[2]])
    once = inference.fit_posterior(prior(), tf.constant(S[:3]), tf.constant(S[:3] @ B))
    twice = inference.fit_posterior(prior(), tf.constant(S), tf.constant(S @ B))
    np.testing.assert_allclose(dense(twice), dense(once), atol=1e-9)
    values, vectors, _ = inference.ritz_pairs(twice)
    assert np.isinf(values[3:]).all()
    np.testing.assert_array_equal(vectors[3:], 0)
    np.testing.assert_allclose(values[:3], inference.ritz_pairs(once)[0], rtol=1e-9)
    Q = np.linalg.qr(S[:3].T)[0]
    np.testing.assert_allclose(values[:3], np.linalg.eigvalsh(Q.T @ B @ Q)[::-1], rtol=1e-9)


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_solve(noise, unit, rng):
    B = unit * matrix(rng, rng.uniform(1, 9, N))
    S = rng.standard_normal((3, N))
    given = prior(2 * unit, 1.5 * unit, noise * unit)
    given = inference.fit_posterior(given, tf.constant(S), tf.constant(S @ B))
    x = rng.standard_normal(N)
    expected = np.linalg.solve(dense(given), x)
    error = 1e-11 * np.linalg.cond(dense(given)) * abs(expected).max()
    np.testing.assert_allclose(inference.solve(given, tf.constant(x)), expected, atol=error, rtol=0)


def test_ritz_pairs_have_the_unit_of_the_hessian(rng):
    B, S = matrix(rng, np.arange(1.0, N + 1)), np.vstack([rng.standard_normal((3, N)), np.zeros(N)])
    found = []
    for unit in (2.0**-60, 1.0, 2.0**60):
        given = prior(2 * unit, 1.5 * unit, 0.3 * unit)
        given = inference.fit_posterior(given, tf.constant(S), tf.constant(unit * S @ B))
        values, vectors, error = inference.ritz_pairs(given)
        found.append((values / unit, vectors, error / unit))
    for one in found[1:]:
        for part, other in zip(one, found[0], strict=True):
            np.testing.assert_allclose(part, other, rtol=1e-9, atol=1e-12)


def summed(products, rng, n=N):
    """Return the sums, and the mean spread, of pairs of products with random directions."""
    sums, spreads = Sums(*(tf.constant(0.0, tf.float64),) * 3), []
    for H, other in products:
        v = rng.standard_normal(n)
        for matrix_ in (H, other):
            sums = inference.accumulate(sums, v, matrix_ @ v)
        spreads.append(inference.noise_variance(v, H @ v, other @ v))
    return sums, np.mean(spreads) if spreads else tf.constant(0.0, tf.float64)


def test_prior(rng):
    H = matrix(rng, rng.uniform(1, 9, N))
    sums, spread = summed([(H, H)] * 5, np.random.default_rng(1))
    found = inference.fit_prior(sums, N, spread, EPSILON)
    V = np.random.default_rng(1).standard_normal((5, N))
    Y = V @ H
    a, b, c = np.sum(V * Y), np.sum(Y**2), np.sum(V**2)
    assert float(found.mean) == pytest.approx(b / a)
    assert float(found.scale) == pytest.approx(a / c / np.sqrt(N))
    assert float(found.noise) == 0
    sums, spread = summed([(-H, -H)] * 3, rng)
    negative = inference.fit_prior(sums, N, spread, EPSILON)
    assert float(negative.mean) < 0 < float(negative.scale)
    none = inference.fit_prior(*summed([], rng)[:1], N, tf.constant(0.0, tf.float64), EPSILON)
    assert [float(part) for part in none] == [0, 0, 0]


def test_rounding_is_no_noise(rng):
    H = matrix(rng, rng.uniform(1, 9, N))
    sums, _ = summed([(H, H)] * 5, rng)
    difference = 1e-14 * rng.standard_normal(N)
    spread = inference.noise_variance(np.ones(N), H @ np.ones(N), H @ np.ones(N) + difference)
    assert float(spread) > 0
    assert float(inference.fit_prior(sums, N, spread, EPSILON).noise) == 0


def test_noise_is_found(rng):
    n, noise = 40, 0.7
    H = matrix(rng, rng.uniform(1, 9, n))

    def noisy():
        E = rng.standard_normal((n, n))
        return H + noise * (E + E.T) / np.sqrt(2)

    sums, spread = summed([(noisy(), noisy()) for _ in range(200)], rng, n)
    found = inference.fit_prior(sums, n, spread, EPSILON)
    assert float(found.noise) == pytest.approx(noise, rel=0.1)


def test_error_of_ritz_values(rng):
    """Products with a symmetric matrix have none, and others what had to be made symmetric."""
    H = matrix(rng, rng.uniform(1, 9, N))
    S = np.linalg.qr(rng.standard_normal((N, 3)))[0].T
    A = rng.standard_normal((N, N))
    A -= A.T
    for Y, expected in ((S @ H, 0), (S @ (H + A), np.linalg.norm(S @ A @ S.T, 2))):
        posterior = inference.fit_posterior(prior(), tf.constant(S), tf.constant(Y))
        error = inference.ritz_pairs(posterior)[2]
        np.testing.assert_allclose(error, expected, rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_new_directions(noise, rng):
    # With eigenvalues that nearly agree, or hardly any gradient along one, directions run out.
    Q = np.linalg.qr(rng.standard_normal((N, N)))[0]
    B = (Q * (np.arange(N) + rng.uniform(1, 1.5, N))) @ Q.T
    g = tf.constant(Q @ (rng.choice([-1, 1], N) * rng.uniform(0.5, 2, N)))
    S = np.zeros((0, N))
    for _ in range(N):
        given = inference.fit_posterior(prior(noise=noise), tf.constant(S), tf.constant(S @ B))
        s = inference.next_direction(given, g).numpy()
        S = np.vstack([S, s])
        # In the span of the gradient and what products with it have shown.
        space = np.vstack([g, *(np.vstack([S[:-1], S[:-1] @ B]))])
        assert np.linalg.matrix_rank(np.vstack([space, s]), tol=1e-8) == np.linalg.matrix_rank(
            space, tol=1e-8
        )
    np.testing.assert_allclose(S @ S.T, np.eye(N), atol=1e-10)
    given = inference.fit_posterior(prior(noise=noise), tf.constant(S), tf.constant(S @ B))
    nothing = inference.next_direction(given, g)
    np.testing.assert_array_equal(nothing, 0)
    assert not bool(inference.is_worthwhile(given, nothing))


@pytest.mark.parametrize("exponent", [1.0, 0.5])
def test_preconditioner(exponent, rng):
    B = matrix(rng, [50.0, 20.0, 2.0, 1.0, 1.0, 1.0])
    values, vectors = np.linalg.eigh(B)
    values, vectors = values[::-1].copy(), vectors.T[::-1].copy()
    P = inference.make_preconditioner(tf.constant(values), tf.constant(vectors), 2.0, 2, exponent)
    mapped = np.array(
        [inference.apply_preconditioner([P.U], P.factors, [row])[0][0] for row in tf.constant(B)]
    )
    found = np.sort(np.linalg.eigvals(mapped).real)[::-1]
    expected = np.sort(np.r_[values[:2] * (2 / values[:2]) ** exponent, values[2:]])[::-1]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    # Nothing is stretched, and values that are not there are left alone.
    none = inference.make_preconditioner(
        tf.constant([1.0, -np.inf]), tf.zeros((2, N), tf.float64), 2.0, 2, exponent
    )
    np.testing.assert_array_equal(none.factors, 1)


def test_what_a_product_is_worth(rng):
    S = np.linalg.qr(rng.standard_normal((N, 3)))[0].T
    # Where there is some noise, a second product of the same direction is worth taking.
    for noise, known, unknown in ((0.0, False, True), (0.5, True, True), (100.0, False, False)):
        given = inference.fit_posterior(prior(noise=noise), tf.constant(S[:2]), tf.constant(S[:2]))
        assert bool(inference.is_worthwhile(given, tf.constant(S[0]))) is known
        assert bool(inference.is_worthwhile(given, tf.constant(S[2]))) is unknown


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

    sums, spreads = Sums(*(tf.constant(0.0, tf.float64),) * 3), []
    for _ in range(5):
        v = gradient()
        first, second = product(v), product(v)
        for y in (first, second):
            sums = inference.accumulate(sums, v, y)
        spreads.append(inference.noise_variance(v, first, second))
    given = inference.fit_prior(sums, n, np.mean(spreads), EPSILON)
    (S, Y), errors = np.zeros((2, 0, n)), []
    for _ in range(m + 1):
        found = inference.fit_posterior(given, tf.constant(S), tf.constant(Y))
        B = np.array([inference.multiply(found, tf.constant(row)) for row in np.eye(n)])
        errors.append(np.linalg.norm(B - H))
        s = inference.next_direction(found, tf.constant(gradient())).numpy()
        S, Y = np.vstack([S, s]), np.vstack([Y, product(s)])
    assert max(errors) <= errors[0] * (1 + 1e-9)
    assert errors[-1] <= errors[m // 2] * (1 + 1e-3)


@pytest.mark.parametrize(("worth", "expected"), [(0.01, True), (0.95, False)])
def test_worth_is_a_policy(worth, expected, rng):
    S = np.linalg.qr(rng.standard_normal((N, 3)))[0].T
    given = inference.fit_posterior(prior(noise=0.5), tf.constant(S[:2]), tf.constant(S[:2]))
    policy = InferencePolicy(worth=worth)
    # A new direction: all of the variance is there, and noise leaves some of it.
    unknown = S[2] / np.linalg.norm(S[2])
    assert bool(inference.is_worthwhile(given, tf.constant(unknown), policy)) is expected
