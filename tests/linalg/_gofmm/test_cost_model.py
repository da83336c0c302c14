import numpy as np
import pytest

from skhmat.linalg import KernelMatrix
from skhmat.linalg._entries.sources import as_source
from skhmat.linalg._gofmm.cluster_tree import Tree, level_bounds
from skhmat.linalg._gofmm.cost_model import (
    Cost,
    CostModel,
    CostPolicy,
    Rates,
    columns_of_level,
    entry_time,
    near_entries,
)
from skhmat.linalg._gofmm.interaction_lists import find_interactions
from skhmat.linalg._gofmm.row_sample import SamplingPolicy

N = 1024
DEPTH = 3
# Everything is free, but for what a test counts.
FREE = Rates(**{name: 0.0 for name in vars(Rates())})
SECOND = 1e9


def rates(**changes):
    return Rates(**(vars(FREE) | changes))


@pytest.fixture
def tree():
    return Tree(np.arange(N), level_bounds(N, DEPTH), DEPTH)


@pytest.fixture
def hss(tree):
    return find_interactions(tree, np.empty((N, 0), dtype=np.int32), 0.0)


@pytest.fixture
def K(rng):
    return KernelMatrix(rng.standard_normal((N, 3)))


RANKS = np.array([0.0, 8, 8, 8])
NEAR = 8 * 128**2
INTERPOLATION = 8 * (128 - 8) * 8 + 4 * (16 - 8) * 8 + 2 * (16 - 8) * 8
FAR = (8 + 4 + 2) * 8**2


def test_total():
    assert Cost(1.0, 2.0, 3.0).total == 3.0


def test_multiplications_of_a_product(tree, hss, K):
    assert near_entries(tree, hss) == NEAR
    assert [columns_of_level(tree, RANKS, level) for level in (1, 2, 3)] == [16, 16, 128]
    model = CostModel(K, 64, rates=rates(multiply=SECOND))
    found = model.hierarchical(tree, hss, RANKS)
    assert found.product == 64 * (NEAR + FAR + 2 * INTERPOLATION)
    assert model.on_the_fly().product == model.in_memory().product == 64 * N**2


@pytest.mark.parametrize(("n_products", "n_chunks"), [(1, 1), (64, 1), (640, 10), (None, 512)])
def test_bytes_are_read_once_for_a_chunk(n_products, n_chunks, tree, hss, K):
    model = CostModel(K, n_products, rates=rates(stream=SECOND))
    found = model.hierarchical(tree, hss, RANKS)
    assert found.nbytes == 8 * (NEAR + FAR / 2 + INTERPOLATION)
    assert found.product == n_chunks * found.nbytes
    assert model.in_memory() == Cost(0.0, n_chunks * 8.0 * N**2, 8.0 * N**2)


def test_entries_are_evaluated_in_setup_or_in_each_product(K):
    model = CostModel(K, 128, rates=rates(dimension=SECOND))
    assert model.entry == 3 * SECOND
    assert model.on_the_fly() == Cost(0.0, 2 * 3.0 * N**2, 0.0)
    assert model.in_memory().setup == 3.0 * N**2


def test_bases_that_are_known_cost_nothing(tree, hss, K):
    model = CostModel(K, rates=rates(node=SECOND))
    setups = [
        model.hierarchical(tree, hss, RANKS, known_from=level).setup for level in (None, 3, 2, 1)
    ]
    assert setups == [14, 6, 2, 0]


def test_rows_that_a_basis_is_found_from(tree, hss, K):
    sampling = SamplingPolicy(near_per_column=0.0, uniform_per_column=1.0, min_rows=10)
    policy = CostPolicy(sampling=sampling, n_error_rows=0, validation_rows=0, sample_growth=2.0)
    model = CostModel(K, rates=rates(multiply=SECOND), policy=policy)
    gram = 8 * (2 * 138 * 128**2 / 2) + 6 * (2 * 26 * 16**2 / 2)
    assert model.hierarchical(tree, hss, RANKS).setup == gram
    gram = 8 * (N * 128**2 / 2) + 6 * (N * 16**2 / 2)
    assert model.hierarchical(tree, hss, RANKS, read_all=True).setup == gram


@pytest.mark.parametrize("n_products", [1, 100, None])
def test_the_least_cost_is_below_all_others(n_products, tree, hss, K, rng):
    neighbors = rng.integers(0, N, (N, 8)).astype(np.int32)
    model = CostModel(K, n_products)
    for budget in (0.0, 0.2, 0.5):
        interactions = find_interactions(tree, neighbors, budget)
        n_near = len(interactions.near[-1][1]) / 8
        least = model.least(128, n_near)
        for ranks in (np.zeros(4), RANKS, 5 * RANKS):
            found = model.hierarchical(tree, interactions, ranks)
            assert least.setup <= found.setup
            assert least.product <= found.product
            assert least.nbytes <= found.nbytes * (1 + 1e-12)


def test_single_precision_costs_half(rng):
    X = rng.standard_normal((N, 3))
    double, single = (CostModel(KernelMatrix(X.astype(t)), 64) for t in (float, np.float32))
    assert single.in_memory().nbytes == double.in_memory().nbytes / 2
    assert single.entry == double.entry / 2
    assert single.in_memory().setup == double.in_memory().setup / 2


def test_time_of_entries(rng):
    X = rng.standard_normal((10, 4))
    chosen = rates(exponential=1, algebraic=2, polynomial=3, gather=4, call=5, dimension=6)

    def time(K, **options):
        return entry_time(as_source(K, **options), chosen)

    assert time(KernelMatrix(X)) == 1 + 24
    assert time(KernelMatrix(X, "inverse_multiquadric")) == 2 + 24
    assert time(KernelMatrix(X, "linear")) == 3 + 24
    assert time(X @ X.T) == 4
    assert time(lambda i, j: X[i] @ X[j].T, shape=(10, 10)) == 5
    assert time(KernelMatrix(X, lambda x, y: x @ y.T)) == 5


def test_an_array_is_in_memory_already(K):
    assert CostModel(as_source(K.toarray())).in_memory().setup == 0


def test_forms_of_estimators(K):
    def cost(form, *arguments, n_products=64, **changes):
        return getattr(CostModel(K, n_products, rates=rates(**changes)), form)(*arguments)

    # Half of the entries, in four bytes each; a multiplication takes half of that in float64.
    assert cost("packed", touch=SECOND).setup == cost("packed").nbytes == pytest.approx(2 * N**2)
    assert cost("packed", exponential=SECOND).setup == pytest.approx(N**2 / 2)
    assert cost("packed", multiply=SECOND).product == pytest.approx(64 * N**2 / 2)
    # Eight bytes of an entry and four of its column, written twice.
    assert (
        cost("sparse", 100, touch=SECOND).setup
        == 2 * cost("sparse", 100).nbytes
        == pytest.approx(2400)
    )
    assert cost("sparse", 100, exponential=SECOND).setup == pytest.approx(100)
    assert cost("sparse", 100, csr=SECOND, n_products=10).product == pytest.approx(1000)
    assert cost("low_rank", 10, exponential=SECOND).setup == pytest.approx(10 * N)
    assert cost("low_rank", 10, multiply=SECOND).setup == pytest.approx(50 * N)
    assert cost("low_rank", 10, multiply=SECOND).product == pytest.approx(64 * 20 * N)
