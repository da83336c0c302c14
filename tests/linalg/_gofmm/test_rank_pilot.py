import numpy as np
import pytest

from skhmat.linalg._gofmm.rank_pilot import PilotPolicy, RankPilot
from skhmat.linalg._gofmm.skeletonization import Skeletonizer
from tests.linalg.phases import run_to_interactions


def make_pilot(n=2000, tolerance=1e-2, seed=0, policy=None, n_threads=1):
    given = run_to_interactions(n, leaf_size=64, seed=seed)
    bases = Skeletonizer(*given, tolerance, seed=seed, n_threads=n_threads)
    return RankPilot(bases) if policy is None else RankPilot(bases, policy)


class Counted:
    """Bases whose ranks are given, as a function of level, near nodes and sampled columns."""

    def __init__(self, tree, rank):
        self.tree, self.rank, self.tasks = tree, rank, []

    def ranks_of_parts(self, tasks):
        self.tasks += tasks
        return [self.rank(level, n_near, columns) for level, _, n_near, columns in tasks]


def counted(rank, n=1 << 14, **changes):
    tree = make_pilot().tree
    tree = type(tree)(np.arange(n), np.arange(0, n + 1, n // 64), 6)
    policy = PilotPolicy(**({"shortfall": (0.0, 0.0)} | changes))
    return RankPilot(Counted(tree, rank), policy)


def test_ranks_are_those_of_the_bases(global_random_seed):
    pilot = make_pilot(seed=global_random_seed)
    bases = pilot.bases
    found = {}
    for level in range(bases.tree.depth, 0, -1):
        found[level] = bases.skeletonize_level(level).mean()
    pairs = [(level, 1) for level in found]
    ranks, _ = pilot.ranks(pairs)
    for (level, _), rank in zip(pairs, ranks, strict=True):
        assert found[level] / 2 - 5 <= rank <= found[level] * 2 + 5


def test_ranks_between_those_measured():
    pilot = counted(lambda level, n_near, columns: 100 / n_near)
    ranks, is_settled = pilot.ranks([(6, 1), (6, 2), (6, 4), (6, 63), (6, 64)])
    assert ranks[0] == 100
    assert np.log1p(ranks[1]) == pytest.approx((np.log1p(100) + np.log1p(25)) / 2)
    assert ranks[2] == 25
    assert ranks[3] == ranks[4] == 100 / 63
    assert all(is_settled)


def test_each_rank_is_measured_once():
    pilot = counted(lambda level, n_near, columns: 10)
    pilot.ranks([(6, 1), (6, 3), (2, 1)])
    n_tasks = len(pilot.bases.tasks)
    # Two nodes where they are small, one elsewhere.
    assert sorted({task[:3] for task in pilot.bases.tasks}) == [
        (2, 2, 1),
        (6, 16, 1),
        (6, 16, 4),
        (6, 48, 1),
        (6, 48, 4),
    ]
    pilot.ranks([(6, 2), (2, 1)])
    assert len(pilot.bases.tasks) == n_tasks == 5


def test_columns_are_doubled_until_they_suffice():
    pilot = counted(lambda level, n_near, columns: min(columns, 300), last_columns=4096)
    tried = []
    while not pilot.ranks([(1, 1)])[1][0]:
        pilot.settle(1, 1)
        tried.append(pilot.bases.tasks[-1][3])
    assert tried == [512, 1024]
    assert pilot.ranks([(1, 1)])[0] == [300]


def test_columns_have_a_limit():
    pilot = counted(lambda level, n_near, columns: columns, last_columns=512)
    pilot.ranks([(1, 1)])
    pilot.settle(1, 1)
    assert pilot.ranks([(1, 1)]) == ([512.0], [True])
    # A leaf has no more than its own.
    assert pilot.ranks([(6, 1)]) == ([256.0], [True])


def test_what_a_sample_of_columns_lacks():
    pilot = counted(lambda level, n_near, columns: columns / 4, shortfall=(1.0, 2.0))
    assert pilot.ranks([(1, 1)])[0][0] == pytest.approx(64 * (1 + 1 / 4 + 2 / 64))
    # All columns of a leaf are there.
    assert pilot.ranks([(6, 1)])[0] == [64]


def test_ranks_that_bases_correct():
    pilot = counted(lambda level, n_near, columns: 10)
    pilot.raise_ranks(3, 2.0)
    pilot.raise_ranks(2, 2.0)
    ranks, _ = pilot.ranks([(level, 1) for level in (6, 4, 3, 2, 1)])
    assert ranks == [10, 10, 20, 40, 40]
    pilot.raise_ranks(6, 1e6)
    assert pilot.ranks([(6, 1)])[0] == [256]


def test_threads_change_nothing(global_random_seed):
    pairs = [(level, n) for level in (5, 3, 1) for n in (1, 5)]
    found = [make_pilot(seed=global_random_seed, n_threads=n).ranks(pairs) for n in (1, 3)]
    assert found[0] == found[1]
