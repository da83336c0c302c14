"""What `compress` does besides keeping its promise, which tests/contract/test_accuracy.py tests."""

import logging
import pickle
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist

from skhmat.linalg import KernelMatrix, _compress, compress
from skhmat.linalg._gofmm.distances import DISTANCES
from skhmat.linalg._hierarchical.form import exact_form

from .matrices import compress_recorded, make_matrix, relative_error, small


@pytest.fixture
def points(global_random_seed):
    return np.random.default_rng(global_random_seed).standard_normal((700, 2))


def test_all_forms_of_one_matrix_give_one_result(points):
    K = KernelMatrix(points)
    dense = K.toarray()
    W = np.random.default_rng(0).standard_normal((700, 3))
    options = {"distance": "kernel", "budget": 0.1}
    expected = small(dense, **options) @ W
    forms = [
        (np.asfortranarray(dense), {}),
        (np.repeat(dense, 2, axis=1)[:, ::2], {}),
        (lambda rows, cols: dense[np.ix_(rows, cols)], {"shape": dense.shape}),
        (dense.tolist(), {}),
    ]
    for form, more in forms:
        assert_array_equal(small(form, **options, **more) @ W, expected)
    product = small(K, **options) @ W
    assert np.linalg.norm(product - expected) <= 3e-3 * np.linalg.norm(expected)


def test_points_of_an_array_are_those_of_a_kernel(points):
    K = KernelMatrix(points)
    W = np.random.default_rng(0).standard_normal((700, 3))
    expected = small(K, distance="geometric") @ W
    product = small(K.toarray(), points=points) @ W
    np.testing.assert_allclose(product, expected, rtol=0, atol=1e-2 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["auto", *DISTANCES])
def test_distance_in_the_report(name, points):
    report = small(KernelMatrix(points), distance=name).report_
    assert report.parameters["distance"] == ("geometric" if name == "auto" else name)
    if name == "auto":
        dense = small(KernelMatrix(points).toarray())
        assert dense.report_.parameters["distance"] == "kernel"


def test_lexicographic_order_is_kept(points):
    X = np.sort(points[:, :1], axis=0)
    H = small(KernelMatrix(X), distance="lexicographic")
    bounds = H.form.structure.leaf_bounds
    for start, stop in pairwise(bounds):
        assert_array_equal(
            np.sort(H.form.structure.permutation[start:stop]), np.arange(start, stop)
        )


@pytest.mark.parametrize("leaf_size", [2, 17, 64, 350, 700])
def test_leaf_size(leaf_size, points):
    H, _ = compress_recorded(
        KernelMatrix(points[:, :1]), rtol=1e-3, leaf_size=leaf_size, random_state=0
    )
    if not H.is_dense:
        assert np.diff(H.form.structure.leaf_bounds).max() <= leaf_size


@pytest.mark.parametrize("budget", [0, 0.03, 0.3, 1])
def test_budget_is_respected(budget, points):
    H, _ = compress_recorded(
        KernelMatrix(points, bandwidth=3.0),
        rtol=1e-2,
        leaf_size=32,
        budget=budget,
        random_state=0,
    )
    if not H.is_dense:
        n_leaves = len(H.form.structure.leaf_bounds) - 1
        assert len(H.form.structure.near_leaf) - n_leaves <= budget * n_leaves**2


def test_fewer_entries_are_read_than_there_are():
    n = 20000
    X = np.random.default_rng(0).standard_normal((n, 2)).astype(np.float32)
    H = compress(KernelMatrix(X, bandwidth=2.0), rtol=1e-2, leaf_size=128, random_state=0)
    assert 0 < H.report_.n_read < 0.5 * n**2
    assert H.nbytes < 0.1 * n**2 * 4


def incompressible_kernel(seed, n=500):
    return KernelMatrix(np.random.default_rng(seed).standard_normal((n, 12)))


def test_kernel_that_does_not_pay_is_evaluated_on_the_fly(global_random_seed):
    K = incompressible_kernel(global_random_seed)
    H = compress(K, rtol=1e-6, n_products=64, random_state=0)
    assert H.is_dense
    assert H.nbytes == K.X.nbytes
    assert H.report_.reason_dense
    assert_array_equal(H @ np.ones(500), K @ np.ones(500))


def test_kernel_that_does_not_pay_is_held_for_many_products(global_random_seed):
    K = incompressible_kernel(global_random_seed)
    H = compress(K, rtol=1e-6, random_state=0)
    assert H.is_dense
    assert H.nbytes == 8 * 500**2
    assert "in memory" in H.summary()
    expected = K.toarray() @ np.ones(500)
    assert_array_equal(H @ np.ones(500), expected)
    # Neither a pickle nor a file has the entries; they are computed again.
    content = pickle.dumps(H)
    assert len(content) < 8 * 500**2 / 2
    assert_array_equal(pickle.loads(content) @ np.ones(500), expected)


