"""The choice among the algorithms for kernel sums, by the time that each is predicted to take."""

from dataclasses import dataclass, replace

import numpy as np

from ...linalg._gofmm.cost_model import RATES, CostModel, Rates
from ...linalg._kernels.matrix import KernelMatrix
from .kernels import DensityKernel


@dataclass(frozen=True)
class PlannerPolicy:
    """Limits on the cost of choosing among the algorithms, and what their operations cost.

    Attributes
    ----------
    rates : Rates
    worth_building : float
        The tree is built only if direct sums take more than this many times as long as building it.
    n_probes : int
        Queries whose sums are taken by the tree to predict its cost. It is not tried for fewer.
    far_field_points : int
        Samples and queries, together, of the far field whose cost is extrapolated.
    leaf_size : int
        Points in a leaf of its tree, to tell what it takes at least.
    worth_trying : float
        That far field is made only if both other algorithms take more than this many times as long
        as it takes at least.
    max_rough : float
        Fraction of the sums that a far field may leave to the other algorithms; with more of them
        it saves little.
    worth_planning : float
        Seconds of direct sums below which nothing else is looked for.
    start : float
        Seconds that sums by Fourier modes take for few points.
    n_summed, trial_growth : int
        Samples from which it is estimated which sums are too small for modes. A tree of these, and
        one of so many times fewer, tell about the time of the whole one.
    clearly_less : float
        The tree is not even built if modes take less than this fraction of that guess.
    """

    rates: Rates = RATES
    worth_building: float = 8.0
    n_probes: int = 64
    far_field_points: int = 16_384
    leaf_size: int = 256
    worth_trying: float = 128.0
    max_rough: float = 0.25
    worth_planning: float = 4e-3
    start: float = 2e-3
    n_summed: int = 4096
    trial_growth: int = 4
    clearly_less: float = 0.5


POLICY = PlannerPolicy()


@dataclass(frozen=True, eq=False)
class SumTask:
    """The sums that are wanted, of fixed samples.

    Attributes
    ----------
    X : ndarray of shape (m, d)
        Points at which they are taken.
    kernel : DensityKernel
    weights : ndarray of shape (n,) or None
    exclude : ndarray of shape (m,) or None
        The index of a sample that each row leaves out; not for "gofmm".
    """

    X: np.ndarray
    kernel: DensityKernel
    weights: np.ndarray | None = None
    exclude: np.ndarray | None = None

    def rows(self, some):
        """Return the task of some of the points."""
        exclude = None if self.exclude is None else self.exclude[some]
        return replace(self, X=self.X[some], exclude=exclude)

    @property
    def arguments(self):
        """What the methods of `DensitySums` take."""
        return self.X, self.kernel, self.weights, self.exclude


def log_sums(sums, task, algorithm="auto", *, far_field=None, has_fourier=True, policy=POLICY):
    """Return logarithms of sums, and the algorithm that took them.

    Parameters
    ----------
    sums : DensitySums
    task : SumTask
    algorithm : {"auto", "brute", "tree", "gofmm", "fourier"}
    far_field : callable, default=None
        ``far_field(Y, X, kernel, weights)`` returns what `compressed_log_sums` returns. Without it
        "auto" does not choose "gofmm".
    has_fourier : bool
        Whether "auto" may choose "fourier".
    policy : PlannerPolicy

    Returns
    -------
    logs : ndarray of shape (m,)
    algorithm : str
    """
    if algorithm == "auto":
        algorithm = _choose(sums, task, far_field, has_fourier, policy)
    if algorithm == "tree":
        return sums.by_tree(*task.arguments)[0], algorithm
    if algorithm == "brute":
        return sums.direct(*task.arguments), algorithm
    if algorithm == "fourier":
        logs, rough = sums.by_fourier(*task.arguments)
    else:
        logs, rough, _ = far_field(sums.Y, task.X, task.kernel, task.weights)
    if len(rough) > 0:
        logs[rough], _ = log_sums(sums, task.rows(rough), has_fourier=False, policy=policy)
    return logs, algorithm


