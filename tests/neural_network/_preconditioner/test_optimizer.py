"""The probabilistic preconditioner on quadratics, and on networks."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skhmat.neural_network import NewtonCG, ProbabilisticPreconditioner
from skhmat.neural_network._preconditioner.inference import Preconditioner
from skhmat.neural_network._preconditioner.learning_rates import LearningRates

from ..networks import keras, label, network, tf

TWO_LARGE = np.r_[1000.0, 500.0, np.ones(198)]
L = keras.layers


class Quadratic:
    """x' H x / 2 with the given eigenvalues, and Gaussian noise in H and in the gradient."""

    def __init__(self, values, rng, dtype="float64", noise=0.0):
        n = len(values)
        Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
        self.H = tf.Variable((Q * values) @ Q.T, dtype=dtype)
        self.x = keras.Variable(rng.standard_normal(n), dtype=dtype)
        self.noise = noise
        self._random = tf.random.Generator.from_seed(int(rng.integers(2**31)))

    def loss(self):
        """Return the loss of a new minibatch."""
        x, H = self.x.value, self.H
        loss = tf.tensordot(x, tf.linalg.matvec(H, x), 1) / 2
        if self.noise:
            E = self.noise * self._random.normal(H.shape, dtype=H.dtype)
            e = self.noise * self._random.normal(x.shape, dtype=H.dtype)
            loss += tf.tensordot(x, tf.linalg.matvec(E, x), 1) / 2 + tf.tensordot(e, x, 1)
        return loss

    def stepper(self, optimizer):
        """Return a function that takes a step and returns the loss before."""
        step = tf.function(lambda: optimizer.minimize(self.loss, [self.x]))
        return lambda: float(step())


def eigenvectors(optimizer):
    """Return those of the last estimate, as rows."""
    return np.concatenate([u.numpy() for u in optimizer._estimate.U], axis=1).astype(float)


def preconditioned(optimizer, H):
    """Return the eigenvalues of P H."""
    U = eigenvectors(optimizer)
    factors = optimizer._estimate._factors.numpy()[0]
    P = np.eye(len(H)) + (U.T * (factors - 1)) @ U
    return np.sort(np.linalg.eigvals(P @ np.asarray(H, float)).real)


def gradient_descent_steps(problem, reduction):
    """Return the steps that gradient descent takes at its best constant rate."""
    values, Q = np.linalg.eigh(problem.H.numpy())
    c = Q.T @ problem.x.numpy()
    first, rate, steps = np.sum(values * c**2), 2 / (values[0] + values[-1]), 0
    while np.sum(values * c**2) > reduction * first:
        c, steps = c * (1 - rate * values), steps + 1
    return steps


def net(seed, optimizer, **compile_options):
    """Return a small network, compiled, and its data: 48 samples of three classes."""
    rng = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([L.Input((6,)), L.Dense(8, "tanh"), L.Dense(3, "softmax")])
    options = {"jit_compile": False} | compile_options
    model.compile(optimizer, "sparse_categorical_crossentropy", **options)
    X = rng.standard_normal((48, 6)).astype("float32")
    return model, X, np.argmax(X[:, :3] + 0.3 * rng.standard_normal((48, 3)), axis=1)


