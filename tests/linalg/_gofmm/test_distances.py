import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from skhmat._ext.gofmm import neighbors as _ext
from skhmat._ext.simd import nearest

from skhmat.linalg._gofmm.distances import DISTANCES, as_generator, make_distance

from ..dense_entries import DenseEntries, gram_matrix
from ..phases import SEARCHED


def ratio(values, reference):
    """The one factor between two arrays that differ by a constant factor."""
    factor = values.ravel() @ reference.ravel() / (reference.ravel() @ reference.ravel())
    return values / factor


@pytest.fixture(params=[np.float32, np.float64])
def dtype(request):
    return request.param


ROWS = np.arange(40)
COLS = np.arange(20, 70)


@pytest.mark.parametrize("name", ["kernel", "geometric"])
def test_gram_distance_is_the_distance_of_the_gram_vectors(name, rng, dtype):
    entries = gram_matrix(rng, 100, dtype=dtype)
    expected = cdist(entries.points[ROWS], entries.points[COLS], "sqeuclidean")
    block = make_distance(name, entries).block(ROWS, COLS)
    assert block.dtype == dtype
    assert_allclose(ratio(block, expected), expected, rtol=1e-4, atol=1e-4)


def test_angle_is_one_minus_cosine(rng, dtype):
    entries = gram_matrix(rng, 100, dtype=dtype)
    expected = cdist(entries.points[ROWS], entries.points[COLS], "cosine")
    assert expected.max() > 1  # negative entries exist, and their rows are far apart
    block = make_distance("angle", entries).block(ROWS, COLS)
    assert block.dtype == dtype
    assert_allclose(block, expected, atol=1e-5)


def test_orders(rng, global_random_seed):
    entries = gram_matrix(rng, 100)
    block = make_distance("lexicographic", entries).block(ROWS, COLS)
    assert_array_equal(block, np.abs(ROWS[:, None] - COLS))
    random = make_distance("random", entries, global_random_seed)
    assert_array_equal(np.sort(random.order), np.arange(100))
    assert_array_equal(random.order, make_distance("random", entries, global_random_seed).order)


@pytest.mark.parametrize("name", SEARCHED)
def test_centre_point_and_projection_agree_with_block(name, rng, dtype):
    n, sample = 60, np.arange(5, 25)
    entries = gram_matrix(rng, n, dtype=dtype)
    distance = make_distance(name, entries)
    rows = np.arange(n)
    block = distance.block(rows, rows)
    assert_allclose(distance.from_point(rows, 7), block[:, 7], atol=1e-5)
    # The mean of squared distances to a sample is that to its centre, up to a constant.
    centre = distance.from_mean(rows, sample).astype(np.float64)
    expected = block[:, sample].mean(axis=1)
    assert_allclose(centre - centre[0], expected - expected[0], atol=1e-4)
    along, expected = distance.project(rows, 3, 9), block[:, 3] - block[:, 9]
    assert along.dtype == np.float32
    assert np.corrcoef(along, expected)[0, 1] > 1 - 1e-6


@pytest.mark.parametrize("name", ["kernel", "angle"])
@pytest.mark.parametrize("factor", [1e-30, 1e-3, 1e30, 2e36])
def test_scaling_the_matrix_changes_nothing(name, factor, rng, dtype):
    entries = gram_matrix(rng, 100, dtype=dtype)
    scaled = DenseEntries(entries.matrix * dtype(factor))
    block, expected = (make_distance(name, e).block(ROWS, COLS) for e in (scaled, entries))
    assert_allclose(ratio(block, expected), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["kernel", "angle"])
def test_a_power_of_four_changes_no_bit(name, rng, dtype):
    entries = gram_matrix(rng, 100, dtype=dtype)
    scaled = DenseEntries(entries.matrix * dtype(2.0**60))
    assert_array_equal(
        make_distance(name, scaled).block(ROWS, COLS),
        make_distance(name, entries).block(ROWS, COLS),
    )


@pytest.mark.parametrize(("factor", "shift"), [(1e36, 0), (1e-40, 0), (1, 1e4)])
def test_points_of_any_size_and_origin(factor, shift, rng, dtype):
    points = rng.standard_normal((100, 3))
    points = (points * factor + shift).astype(dtype)
    rounded = points.astype(float) / factor
    expected = cdist(rounded[ROWS], rounded[COLS], "sqeuclidean")
    entries = DenseEntries(np.eye(100, dtype=dtype), points)
    block = make_distance("geometric", entries).block(ROWS, COLS)
    assert_allclose(ratio(block, expected), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize("value", [0, 1])
def test_constant_matrix_has_finite_distances(name, value, dtype):
    entries = DenseEntries(np.full((80, 80), value, dtype), np.full((80, 2), value, dtype))
    block = make_distance(name, entries, 0).block(ROWS, COLS)
    assert np.isfinite(block).all()
    assert (block >= 0).all()


def test_angle_survives_a_zero_diagonal():
    entries = DenseEntries(np.diag(np.r_[0.0, np.ones(99)]))
    assert np.isfinite(make_distance("angle", entries).block(ROWS, COLS)).all()


def test_refusals(rng):
    entries = DenseEntries(np.eye(3))
    with pytest.raises(
        ValueError, match=r"distance must be 'kernel' or 'angle' .*without points, got 'geometric'"
    ):
        make_distance("geometric", entries)
    with pytest.raises(ValueError, match=r"distance must be one of .* got 'euclid'"):
        make_distance("euclid", entries)


def test_generators_from_everything():
    for state in (3, np.random.SeedSequence(3)):
        assert as_generator(state).random() == np.random.default_rng(3).random()
    first, second = (as_generator(np.random.RandomState(3)).random() for _ in range(2))
    assert first == second
    generator = np.random.default_rng(3)
    assert as_generator(generator) is generator
    assert 0 <= as_generator(None).random() < 1
    assert 0 <= as_generator(np.random).random() < 1


@pytest.mark.parametrize("n_left", [1, 2, 50, 99])
@pytest.mark.parametrize("ties", [False, True])
def test_split_is_stable_and_exact(n_left, ties, rng):
    values = rng.integers(-3, 3, 100) if ties else rng.standard_normal(100) * 1e-3
    values = values.astype(np.float32)
    expected = np.argsort(values, kind="stable")
    ids = np.arange(100, dtype=np.intp)
    _ext.split(values, ids, n_left)
    assert_array_equal(ids[:n_left], np.sort(expected[:n_left]))
    assert_array_equal(ids[n_left:], np.sort(expected[n_left:]))


def test_split_of_special_values():
    values = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45], dtype=np.float32)
    ids = np.arange(7, dtype=np.intp)
    _ext.split(values, ids, 3)
    assert_array_equal(np.sort(ids), np.arange(7))
    assert set(ids[:3]) == {2, 6, 4}


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 40])
def test_every_instruction_set_projects_alike(isa, d, rng, dtype):
    points = rng.standard_normal((50, d)).astype(dtype)
    rows = rng.permutation(50)[:33]
    squares = nearest.project_points(points, rows, points[3])
    along = nearest.project_points(points, rows, points[3], points[5])
    difference = points[rows].astype(np.float64) - points[3]
    assert_allclose(squares, (difference**2).sum(1), rtol=1e-5)
    assert_allclose(along, difference @ points[5], atol=1e-4)
