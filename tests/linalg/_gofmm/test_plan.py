import json
import math

import pytest

from skhmat.linalg import KernelMatrix
from skhmat.linalg._entries.sources import as_source
from skhmat.linalg._gofmm.cost_model import Cost, CostModel
from skhmat.linalg._gofmm.plan import FormPlan, Planner, PlanPolicy, exact_plans, finest_leaf_size
from skhmat.linalg._gofmm.rank_pilot import RankPilot
from tests.linalg.phases import run_to_interactions

N = 4096


class GivenRanks:
    """Bases whose ranks are a function of the level and the number of near nodes."""

    def __init__(self, tree, rank):
        self.tree, self.rank, self.tasks = tree, rank, []

    def ranks_of_parts(self, tasks):
        self.tasks += tasks
        return [min(self.rank(level, n_near), columns) for level, _, n_near, columns in tasks]


@pytest.fixture(scope="module")
def ordered():
    return run_to_interactions(N, leaf_size=64, seed=0)


def make_planner(ordered, rank, *, n_products=None, exact=True, policy=None, **limits):
    entries, tree, neighbors, _ = ordered
    pilot = RankPilot(GivenRanks(tree, rank))
    model = CostModel(entries.source, n_products)
    plans = exact_plans(model, entries.source, math.inf) if exact else ()
    limits = limits if policy is None else limits | {"policy": policy}
    return Planner(model, pilot, neighbors, exact=plans, **limits)


def every_plan(planner):
    """Return all plans with the final ranks, by brute force."""
    plans = list(planner.exact)
    for key in planner._candidates():
        plan = planner._evaluated(*key)
        while not planner._is_settled(plan):
            planner._settle(plan)
            plan = planner._evaluated(*key)
        plans.append(plan)
    return plans


@pytest.mark.parametrize("n_products", [1, 100, 10_000])
@pytest.mark.parametrize(
    "rank",
    [
        lambda level, n_near: 8,
        lambda level, n_near: 60 / n_near,
        lambda level, n_near: 2000 / n_near**2,
        lambda level, n_near: 1 << 20,
        lambda level, n_near: 30 * 2 ** (6 - level),
    ],
)
def test_the_plan_is_the_cheapest_of_all(rank, n_products, ordered):
    best = make_planner(ordered, rank, n_products=n_products).choose()
    cheapest = min(
        every_plan(make_planner(ordered, rank, n_products=n_products)),
        key=lambda plan: plan.cost.total,
    )
    assert best.cost.total == pytest.approx(cheapest.cost.total)
    assert (best.form, best.depth) == (cheapest.form, cheapest.depth)


def test_few_ranks_are_measured_where_hss_costs_little(ordered):
    planner = make_planner(ordered, lambda level, n_near: 5)
    assert planner.choose().form == "HSS"
    assert {task[2] for task in planner.pilot.bases.tasks} == {1}
    planner = make_planner(ordered, lambda level, n_near: 400 / n_near)
    assert planner.choose().form == "FMM"


def test_what_is_incompressible_is_exact(ordered):
    plan = make_planner(ordered, lambda level, n_near: 1 << 20).choose()
    assert plan.is_exact
    plan = make_planner(ordered, lambda level, n_near: 1 << 20, exact=False).choose()
    assert not plan.is_exact
    assert plan.ranks[1:].max() == N >> 1 or plan.form == "FMM"


def test_numbers_are_obeyed(ordered):
    limits = {"leaf_size": 128, "budget": 0.1, "exact": False, "max_rank": 7}
    plan = make_planner(ordered, lambda level, n_near: 10, **limits).choose()
    assert plan.leaf_size == 128
    assert 0.05 < plan.interactions.budget <= 0.1
    assert plan.ranks.max() == 7
    plan = make_planner(ordered, lambda level, n_near: 10, budget=0.0, exact=False).choose()
    assert plan.form == "HSS"


def test_a_plan_is_revised_where_ranks_are_a_surprise(ordered):
    def make():
        planner = make_planner(ordered, lambda level, n_near: 20 / n_near, n_products=10_000)
        return planner, planner.choose()

    planner, plan = make()
    assert plan.form == "HSS"
    expected = plan.ranks[plan.depth]
    assert planner.revised(plan, plan.depth, 1.2 * expected) is None
    better = planner.revised(plan, plan.depth, 30 * expected)
    assert better.form == "FMM" or better.is_exact
    # Where all bases but the last are known, a little more is no reason to begin anew.
    planner, plan = make()
    assert planner.revised(plan, 1, 1.3 * plan.ranks[1]) is None


def test_revisions_end(ordered):
    policy = PlanPolicy(max_revisions=1)
    planner = make_planner(
        ordered, lambda level, n_near: 20 / n_near, n_products=10_000, policy=policy
    )
    plan = planner.choose()
    plan = planner.revised(plan, plan.depth, 30 * plan.ranks[plan.depth])
    assert plan is not None
    assert plan.is_exact or planner.revised(plan, plan.depth, N) is None


def test_exact_plans(rng):
    X = rng.standard_normal((300, 50))
    K = KernelMatrix(X)
    forms = {
        n: [plan.form for plan in exact_plans(CostModel(K, n), K, math.inf)] for n in (1, 10**6)
    }
    assert forms[1][0] == "on the fly"
    assert sorted(forms[10**6]) == ["in memory", "on the fly"]
    assert [plan.form for plan in exact_plans(CostModel(K), K, 1000)] == ["on the fly"]
    for source in (
        as_source(K.toarray()),
        as_source(lambda i, j: X[i] @ X[j].T, shape=(300, 300)),
        KernelMatrix(X, lambda x, y: x @ y.T),
    ):
        plans = exact_plans(CostModel(source), source, 1000)
        assert [plan.form for plan in plans] == ["in memory"]


def test_finest_leaf_size():
    assert [finest_leaf_size(n, "auto") for n in (10, 256, 257)] == [256, 256, 64]
    assert [finest_leaf_size(n, 300) for n in (1000, 200, 1)] == [300, 200, 2]


def test_records(ordered):
    planner = make_planner(ordered, lambda level, n_near: 400 / n_near)
    best = planner.choose()
    records = planner.records()
    assert records[0] == best.as_record()
    totals = [record["setup"] + record["products"] for record in records]
    assert totals == sorted(totals)
    assert json.loads(json.dumps(records)) == records
    assert (
        str(best) == f"FMM, leaf size {best.leaf_size}, {best.interactions.budget:.1%} of "
        "pairs near"
    )
    exact = FormPlan("on the fly", Cost(0.0, 1.0, 0.0))
    assert str(exact) == "exact, on the fly"
    assert exact.as_record() == {"form": "on the fly", "setup": 0.0, "products": 1.0, "nbytes": 0.0}