@pytest.mark.parametrize("n_products", [None, 1, 100, 10**6])
def test_fallback_never_keeps_the_promise_at_any_rank(n_products, global_random_seed):
    K = incompressible_kernel(global_random_seed)
    H = compress(K, 1e-6, leaf_size=32, fallback="never", n_products=n_products, random_state=0)
    assert not H.is_dense
    assert relative_error(H, K.toarray()) <= 1e-6


def test_fallback_exact_reads_nothing(points):
    calls = []

    def kernel(rows, cols):
        calls.append(len(rows) * len(cols))
        return np.exp(-np.square(points[rows, None] - points[cols]).sum(2))

    H = compress(kernel, fallback="exact", shape=(700, 700), random_state=0)
    assert H.is_dense
    assert sum(calls) < 700**2 + 700 * 200
    K = KernelMatrix(points)
    H = compress(K, fallback="exact", random_state=0)
    assert H.report_.reason_dense == 'fallback is "exact"'
    assert H.report_.n_read < 700 * 200
    with pytest.warns(UserWarning, match="of 3.92 MB, more than max_bytes=1e\\+03"):
        H = compress(K.toarray(), fallback="exact", max_bytes=1000, random_state=0)
    assert_allclose(H @ np.eye(700), K.toarray(), rtol=1e-13)
    H = compress(K, fallback="exact", max_bytes=1000, random_state=0)
    assert_allclose(H @ np.eye(700), K.toarray(), rtol=1e-13)


def test_one_product_is_no_reason_to_compress(points):
    K = KernelMatrix(np.repeat(points, 5, axis=0) + 1e-3 * np.arange(3500)[:, None])
    for n_products, is_dense in ((1, True), (10**5, False)):
        H = compress(K, 1e-3, n_products=n_products, form="hierarchical", random_state=0)
        assert H.is_dense == is_dense
    # Nothing was read but what every compression checks first.
    H = compress(K, 1e-3, n_products=1, form="hierarchical", random_state=0)
    assert H.report_.n_read < 3500 * 200
    assert list(H.report_.seconds) == ["check"]


@pytest.mark.parametrize("leaf_size", [64, 300])
def test_a_leaf_size_and_a_budget_are_obeyed(leaf_size, points):
    K = KernelMatrix(points)
    H = compress(K, 1e-3, leaf_size, budget=0.2, fallback="never", random_state=0)
    parameters = H.report_.parameters
    assert leaf_size / 2 < parameters["leaf_size"] <= leaf_size
    assert 0 < parameters["budget"] <= 0.2


def test_the_choice_does_not_depend_on_threads(points):
    K = KernelMatrix(np.repeat(points, 3, axis=0) + 1e-3 * np.arange(2100)[:, None])
    found = [compress(K, 1e-5, n_jobs=n, random_state=0) for n in (1, 3)]
    assert found[0].report_.considered == found[1].report_.considered
    assert len(found[0].report_.considered) > 1
    assert_array_equal(found[0].ranks_, found[1].ranks_)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_products": 0}, "n_products must be"),
        ({"n_products": "many"}, "n_products must be"),
        ({"n_products": np.nan}, "n_products must be"),
        ({"fallback": "dense"}, "fallback must be"),
        ({"fallback": None}, "fallback must be"),
        ({"fallback": "exact", "budget": 0.2}, "budget must be left alone"),
        ({"leaf_size": "big"}, "leaf_size must be"),
        ({"leaf_size": None}, "leaf_size must be"),
    ],
)
def test_bad_choices(options, message, points):
    with pytest.raises((TypeError, ValueError), match=message):
        compress(KernelMatrix(points), **options)


def test_array_that_does_not_pay_is_not_copied(global_random_seed):
    dense = make_matrix("incompressible", 500, global_random_seed).dense
    H = compress(dense, rtol=1e-6, leaf_size=32, random_state=0)
    assert H.is_dense
    assert np.shares_memory(H.form.exact.array, dense)


def test_callable_that_does_not_pay_is_read_once(global_random_seed):
    dense = make_matrix("incompressible", 500, global_random_seed).dense
    calls = []

    def K(rows, cols):
        calls.append(len(rows) * len(cols))
        return dense[np.ix_(rows, cols)]

    H = compress(K, rtol=1e-6, leaf_size=32, random_state=0, shape=dense.shape)
    assert H.is_dense
    # All of it once, after the reads that showed that compression does not pay.
    assert sum(calls) >= H.report_.n_read >= dense.size
    calls.clear()
    assert_array_equal(H @ np.eye(500), dense)
    assert not calls
    assert_array_equal(pickle.loads(pickle.dumps(H)) @ np.eye(500), dense)