def fit(model, X, y, **options):
    """Return the losses. Two samples are so few that much may be remarked on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "ProbabilisticPreconditioner", ConvergenceWarning)
        return model.fit(X, y, **({"verbose": 0, "batch_size": 2} | options)).history["loss"]


# ---- quadratics


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_large_eigenvalues(dtype, rng):
    problem = Quadratic(TWO_LARGE, rng, dtype)
    plain = gradient_descent_steps(problem, 1e-8)
    optimizer = ProbabilisticPreconditioner(restart=None)
    step = problem.stepper(optimizer)
    losses = [step() for _ in range(60)]
    values = preconditioned(optimizer, problem.H.numpy())
    assert values[-1] / values[0] <= 2
    steps = next(i for i, loss in enumerate(losses) if loss <= 1e-8 * losses[0])
    assert plain >= 50 * steps
    log = optimizer.get_log()
    assert log["noise"] == 0
    np.testing.assert_allclose(log["spectrum"][0][:2], [1000, 500], rtol=1e-3)
    # Five observations were promised at most; the fourth tells nothing and is not taken.
    assert len(log["spectrum"][0]) == 3


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


@pytest.mark.parametrize("unit", [2.0**-40, 64.0, 2.0**40])
def test_a_scaled_loss_has_the_same_path(unit, rng):
    seed = int(rng.integers(2**31))
    paths, rates = [], []
    for scale in (1.0, unit):
        problem = Quadratic(scale * np.linspace(1, 9, 12), np.random.default_rng(seed))
        optimizer = ProbabilisticPreconditioner(restart=20)
        step = problem.stepper(optimizer)
        path = []
        for _ in range(45):
            step()
            path.append(problem.x.numpy())
        paths.append(path)
        rates.append(optimizer.get_log()["learning_rate"][0])
    np.testing.assert_allclose(paths[1], paths[0], rtol=1e-6, atol=1e-12)
    assert rates[1] == pytest.approx(rates[0] / unit)


def test_products_longer_than_squares_can_be(rng):
    """Features have not been scaled: the gradient is 1e10 long, and its product 1e20."""
    keras.utils.set_random_seed(int(rng.integers(1000)))
    model = keras.Sequential([L.Input((6,)), L.Dense(1)])
    model.compile(ProbabilisticPreconditioner(), "mse", jit_compile=False)
    X = rng.standard_normal((208, 6)).astype("float32")
    losses = fit(model, 1e5 * X, X[:, 0], batch_size=8, epochs=8)
    assert losses[-1] < 1e-2 * losses[0]
    assert model.optimizer.get_log()["not_finite"] == 0


def test_curvature_beyond_all_numbers(rng):
    x = keras.Variable(rng.uniform(1, 2, 3), dtype="float32")
    before = x.numpy()
    optimizer = ProbabilisticPreconditioner()
    with pytest.warns(ConvergenceWarning, match="1 gradients or products were not finite"):
        optimizer.minimize(lambda: 1e20 * tf.reduce_sum((x.value - 0.9999 * before) ** 2), [x])
    np.testing.assert_array_equal(x.numpy(), before)


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
    assert optimizer._estimate._squares.numpy() == pytest.approx(used)


def test_a_noisy_quadratic_converges_to_its_noise(rng):
    problem = Quadratic(np.r_[50.0, 20.0, np.ones(28)], rng, noise=0.03)
    optimizer = ProbabilisticPreconditioner(restart=25)
    step = problem.stepper(optimizer)
    losses = [step() for _ in range(200)]
    assert optimizer.get_log()["noise"] > 0
    assert np.median(losses[-50:]) < 0.02 * losses[0]


def test_saddle(rng):
    """Negative curvature: the learning rate that was given stays, and a warning says so."""
    problem = Quadratic(-np.ones(5), rng)
    optimizer = ProbabilisticPreconditioner(keras.optimizers.SGD(0.02), restart=None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(12):
            optimizer.minimize(problem.loss, [problem.x])
    texts = [str(warning.message) for warning in caught]
    assert any("1 priors saw negative or no curvature" in text and "-1)" in text for text in texts)
    log = optimizer.get_log()
    assert log["learning_rate"] == pytest.approx(0.02)
    assert log["negative_curvature"] == 1


def test_no_curvature(rng):
    """As negative curvature: a linear loss."""
    x = keras.Variable(rng.standard_normal(3), dtype="float64")
    optimizer = ProbabilisticPreconditioner(keras.optimizers.SGD(0.02), restart=None)

    def step():
        optimizer.minimize(lambda: tf.reduce_sum(x.value) + 0 * tf.reduce_sum(x.value**2), [x])

    for _ in range(9):
        step()
    with pytest.warns(ConvergenceWarning, match=r"1 priors saw negative or no curvature"):
        step()
    assert optimizer.get_log()["learning_rate"] == pytest.approx(0.02)


def test_negative_curvature_beside_little(rng):
    """The last learning rate counts, not one over the little curvature that was found."""
    problem = Quadratic(np.r_[5.0, 3.0, np.full(3, 1e-3), np.full(10, -20.0)], rng)
    optimizer = ProbabilisticPreconditioner(keras.optimizers.SGD(0.01), restart=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(16):
            optimizer.minimize(problem.loss, [problem.x])
    log = optimizer.get_log()
    assert log["negative_curvature"] == 1
    assert log["learning_rate"] <= 0.01 * (1 + 1e-6)


@pytest.mark.parametrize("est_rank", [2, 4, 5])
def test_less_directions_than_eigenvalues_wanted(est_rank, rng):
    problem = Quadratic(np.r_[1000.0, np.ones(49)], rng)
    optimizer = ProbabilisticPreconditioner(est_rank=est_rank, restart=None)
    step = problem.stepper(optimizer)
    losses = [step() for _ in range(60)]
    assert losses[-1] < 1e-8 * losses[0]


# ---- settings


@pytest.mark.parametrize(
    "options",
    [
        {"est_rank": 0},
        {"num_observations": 0},
        {"prior_iterations": 0},
        {"prior_iterations": 1},
        {"prior_iterations": 0, "num_observations": 0},
        {"est_rank": 9},
        {"exponent": 0.5},
        {"exponent": 0.0},
        {"precondition": False},
        {"adapt_learning_rate": False},
        {"inner": "adam"},
        {"inner": keras.optimizers.SGD(0.01, momentum=0.9)},
        {"update_while_estimating": False},
        {"weight_decay": 1e-3},
        {"learning_rate": 0.05},
        {"parameter_groups": ["kernel"]},
        {"restart": "auto"},
        {"restart": 20},
        {"restart": None},
    ],
    ids=label,
)
def test_options(options, rng):
    model, X, y = net(int(rng.integers(1000)), ProbabilisticPreconditioner(**options))
    # Noise is not known where the prior does not tell: then batches have to agree.
    is_blind = options.get("prior_iterations") in (0, 1)
    length = {"batch_size": 24, "epochs": 36} if is_blind else {"epochs": 6}
    losses = fit(model, X, y, **length)
    assert losses[-1] < losses[0]
    optimizer = model.optimizer
    n_groups = 2 if "parameter_groups" in options else 1
    assert len(optimizer.get_log()["learning_rate"]) == n_groups
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    configs = [each.get_config() for each in (optimizer, again)]
    inners = [config.pop("inner")["config"] for config in configs]
    assert configs[0] == configs[1]
    assert all(inners[0][key] == inners[1][key] for key in inners[0] if key != "name")


def test_any_network(name, rng):
    optimizer = ProbabilisticPreconditioner(restart=20)
    model, X, y = network(name, rng, optimizer, jit_compile=False)
    losses = fit(model, X, y, batch_size=len(X), epochs=40)
    assert losses[-1] < losses[0]
    assert model.optimizer.get_log()["estimates"] == 2


@pytest.mark.parametrize("batch_size", [32, 128])
def test_digits_do_not_diverge(batch_size, rng):
    X, y = load_digits(return_X_y=True)
    keras.utils.set_random_seed(int(rng.integers(2**31)))
    hidden = [L.Dense(128, "relu"), L.Dense(64, "relu")]
    model = keras.Sequential([L.Input((64,)), *hidden, L.Dense(10, "softmax")])
    optimizer = ProbabilisticPreconditioner()
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    losses = fit(model, X / 16, y, batch_size=batch_size, epochs=10)
    assert max(losses) == losses[0]
    assert losses[-1] < 0.3
    assert int(optimizer.inner.iterations.numpy()) == 10 * int(np.ceil(len(X) / batch_size))


@pytest.mark.parametrize("momentum", [0.0, 0.75])
def test_momentum_has_less(momentum, rng):
    problem = Quadratic(np.ones(5), rng)
    optimizer = ProbabilisticPreconditioner(
        keras.optimizers.SGD(0.1, momentum=momentum), est_rank=0, restart=None
    )
    step = problem.stepper(optimizer)
    for _ in range(20):
        step()
    assert optimizer.get_log()["learning_rate"] == pytest.approx(1 - momentum)


def test_the_given_rate_is_not_divided_with_momentum(rng):
    problem = Quadratic(np.ones(5), rng)
    inner = keras.optimizers.SGD(0.01, momentum=0.9)
    optimizer = ProbabilisticPreconditioner(inner, learning_rate=0.05, restart=30)
    step = problem.stepper(optimizer)
    step()
    assert optimizer.get_log()["learning_rate"] == pytest.approx(0.05)


@pytest.mark.parametrize("kind", [keras.optimizers.Adam, keras.optimizers.Lamb])
def test_rates_of_adaptive_optimizers_are_left_alone(kind, rng):
    own = type("Own", (kind,), {})
    problem = Quadratic(np.ones(5), rng)
    optimizer = ProbabilisticPreconditioner(own(0.002), restart=None)
    with keras.saving.custom_object_scope({"Own": own}):
        step = problem.stepper(optimizer)
        for _ in range(20):
            step()
    assert optimizer.get_log()["learning_rate"] == pytest.approx(0.002)


def test_momentum_goes_over_into_the_new_preconditioner(rng):
    """Steps that have built up against a large eigenvalue do not drift when it is taken down."""
    problem = Quadratic(TWO_LARGE, rng)
    inner = keras.optimizers.SGD(0.003, momentum=0.9)
    optimizer = ProbabilisticPreconditioner(inner, adapt_learning_rate=False, restart=20)
    step = problem.stepper(optimizer)
    losses = [step() for _ in range(80)]
    assert max(losses[15:]) <= 2 * losses[0]


def test_rates_fall_where_losses_do_not(rng):
    """The loss rises, and its curvature does not tell."""
    x = keras.Variable(rng.uniform(1, 2, 3), dtype="float64")
    height = tf.Variable(0.0, dtype=tf.float64)
    optimizer = ProbabilisticPreconditioner(prior_iterations=2, num_observations=1, restart=4)
    rates = []
    for _ in range(24):
        height.assign_add(100.0)
        optimizer.minimize(lambda: tf.reduce_sum(x.value**2 * [0.5, 1.0, 4.0]) / 2 + height, [x])
        rates.append(optimizer.get_log()["learning_rate"][0])
    assert rates[-1] <= rates[3] / 8


@pytest.mark.parametrize("adapts", [True, False])
def test_steps_are_not_longer_than_those_that_were_seen(adapts, rng):
    start = rng.standard_normal(3)
    x = keras.Variable(start, dtype="float64")
    slope = tf.Variable(1.0, dtype=tf.float64)
    optimizer = ProbabilisticPreconditioner(
        prior_iterations=2,
        num_observations=0,
        restart=None,
        precondition=False,
        adapt_learning_rate=adapts,
    )

    def loss():
        return slope * tf.reduce_sum(x.value) + tf.reduce_sum((x.value - start) ** 2) / 200

    for _ in range(2):
        optimizer.minimize(loss, [x])
    rate = optimizer.get_log()["learning_rate"][0]
    slope.assign(1000.0)
    before = x.numpy()
    optimizer.minimize(loss, [x])
    assert optimizer.get_log()["shortened"] == (1 if adapts else 0)
    if not adapts:
        return
    assert np.linalg.norm(x.numpy() - before) <= 2.5 * rate * np.sqrt(3)


def test_half_the_exponent_leaves_room_for_what_is_left(rng):
    problem = Quadratic(TWO_LARGE, rng)
    optimizer = ProbabilisticPreconditioner(exponent=0.5, restart=None)
    step = problem.stepper(optimizer)
    losses = [step() for _ in range(300)]
    assert losses[-1] < 1e-3 * losses[0]
    largest = preconditioned(optimizer, problem.H.numpy())[-1]
    assert optimizer.get_log()["learning_rate"] == pytest.approx(1.5 / largest, rel=1e-3)
    assert largest == pytest.approx(np.sqrt(1000), rel=1e-3)


def test_variants(rng):
    seed = int(rng.integers(1000))

    def rates(**options):
        model, X, y = net(seed, ProbabilisticPreconditioner(restart=None, **options))
        fit(model, X, y, epochs=20, batch_size=48)  # of all samples: gradients are no noise
        return model.optimizer, model.optimizer.get_log()

    _, adaptive = rates(precondition=False)
    optimizer, only = rates(precondition=False, num_observations=0)
    for log in (adaptive, only):
        assert log["learning_rate"] == pytest.approx(1 / log["curvature"], rel=1e-6)
    assert not hasattr(optimizer._estimate, "_S")  # nothing is built that is not applied
    tuned, log = rates(adapt_learning_rate=False, inner=keras.optimizers.SGD(0.07))
    assert log["learning_rate"] == pytest.approx(0.07)
    assert len(tuned.get_log()["spectrum"][0]) > 0
    assert rates(inner="adam")[1]["learning_rate"] == pytest.approx(1e-3)


def test_the_given_learning_rate_is_that_of_the_first_epoch(rng):
    optimizer = ProbabilisticPreconditioner(learning_rate=1e-4)
    model, X, y = net(int(rng.integers(1000)), optimizer)
    fit(model, X, y, epochs=1)
    assert optimizer.get_log()["learning_rate"] == pytest.approx(1e-4)
    assert optimizer.get_log()["estimates"] == 1
    fit(model, X, y, epochs=1)
    assert optimizer.get_log()["learning_rate"] != pytest.approx(1e-4)
    assert optimizer.get_config()["learning_rate"] == 1e-4


@pytest.mark.parametrize("restart", [None, "auto"])
def test_the_given_learning_rate_ends_where_no_epoch_does(restart, rng):
    optimizer = ProbabilisticPreconditioner(learning_rate=1e-4, restart=restart)
    model, X, y = net(int(rng.integers(1000)), optimizer)
    fit(model, X[:20], y[:20])
    assert optimizer.get_log()["learning_rate"] == pytest.approx(1e-4)
    fit(model, X, y)
    assert optimizer.get_log()["learning_rate"] > 2e-4


def test_the_given_learning_rate_in_a_loop(rng):
    problem = Quadratic(np.linspace(1, 9, 12), rng)
    optimizer = ProbabilisticPreconditioner(learning_rate=1e-4)
    step = problem.stepper(optimizer)
    for _ in range(20):
        step()
    assert optimizer.get_log()["learning_rate"] == pytest.approx(3e-4)


def test_a_learning_rate_that_is_set_is_used_until_another_is_learned(rng):
    optimizer = ProbabilisticPreconditioner(restart=20)
    problem = Quadratic(np.linspace(1, 9, 12), rng)
    step = problem.stepper(optimizer)
    for _ in range(17):
        step()
    optimizer.learning_rate = 0.0
    before = problem.x.numpy()
    step()
    np.testing.assert_array_equal(problem.x.numpy(), before)
    optimizer.learning_rate = 1e-3
    step()
    assert optimizer.get_log()["learning_rate"] == pytest.approx(1e-3)
    for _ in range(20):
        step()
    assert optimizer.get_log()["learning_rate"] == pytest.approx(3e-3)


def test_rates_of_keras_callbacks(rng):
    optimizer = ProbabilisticPreconditioner(restart=None)
    model, X, y = net(int(rng.integers(1000)), optimizer)
    fit(model, X, y)
    learned = optimizer.get_log()["learning_rate"]
    fall = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    fit(model, X, y, epochs=3, callbacks=[fall])
    np.testing.assert_allclose(optimizer.get_log()["learning_rate"], learned / 8, rtol=1e-6)


def test_rates_rise_threefold_from_the_given_one(rng):
    """Although losses are noisy, and steps too small to change them."""
    problem = Quadratic(np.linspace(1, 2, 5), rng)
    noise = tf.Variable(0.0, dtype=tf.float64)
    noises = rng.uniform(size=16)  # in each estimate the same, but for a little that is left
    optimizer = ProbabilisticPreconditioner(learning_rate=1e-6, restart=16)
    rates = []
    for k in range(64):
        noise.assign(noises[k % 16] + 0.01 * rng.uniform())
        optimizer.minimize(lambda: problem.loss() + noise.value(), [problem.x])
        rates.append(optimizer.get_log()["learning_rate"][0])
    first_of_estimates = [rates[k] for k in (0, 16, 32, 48)]
    np.testing.assert_allclose(first_of_estimates, [1e-6, 3e-6, 9e-6, 2.7e-5], rtol=1e-6)


@pytest.mark.parametrize(("distance", "part"), [(0, 0.05), (1e3, 1)])
def test_the_first_rate_is_small_where_gradients_are_noise(distance, part, rng):
    problem = Quadratic(np.linspace(1, 10, 40), rng, noise=0.3)
    problem.x.assign(distance * rng.standard_normal(40))
    optimizer = ProbabilisticPreconditioner(restart=None)
    step = problem.stepper(optimizer)
    for _ in range(15):
        step()
    log = optimizer.get_log()
    curvature = np.maximum(log["level"], log["curvature"])
    assert log["learning_rate"] == pytest.approx(part * 1.5 / curvature)


def test_rates_do_not_follow_rising_curvature():
    """As long as that is at most 2.5 times as large."""

    def add(name, shape=(), dtype="float64", initializer="zeros"):
        return keras.Variable(initializer, shape=shape, dtype=dtype, name=name)

    rates = LearningRates(add, 1, 0.1, is_given=False, is_preconditioned=True, adapts=True)
    found = []
    for level in (1.0, 2.0, 2.4, 5.0, 0.1):
        level = tf.constant([level], tf.float64)
        rates.learn(level, level, tf.ones_like(level), is_first=not found)
        found.append(float(rates.value[0]))
    np.testing.assert_allclose(found, [1.5, 1.5, 1.5, 0.75, 15])


def test_rates_come_down_to_what_noise_allows(rng):
    """The curvature is 1, whatever the batch."""
    x = keras.Variable(rng.standard_normal(20), dtype="float64")
    centre = tf.Variable(np.zeros(20))
    optimizer = ProbabilisticPreconditioner(restart=18)

    def loss():
        return tf.reduce_sum((x.value - centre) ** 2) / 2

    step = tf.function(lambda: optimizer.minimize(loss, [x]))
    rates = []
    for _ in range(60 * 18):
        centre.assign(rng.standard_normal(20))
        step()
        rates.append(optimizer.get_log()["learning_rate"][0])
    assert rates[16] == pytest.approx(1.5)
    assert max(rates[-50:]) < 0.5


def test_no_noise_where_batches_are_the_same(rng):
    options = {"update_while_estimating": False, "restart": None}
    model, X, y = net(int(rng.integers(1000)), ProbabilisticPreconditioner(**options))
    fit(model, X, y, batch_size=48, epochs=20)
    log = model.optimizer.get_log()
    assert log["noise"] == 0
    assert log["estimates"] == 1


def test_updates_that_were_promised(rng):
    seed = int(rng.integers(1000))
    for updating in (True, False):
        optimizer = ProbabilisticPreconditioner(update_while_estimating=updating)
        model, X, y = net(seed, optimizer)
        before = [w.copy() for w in model.get_weights()]
        fit(model, X[:8], y[:8], epochs=1)
        moved = [np.any(w != v) for w, v in zip(before, model.get_weights(), strict=True)]
        assert all(moved) is updating
        assert any(moved) is updating
        fit(model, X, y, epochs=1)
        # An estimate takes 15 steps at most, and is there for the update of the last.
        assert optimizer.inner.iterations >= (28 if updating else 28 - 14)
        assert optimizer.iterations == 28


def test_parameter_groups(rng):
    seed = int(rng.integers(1000))
    optimizer = ProbabilisticPreconditioner(parameter_groups=["dense.*/kernel", "nothing"])
    model, X, y = net(seed, optimizer)
    with pytest.raises(ValueError, match=r"parameter_groups: 'nothing' matches none"):
        fit(model, X, y)
    optimizer = ProbabilisticPreconditioner(parameter_groups=["bias", "kernel"])
    model, X, y = net(seed, optimizer)
    assert np.isfinite(fit(model, X, y, epochs=6)).all()
    rates = optimizer.get_log()["learning_rate"]
    assert rates.shape == (2,)
    assert rates[0] != rates[1]


def test_models_of_groups(rng):
    """What is made of products known, by NumPy."""
    sizes, m = [4, 6], 3
    variables = [keras.Variable(np.zeros(n), dtype="float64", name=f"v{n}") for n in sizes]
    optimizer = ProbabilisticPreconditioner(
        parameter_groups="per_variable", num_observations=m, prior_iterations=4, est_rank=1
    )
    optimizer.build(variables)
    estimate, n = optimizer._estimate, sum(sizes)
    S, Y = rng.standard_normal((2, m, n))
    images = rng.standard_normal((2, n))
    mean, scale, noise = rng.uniform(0.5, 2, (3, 2))
    estimate._set_prior(mean, scale, noise)
    for state, rows in ((estimate._S, S), (estimate._Y, Y), (estimate._images, images)):
        state.assign(rows)
    estimate._sums.assign([[2.0, 1.0, 1.0], [3.0, 1.0, 1.0]])
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
    np.testing.assert_allclose(estimate._along_gradients(made), expected)
    ritz = tf.constant([9.0, 2.0, 1.0], tf.float64)
    for error, level in ((0.5, 2.0), (5.0, 5.0)):  # what is below the error may be noise
        assert float(estimate._level_of(ritz, tf.constant(error, tf.float64), 7.0)) == level


def test_pairs_of_products_count_as_one_image(rng):
    """Its square is that of both, where they agree."""
    problem = Quadratic(np.linspace(1, 9, 5), rng, noise=0.1)
    optimizer = ProbabilisticPreconditioner(prior_iterations=4, restart=None)
    step, products = problem.stepper(optimizer), []
    for _ in range(2):
        step()
        products.append(optimizer._estimate._last_y.numpy())
    expected = (products[0] + products[1]) / np.sqrt(2)
    np.testing.assert_allclose(optimizer._estimate._images.numpy()[0], expected)


def test_a_group_for_each_variable(rng):
    optimizer = ProbabilisticPreconditioner(parameter_groups="per_variable")
    model, X, y = net(int(rng.integers(1000)), optimizer)
    losses = fit(model, X, y, epochs=6)
    assert losses[-1] < losses[0]
    assert len(set(optimizer.get_log()["learning_rate"])) == len(model.trainable_variables)
    assert ProbabilisticPreconditioner.from_config(optimizer.get_config()).parameter_groups == (
        "per_variable"
    )


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", ["var_list", "var_names"])
def test_excluded_from_weight_decay(when, how):
    """Gradients are 0, so only decay moves weights: those of both groups that are not left out."""
    variables = [keras.Variable(np.ones(2), name=name) for name in ("a", "b", "c", "d")]
    optimizer = ProbabilisticPreconditioner(
        weight_decay=0.1, parameter_groups=["a|b"], adapt_learning_rate=False
    )
    if when == "after":
        optimizer.build(variables)
    excluded = {"var_list": variables[::2], "var_names": ["a", "c"]}
    optimizer.exclude_from_weight_decay(**{how: excluded[how]})

    def loss():
        return 0 * tf.add_n([tf.reduce_sum(v.value**2) for v in variables])

    for _ in range(3):
        optimizer.minimize(loss, variables)
    moved = [bool(np.any(v.numpy() != 1)) for v in variables]
    assert moved == [False, True, False, True]


def test_weights_of_the_model_are_no_state(rng, tmp_path):
    model, X, y = net(int(rng.integers(1000)), ProbabilisticPreconditioner(weight_decay=0.01))
    model.optimizer.exclude_from_weight_decay(var_list=[model.layers[0].bias])
    fit(model, X, y)
    weights = {id(v) for v in model.variables}
    assert not any(id(v) in weights for v in model.optimizer.variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


class Unregistered(keras.optimizers.SGD):
    """Keras does not know its name."""


def test_groups_of_an_optimizer_that_is_not_registered(rng):
    optimizer = ProbabilisticPreconditioner(Unregistered(0.1), parameter_groups=["bias"])
    model, X, y = net(int(rng.integers(1000)), optimizer)
    losses = fit(model, X, y, epochs=4)
    assert losses[-1] < losses[0]
    assert [type(inner) for inner in optimizer._inners] == [Unregistered] * 2


def test_variables_of_one_element_and_without_gradient(rng):
    x, y, z = (keras.Variable(value) for value in (2.0, [1.0, -1.0], [3.0]))
    optimizer = ProbabilisticPreconditioner(restart=None)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = 4 * x.value**2 + tf.reduce_sum(y.value**2)
        variables = [x, y, z]
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Gradients do not exist")
        for _ in range(40):
            loss = step()
    assert float(loss) < 1e-8
    assert z.numpy() == 3.0


# ---- when estimates are made


def test_restart(rng):
    seed = int(rng.integers(1000))

    def estimates(**options):
        model, X, y = net(seed, ProbabilisticPreconditioner(**options))
        fit(model, X, y, epochs=4)  # of 24 steps
        return int(model.optimizer._estimate.started.numpy())

    assert estimates() == 4
    assert estimates(restart=None) == 1
    assert estimates(restart=32) == 3
    optimizer = ProbabilisticPreconditioner(restart=None)
    model, X, y = net(seed, optimizer)
    optimizer.start_estimate()
    fit(model, X, y, epochs=1)
    optimizer.start_estimate()
    fit(model, X, y, epochs=1)
    assert optimizer.get_log()["estimates"] == 2


def test_epochs_shorter_than_an_estimate(rng):
    model, X, y = net(int(rng.integers(1000)), ProbabilisticPreconditioner())
    with pytest.warns(ConvergenceWarning, match="2 epochs ended before the estimate of 15 steps"):
        model.fit(X, y, batch_size=8, epochs=3, verbose=0)
    log = model.optimizer.get_log()
    assert (log["estimates"], log["carried_over"], log["phase"]) == (1, 2, "idle")


def test_epochs_of_several_fits(rng):
    """However many samples there are, each begins one."""
    model, X, y = net(int(rng.integers(1000)), ProbabilisticPreconditioner())
    fit(model, X[:30], y[:30], batch_size=1)
    fit(model, X, y, batch_size=40)
    assert int(model.optimizer._estimate.started.numpy()) == 2


def test_a_train_step_with_losses_of_its_own(rng):
    class Own(keras.Sequential):
        def train_step(self, data):
            X, y = data
            with tf.GradientTape() as tape:
                loss = keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y, self(X)))
            weights = self.trainable_variables
            self.optimizer.apply(tape.gradient(loss, weights), weights)
            return {"loss": loss}

    model = Own(net(int(rng.integers(1000)), "sgd")[0].layers)
    model.compile(ProbabilisticPreconditioner(), jit_compile=False)
    _, X, y = net(0, "sgd")
    with pytest.warns(ConvergenceWarning, match="24 steps belong to no epoch that can be seen"):
        model.fit(X, y, batch_size=2, verbose=0)


def test_batches_without_epochs(rng):
    optimizer = ProbabilisticPreconditioner()
    model, X, y = net(int(rng.integers(1000)), optimizer)
    with pytest.warns(ConvergenceWarning, match="restart='epoch' sees epochs of model.fit only"):
        model.train_on_batch(X[:2], y[:2])
    for k in range(2, 48, 2):
        model.train_on_batch(X[k : k + 2], y[k : k + 2])
    assert int(optimizer._estimate.started.numpy()) == 1


def test_trouble_in_a_loop_is_told_by_the_log(rng):
    x = keras.Variable(rng.uniform(1, 2, 3), dtype="float64")
    optimizer = ProbabilisticPreconditioner()
    step = tf.function(lambda: optimizer.minimize(lambda: -tf.reduce_sum(x.value**2), [x]))
    for _ in range(16):
        step()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer.get_log()
    assert any("1 priors saw negative or no curvature" in str(w.message) for w in caught)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        optimizer.get_log()


def test_samples_of_half_precision(rng):
    """They are cast before anything is computed."""
    model, X, y = net(int(rng.integers(1000)), ProbabilisticPreconditioner())
    data = tf.data.Dataset.from_tensor_slices((X.astype("float16"), y)).batch(2)
    assert np.isfinite(model.fit(data, verbose=0).history["loss"]).all()


def test_epochs_that_cannot_be_seen(rng):
    problem = Quadratic(np.ones(3), rng)
    optimizer = ProbabilisticPreconditioner()

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = problem.loss()
        optimizer.apply(tape.gradient(loss, [problem.x.value]), [problem.x])

    with pytest.warns(ConvergenceWarning, match="restart='epoch' sees epochs of model.fit only"):
        step()


def test_restart_where_gradients_are_not_foretold_any_more(rng):
    """The Hessian changes, and only then is there a new estimate."""
    n = 20
    problem = Quadratic(np.r_[9.0, 6.0, np.ones(n - 2)], rng, noise=0.3)
    optimizer = ProbabilisticPreconditioner(restart="auto")
    step = problem.stepper(optimizer)
    for _ in range(200):
        step()
    # 18 comparisons with false alarms of 0.1 % each.
    assert optimizer.get_log()["estimates"] <= 3
    before = int(optimizer._estimate.started.numpy())
    problem.H.assign(16 * problem.H)
    for _ in range(60):
        step()
    assert int(optimizer._estimate.started.numpy()) > before
    with pytest.raises(ValueError, match="needs restart='auto'"):
        ProbabilisticPreconditioner().maybe_start_estimate()


# ---- state


@pytest.mark.parametrize("steps", [4, 12, 20], ids=["prior", "observing", "idle"])
@pytest.mark.parametrize("groups", [None, ["bias"], "per_variable"], ids=label)
def test_saved_and_restored(groups, steps, rng, tmp_path):
    seed = int(rng.integers(1000))
    inner = keras.optimizers.SGD(0.1, momentum=0.5)
    optimizer = ProbabilisticPreconditioner(inner, parameter_groups=groups, restart=30)
    model, X, y = net(seed, optimizer)
    fit(model, X[: 2 * steps], y[: 2 * steps], shuffle=False)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_log()["phase"] == optimizer.get_log()["phase"]
    histories = [fit(m, X, y, shuffle=False, epochs=2) for m in (model, loaded)]
    np.testing.assert_array_equal(*histories)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_saved_before_it_was_used(suffix, tmp_path):
    model, X, y = net(0, ProbabilisticPreconditioner())
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    loaded = keras.models.load_model(path)
    losses = [fit(m, X, y, shuffle=False) for m in (model, loaded)]
    np.testing.assert_array_equal(*losses)


def test_weights_of_a_trained_model(tmp_path):
    model, X, y = net(0, ProbabilisticPreconditioner())
    fit(model, X, y)
    model.save_weights(tmp_path / "model.weights.h5")
    other, *_ = net(1, ProbabilisticPreconditioner())
    with pytest.warns(ConvergenceWarning, match="the saved state was not loaded"):
        other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.predict(X, verbose=0), model.predict(X, verbose=0))
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "model.weights.h5")
    logs = [m.optimizer.get_log() for m in (model, other)]
    assert logs[0]["estimates"] == logs[1]["estimates"] > 0


def test_trouble_is_told_once(tmp_path):
    model, X, y = net(0, ProbabilisticPreconditioner())
    with pytest.warns(ConvergenceWarning, match="2 epochs ended before"):
        model.fit(X, y, batch_size=8, epochs=3, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        loaded.fit(X, y, batch_size=2, verbose=0)


def test_state_of_another_is_refused(rng, tmp_path):
    model, X, y = net(1, ProbabilisticPreconditioner())
    fit(model, X, y)
    store = {}
    model.optimizer.save_own_variables(store)
    other, *_ = net(1, ProbabilisticPreconditioner(num_observations=0))
    other.optimizer.build(other.trainable_variables)
    with pytest.raises(ValueError, match="by one with other parameters"):
        other.optimizer.load_own_variables(store)


def test_what_is_not_finite_is_left_out(rng):
    optimizer = ProbabilisticPreconditioner()
    model, X, y = net(int(rng.integers(1000)), optimizer)
    X[6] = np.nan
    with pytest.warns(ConvergenceWarning, match="1 gradients or products were not finite"):
        losses = model.fit(X, y, batch_size=2, shuffle=False, verbose=0).history["loss"]
    assert np.isnan(losses[0])
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert not any(np.isnan(v).any() for v in optimizer.variables[:-2])
    assert optimizer.get_log()["not_finite"] == 1
    assert np.isfinite(fit(model, X[8:], y[8:], epochs=3)).all()


# ---- wrong input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"est_rank": -1}, "est_rank"),
        ({"est_rank": 1.5}, "est_rank"),
        ({"num_observations": "5"}, "num_observations"),
        ({"prior_iterations": -2}, "prior_iterations"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"exponent": 2}, "exponent"),
        ({"restart": "week"}, "restart must be 'epoch', 'auto', a number of steps or None"),
        ({"restart": 15}, "restart=15 steps is too short: an estimate takes 15"),
        ({"restart": True}, "restart"),
        ({"restart": np.array([30, 40])}, "restart must be 'epoch'"),
        ({"precondition": 1}, "precondition must be True or False"),
        ({"update_while_estimating": None}, "update_while_estimating"),
        ({"inner": "nothing"}, "inner"),
        ({"inner": NewtonCG()}, "inner"),
        ({"inner": ProbabilisticPreconditioner()}, "inner must be a first-order"),
        ({"inner": keras.optimizers.SGD(gradient_accumulation_steps=2)}, "accumulate"),
        (
            {"inner": keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 9))},
            "schedule",
        ),
        ({"inner": keras.optimizers.SGD(loss_scale_factor=128)}, "loss_scale_factor"),
        ({"inner": keras.optimizers.SGD(momentum=1.0)}, "momentum below 1"),
        ({"restart": "auto", "precondition": False}, "restart='auto' looks at"),
        ({"restart": "auto", "est_rank": 0}, "restart='auto' looks at"),
        ({"parameter_groups": "bias"}, "parameter_groups must be None, 'per_variable' or"),
        ({"parameter_groups": ["("]}, "parameter_groups"),
        ({"parameter_groups": 5}, "parameter_groups must be None"),
        ({"parameter_groups": np.array(["bias", "kernel"])}, "parameter_groups must be None"),
        ({"parameter_groups": {"bias"}}, "parameter_groups must be None"),
        ({"inner": None}, "inner must be a name that Keras knows"),
        ({"inner": keras.optimizers.RMSprop(momentum=2.0)}, "momentum below 1"),
        ({"inner": keras.optimizers.SGD(0.0)}, "learning_rate of inner must be a number above 0"),
    ],
    ids=label,
)
def test_wrong_parameters(options, message):
    with pytest.raises(ValueError, match=message):
        ProbabilisticPreconditioner(**options)


def test_a_schedule_where_the_rate_is_not_adapted(rng):
    inner = keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.2, 10, 0.5))
    optimizer = ProbabilisticPreconditioner(inner, adapt_learning_rate=False)
    model, X, y = net(int(rng.integers(1000)), optimizer)
    losses = fit(model, X, y, epochs=3)
    assert losses[-1] < losses[0]
    assert optimizer.get_log()["learning_rate"] == pytest.approx(0.2 * 0.5**7.2, rel=1e-3)


def test_wrong_learning_rates():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 9)
    with pytest.raises(ValueError, match="learning_rate must be None"):
        ProbabilisticPreconditioner(
            keras.optimizers.SGD(schedule), adapt_learning_rate=False, learning_rate=0.1
        )
    with pytest.raises(ValueError, match="cannot be a schedule where it is learned"):
        ProbabilisticPreconditioner().learning_rate = schedule


def test_nothing_to_do():
    optimizer = ProbabilisticPreconditioner()
    log = optimizer.get_log()
    optimizer.finalize_variable_values([])
    problem = Quadratic(np.ones(3), np.random.default_rng(0))
    optimizer.minimize(problem.loss, [problem.x])
    assert set(optimizer.get_log()) == set(log)


def test_wrong_ways_in(rng):
    model, X, y = net(1, ProbabilisticPreconditioner(), run_eagerly=True)
    with pytest.raises(RuntimeError, match="run_eagerly=False"):
        fit(model, X, y)
    optimizer = ProbabilisticPreconditioner()
    with pytest.raises(TypeError, match="loss must be callable"):
        optimizer.minimize(3.0, [keras.Variable(1.0)])
    with pytest.raises(ValueError, match="variables must be a list"):
        optimizer.minimize(lambda: 0.0, [])
    x, z = keras.Variable(1.0), keras.Variable(1.0)
    optimizer.minimize(lambda: x.value**2 + z.value**2, [x, z])
    with pytest.raises(ValueError, match="1 of the 2 that the optimizer was built with"):
        optimizer.minimize(lambda: x.value**2, [x])
    mixed = [keras.Variable(1.0, dtype="float32"), keras.Variable(1.0, dtype="float64")]
    with pytest.raises(ValueError, match="of one type"):
        ProbabilisticPreconditioner().build(mixed)


def test_xla(rng):
    seed = int(rng.integers(1000))
    weights = []
    for jit in (False, True):
        model, X, y = net(seed, ProbabilisticPreconditioner(), jit_compile=jit)
        fit(model, X, y, epochs=1, shuffle=False)
        weights.append(np.concatenate([w.ravel() for w in model.get_weights()]))
    assert model.optimizer.get_log()["estimates"] == 1
    np.testing.assert_allclose(*weights, atol=1e-2)
