"""Estimates of Hessians, made during training."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skhmat.neural_network import ProbabilisticPreconditioner
from skhmat.neural_network._preconditioner.inference import Preconditioner

from ..networks import keras, tf
from .problems import (
    Quadratic,
    eigenvectors,
    fit,
    net,
)


def test_observed_part_of_a_spectrum(rng):
    problem = Quadratic(np.linspace(1, 100, 200), rng)
    optimizer = ProbabilisticPreconditioner()
    step = problem.stepper(optimizer)
    for _ in range(16):
        step()
    U, H = eigenvectors(optimizer), problem.H.numpy()
    found = optimizer.get_log()["spectrum"][0][:2]
    np.testing.assert_allclose(np.diag(U @ H @ U.T), found, rtol=0.05)
    assert found[0] <= 100 * (1 + 1e-6)


@pytest.mark.parametrize("est_rank", [2, 4, 5])
def test_less_directions_than_eigenvalues_wanted(est_rank, rng):
    problem = Quadratic(np.r_[1000.0, np.ones(49)], rng)
    optimizer = ProbabilisticPreconditioner(est_rank=est_rank, restart=None)
    step = problem.stepper(optimizer)
    losses = [step() for _ in range(60)]
    assert losses[-1] < 1e-8 * losses[0]


def test_models_of_groups(rng):
    """What is made of products known, by NumPy."""
    sizes, m = [4, 6], 3
    variables = [keras.Variable(np.zeros(n), dtype="float64", name=f"v{n}") for n in sizes]
    optimizer = ProbabilisticPreconditioner(
        parameter_groups="per_variable", num_observations=m, prior_iterations=4, est_rank=1
    )
    optimizer.build(variables)
    estimate, n = optimizer._descent.estimate, sum(sizes)
    state = estimate.state
    S, Y = rng.standard_normal((2, m, n))
    images = rng.standard_normal((2, n))
    mean, scale, noise = rng.uniform(0.5, 2, (3, 2))
    estimate._set_prior(mean, scale, noise)
    state.directions.assign(S)
    state.products.assign(Y)
    state.images.assign(images)
    state.sums.assign([[2.0, 1.0, 1.0], [3.0, 1.0, 1.0]])
    made, expected = [], []
    for k, own in enumerate((slice(0, 4), slice(4, 10))):
        found = estimate._posterior(k)
        # Of each component: w is that of a row, and noise is of unit directions of all groups.
        given = mean[k], scale[k] / np.sqrt(sizes[k]), noise[k] * np.sqrt(2 / sizes[k])
        np.testing.assert_allclose(found.prior, given)
        u = rng.standard_normal((1, sizes[k]))
        u /= np.linalg.norm(u)
        made.append(Preconditioner(tf.constant(u), tf.constant([0.25], tf.float64)))
        P = np.eye(sizes[k]) - 0.75 * u.T @ u
        y = images[:, own]
        expected.append(np.sum(y @ P * y) / (2.0, 3.0)[k])
    np.testing.assert_allclose(estimate._curvature_along_gradients(made), expected)
    ritz = tf.constant([9.0, 2.0, 1.0], tf.float64)
    for error, rho in ((0.5, 2.0), (5.0, 5.0)):  # what is below the error may be noise
        assert float(estimate._find_rho(ritz, tf.constant(error, tf.float64), 7.0)) == rho


def test_pairs_of_products_count_as_one_image(rng):
    """Its square is that of both, where they agree."""
    problem = Quadratic(np.linspace(1, 9, 5), rng, noise=0.1)
    optimizer = ProbabilisticPreconditioner(prior_iterations=4, restart=None)
    step, products = problem.stepper(optimizer), []
    for _ in range(2):
        step()
        products.append(optimizer._descent.estimate.state.last_y.numpy())
    expected = (products[0] + products[1]) / np.sqrt(2)
    np.testing.assert_allclose(optimizer._descent.estimate.state.images.numpy()[0], expected)


def test_what_products_tell_is_of_the_gradients_that_had_one(rng):
    """Two of the products of the prior are not finite."""
    x = keras.Variable(np.zeros(3), dtype="float64")
    spoil = tf.Variable(1.0, dtype=tf.float64)
    slope = tf.Variable(np.zeros(3))
    optimizer = ProbabilisticPreconditioner(restart=None, prior_iterations=4, num_observations=2)

    @tf.custom_gradient
    def linear(z):
        @tf.custom_gradient
        def gradient(z):
            return z, lambda u: u * spoil

        return tf.reduce_sum(z**2) / 2, lambda u: u * gradient(z)

    squares = []
    for k in range(6):
        spoil.assign(np.nan if k in (1, 2) else 1.0)
        slope.assign(rng.standard_normal(3))
        squares.append(np.sum((x.numpy() - slope.numpy()) ** 2))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "ProbabilisticPreconditioner", ConvergenceWarning)
            optimizer.minimize(lambda: linear(x.value - slope), [x])
    assert optimizer.get_log()["not_finite"] == 2
    used = sum(square for k, square in enumerate(squares) if k not in (1, 2))
    assert optimizer._descent.estimate.state.squares.numpy() == pytest.approx(used)


def test_batches_without_gradient_tell_nothing(rng):
    """Samples have weight zero there: they are neither noise nor a batch that agrees."""
    seed, found = int(rng.integers(1000)), []
    for gaps in (0, 2):
        problem = Quadratic(np.linspace(1, 9, 12), np.random.default_rng(seed))
        weight = tf.Variable(1.0, dtype=tf.float64)
        optimizer = ProbabilisticPreconditioner(restart=None)
        for _ in range(16):
            for there in (1.0, *[0.0] * gaps):
                weight.assign(there)
                optimizer.minimize(lambda: weight * problem.loss(), [problem.x])  # noqa: B023
        found.append(problem.x.numpy())
    np.testing.assert_array_equal(*found)


def test_no_noise_where_batches_are_the_same(rng):
    options = {"update_while_estimating": False, "restart": None}
    model, X, y = net(int(rng.integers(1000)), ProbabilisticPreconditioner(**options))
    fit(model, X, y, batch_size=48, epochs=20)
    log = model.optimizer.get_log()
    assert log["noise"] == 0
    assert log["estimates"] == 1