def test_nan_that_compression_did_not_read_is_found_in_a_callable(monkeypatch, global_random_seed):
    dense = np.array(make_matrix("incompressible", 1500, global_random_seed).dense)
    read = np.zeros(dense.shape, dtype=bool)

    def K(rows, cols):
        read[np.ix_(rows, cols)] = True
        return dense[np.ix_(rows, cols)]

    def spoil_an_entry_not_read(*given):
        i, j = np.argwhere(~read & ~read.T)[0]
        dense[i, j] = dense[j, i] = np.nan
        return exact_form(*given)

    monkeypatch.setattr(_compress, "exact_form", spoil_an_entry_not_read)
    with pytest.raises(ValueError, match="K must be finite, got NaN or infinity"):
        compress(K, leaf_size=64, distance="lexicographic", random_state=0, shape=dense.shape)


def test_dense_product_of_another_dtype_does_not_copy_the_matrix(global_random_seed):
    dense = make_matrix("incompressible", 1200, global_random_seed).dense.astype(np.float32)
    strided = np.repeat(dense, 2, axis=1)[:, ::2]
    for K in (dense, strided):
        H = compress(K, leaf_size=64, random_state=0)
        assert H.is_dense
        tracemalloc.start()
        product = H @ np.ones(1200)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert product.dtype == np.float64
        assert peak < dense.nbytes / 2


def test_n_jobs_reaches_the_exact_kernel(global_random_seed):
    K = KernelMatrix(np.random.default_rng(global_random_seed).standard_normal((500, 12)))
    H = compress(K, rtol=1e-6, leaf_size=32, random_state=0, n_jobs=1)
    assert H.is_dense
    assert H.form.exact.n_jobs == 1
    assert K.n_jobs is None


@pytest.mark.parametrize("integer", [np.uint8, np.int8, np.uint64])
def test_numbers_of_numpy(integer, points):
    K = KernelMatrix(points)
    options = dict(leaf_size=40, n_neighbors=20, max_rank=100)
    expected = compress(K, 1e-2, random_state=0, **options) @ np.ones(700)
    given = {name: integer(value) for name, value in options.items()}
    H = compress(K, np.float32(1e-2), random_state=0, **given)
    np.testing.assert_allclose(H @ np.ones(700), expected, rtol=1e-5)
    compress(K, 1e-2, max_rank=10**30, random_state=0)


def test_pickle_does_not_carry_what_is_not_needed(points):
    K = KernelMatrix(points)
    in_python = KernelMatrix(points, lambda A, B: np.exp(-cdist(A, B)))
    assert small(K.toarray()).form.__getstate__()["entries"] is None
    assert small(in_python, rtol=1e-2).form.__getstate__()["entries"] is None
    assert small(K).form.__getstate__()["entries"] is not None  # points, for new ones
    assert small(K.toarray(), max_bytes=0).form.__getstate__()["entries"] is not None


@pytest.mark.parametrize(("verbose", "lines"), [(0, False), (1, True), (2, True)])
def test_verbose(verbose, lines, points, caplog):
    with caplog.at_level(logging.INFO, logger="skhmat"):
        small(KernelMatrix(points), verbose=verbose)
    messages = [record.message for record in caplog.records if record.name == "skhmat"]
    assert bool(messages) == lines
    if verbose:
        assert any("skeletons" in message for message in messages)
    assert any(": level" in message for message in messages) == (verbose == 2)


def test_kernel_written_in_python_runs_with_many_threads(points):
    def kernel(A, B):
        return np.exp(-cdist(A, B))

    K = KernelMatrix(points, kernel)
    W = np.random.default_rng(0).standard_normal((700, 2))
    one, four = (small(K, n_jobs=n, rtol=1e-2) @ W for n in (1, 4))
    assert_array_equal(one, four)


def test_options_of_the_caller_are_not_changed(points):
    options = {"rtol": 1e-3, "leaf_size": 32, "random_state": 0}
    before = dict(options)
    compress(KernelMatrix(points), **options)
    assert options == before


def test_generator_of_the_caller_goes_on(points):
    """A RandomState is drawn from, so that two calls with it differ."""
    state = np.random.RandomState(0)
    W = np.random.default_rng(0).standard_normal((700, 2))
    first, second = (small(KernelMatrix(points), random_state=state) @ W for _ in range(2))
    assert np.any(first != second)