def _choose(sums, task, far_field, has_fourier, policy):
    """Return the algorithm that is predicted to take the least time of one core.

    The time of direct sums follows from the number of terms, that of Fourier modes from their
    number and those of the points; sums that are too small for them are estimated for a few
    queries. That of the tree is extrapolated from the terms and boxes of these queries, unless the
    others are done before the tree would be built; that of a far field from one with part of the
    points, if all others take long. Seconds are those of the cost model, never measured, so that
    the choice is the same on any machine.
    """
    (m, d), n, rates = task.X.shape, len(sums), policy.rates
    term = rates.exponential + rates.dimension * d + rates.log_term
    brute = 1e-9 * term * (m * n)
    seconds, chosen = brute, "brute"
    fourier = None
    if has_fourier and brute > policy.worth_planning:
        fourier = _predict_fourier(sums, task, policy)
    if fourier is not None:
        transforms, left = fourier
        seconds, chosen = min((seconds, chosen), (transforms + left.mean() * brute, "fourier"))
    build = rates.build + rates.build_per_feature * d
    seconds_to_build = 0.0 if sums.has_tree else 1e-9 * build * n
    may_pay = seconds > policy.worth_building * seconds_to_build and m > policy.n_probes
    if may_pay and chosen == "fourier" and not sums.has_tree:
        guess = seconds_to_build + _guess_tree(sums, task, policy)
        may_pay = seconds > policy.clearly_less * guess
    if may_pay:
        by_probe = _seconds_by_tree(sums, task.rows(_probes(task.X, policy)), rates)
        seconds, chosen = min((seconds, chosen), (by_probe.mean() * m, "tree"))
        if fourier is not None:
            with_tree = transforms + (by_probe * left).mean() * m
            seconds, chosen = min((seconds, chosen), (with_tree, "fourier"))
    is_large = far_field is not None and n + m > policy.far_field_points
    if is_large and seconds > policy.worth_trying * _least_of_trial(sums.Y, task.kernel, policy):
        by_far_field = _predict_far_field(sums.Y, task, far_field, policy)
        seconds, chosen = min((seconds, chosen), (by_far_field, "gofmm"))
    return chosen


def _predict_fourier(sums, task, policy):
    """Return the seconds of the transforms, and which of a few queries they leave, or None."""
    kernel, weights = task.kernel, task.weights
    plan = sums.fourier_plan(kernel, weights)
    if plan is None:
        return None
    seconds = policy.start + plan.seconds(len(task.X), policy.rates)
    if not sums.has_modes:
        seconds += plan.seconds(len(sums), policy.rates)
    part, some, share = _part(sums, weights, policy.n_summed)
    probes = task.X[_probes(task.X, policy)]
    with np.errstate(over="ignore"):
        values = np.exp(part.direct(probes, kernel, some)) / share
    total = float(len(sums) if weights is None else weights.sum())
    allowed = (kernel.rtol - plan.relative_error) * values + kernel.atol
    is_small = allowed < plan.aim * total
    return seconds, is_small | ~plan.is_inside(plan.phases(probes))


def _part(sums, weights, n):
    """Return sums over about n of the points, the weights of these, and their share of all."""
    some = np.linspace(0, len(sums) - 1, min(len(sums), n)).astype(np.intp)
    if weights is None:
        return sums.part(some), None, len(some) / len(sums)
    chosen = weights[some]
    return sums.part(some), chosen, max(chosen.sum() / weights.sum(), np.finfo(float).tiny)


def _probes(X, policy):
    """Return the indices of a few queries."""
    return np.linspace(0, len(X) - 1, policy.n_probes).astype(np.intp)


def _seconds_by_tree(sums, task, rates):
    """Return the seconds that the tree takes for each query, by its terms and boxes."""
    d = task.X.shape[1]
    n_pairs, n_boxes = sums.by_tree(*task.arguments)[1].T
    pair = rates.tree_pair + rates.tree_pair_per_feature * d
    box = rates.box + rates.box_per_feature * d
    return 1e-9 * (pair * n_pairs + box * n_boxes)


def _guess_tree(sums, task, policy):
    """Return the seconds that the tree would take for all queries, from those of two small trees.

    They grow like a power of the number of points, until all boxes are small enough.
    """
    X = task.X
    sizes = np.array([policy.n_summed // policy.trial_growth, policy.n_summed])
    seconds = []
    for size in sizes:
        part, some, _ = _part(sums, task.weights, size)
        probes = SumTask(X[_probes(X, policy)], task.kernel, some)
        seconds.append(_seconds_by_tree(part, probes, policy.rates).mean())
    if len(sums) <= sizes[-1]:
        return len(X) * seconds[-1]
    growth = max(seconds[1] / seconds[0], 1.0)
    steps = np.log(len(sums) / sizes[-1]) / np.log(policy.trial_growth)
    return len(X) * seconds[-1] * growth**steps


def _least_of_trial(Y, kernel, policy):
    """Return the seconds that a far field with part of the points takes at least."""
    points = np.zeros((policy.far_field_points, Y.shape[1]))
    K = KernelMatrix(points, kernel.name, bandwidth=kernel.bandwidth)
    # The kernel matrix is compressed twice, each time for one product.
    return 2 * CostModel(K, 1, rates=policy.rates).least(policy.leaf_size).total


def _predict_far_field(Y, task, far_field, policy):
    """Return the seconds that a far field would take, from one with part of the points.

    That takes the seconds of the cost model, and they grow like N log N. Infinite where too many
    sums would be left to other algorithms.
    """
    X, weights = task.X, task.weights
    total = len(Y) + len(X)
    samples, queries = (
        np.linspace(
            0, len(points) - 1, max(2, len(points) * policy.far_field_points // total)
        ).astype(np.intp)
        for points in (Y, X)
    )
    weights = None if weights is None else weights[samples]
    _, rough, seconds = far_field(Y[samples], X[queries], task.kernel, weights)
    if len(rough) > policy.max_rough * len(queries):
        return np.inf
    levels = np.log(total) / np.log(policy.far_field_points)
    return levels * seconds * total / (len(samples) + len(queries))
