import numpy as np
import pytest
from sklearn.utils import Bunch

from skhmat.datasets import _collection, _graphs, _kernels, load_matrix
from skhmat.datasets._collection import FAMILIES, StoragePolicy, load_stored

from ..linalg.matrices import as_dense

ONLINE = [*_kernels.DOWNLOADS, *_graphs.SUITESPARSE]
OFFLINE = [name for name in FAMILIES if name not in ONLINE]
TABLE_62 = [f"K{i:02d}" for i in range(1, 19)] + [f"G{i:02d}" for i in range(1, 6)]


def legal_size(name, n):
    """Return a size next to n that the family has."""
    step, offset = FAMILIES[name].steps or (1, 0)
    n = round((n - offset) / step) * step + offset
    return min(n, FAMILIES[name].largest or n)


def test_names():
    assert {*TABLE_62, "GNH-DIGITS", "GNH-AUTOENCODER", "KDE-10D", "S-CURVE"} <= set(OFFLINE)
    for name in FAMILIES:
        assert name in load_matrix.__doc__.replace("G01 to G05", "G01 G02 G03 G04 G05")


@pytest.mark.parametrize("dtype", ["float32", np.float64])
@pytest.mark.parametrize("name", OFFLINE)
def test_every_matrix(name, dtype, global_random_seed):
    n = legal_size(name, 512)
    matrix = load_matrix(name, n, dtype, random_state=global_random_seed)
    assert isinstance(matrix, Bunch)
    assert matrix.name == name
    assert matrix.K.shape == (n, n)
    assert matrix.K.dtype == np.dtype(dtype)
    if matrix.points is not None:
        assert len(matrix.points) == n
        assert matrix.points.dtype == np.dtype(dtype)
    K = as_dense(matrix.K).astype(np.float64)
    np.testing.assert_array_equal(K, K.T)
    eigenvalues = np.linalg.eigvalsh(K)
    assert eigenvalues[0] >= -10 * n * np.finfo(dtype).eps * eigenvalues[-1]
    assert K.diagonal().min() > 0


@pytest.mark.parametrize("name", OFFLINE)
def test_random_state(name, global_random_seed):
    n = legal_size(name, 1024 if name.startswith("GNH") else 256)  # some units are dead

    def dense(random_state):
        return as_dense(load_matrix(name, n, random_state=random_state).K)

    one = dense(global_random_seed)
    np.testing.assert_array_equal(one, dense(global_random_seed))
    other = dense(global_random_seed + 1)
    assert np.array_equal(one, other) == (not FAMILIES[name].random)
    for generator in (np.random.RandomState(global_random_seed), np.random.default_rng(one.size)):
        first, second = dense(generator), dense(generator)
        assert np.array_equal(first, second) == (not FAMILIES[name].random)
    dense(None)


@pytest.mark.parametrize("name", [name for name in OFFLINE if FAMILIES[name].condition])
def test_condition_number_is_that_of_the_description(name):
    n = legal_size(name, 2048)
    matrix = load_matrix(name, n)
    eigenvalues, condition = np.linalg.eigvalsh(as_dense(matrix.K)), matrix.condition
    if condition > 1e14:  # the smallest eigenvalue is rounding
        assert abs(eigenvalues[0]) < 1e-13 * eigenvalues[-1]
    else:
        assert eigenvalues[-1] / eigenvalues[0] == pytest.approx(condition, rel=0.05)


@pytest.mark.parametrize("name", FAMILIES)
def test_description(name):
    text = _collection.describe(name)
    assert text.startswith(f"{name}: ")
    assert "Source: " in text
    assert "Condition number" in text
    assert "Parameters" not in text


def test_points_are_those_of_the_grid():
    points = load_matrix("K18", 2 * 5**3).points
    assert points.shape == (250, 3)
    assert points.min() == pytest.approx(1 / 6)
    np.testing.assert_allclose(points.max(axis=0), [10 / 6, 5 / 6, 5 / 6])


# ---- files


def load_small(name, n, dtype="float64", **options):
    """Load a matrix as if more than 100 rows were too many for memory."""
    return load_stored(name, n, dtype, **options, policy=StoragePolicy(max_rows_in_memory=100))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_matrices_are_kept_in_files(dtype, monkeypatch, tmp_path):
    first = load_small("K12", 128, dtype, random_state=3, data_home=tmp_path)
    assert isinstance(first.K, np.memmap)
    assert not first.K.flags.writeable
    path = tmp_path / "skhmat" / f"K12-128-3-{dtype}.bin"
    assert path.stat().st_size == 128**2 * first.K.itemsize
    monkeypatch.setattr(_collection, "write", None)  # not called again
    again = load_small("K12", 128, dtype, random_state=3, data_home=tmp_path)
    np.testing.assert_array_equal(first.K, again.K)
    np.testing.assert_array_equal(first.points, again.points)
    in_memory = load_matrix("K12", 128, dtype, random_state=3, data_home=tmp_path)
    np.testing.assert_array_equal(first.K, in_memory.K)


def test_float32_is_converted_where_float64_is_there(monkeypatch, tmp_path):
    double = load_small("K03", 128, data_home=tmp_path).K
    monkeypatch.setattr(_collection, "write", None)
    single = load_small("K03", 128, "float32", data_home=tmp_path).K
    np.testing.assert_array_equal(single, double.astype(np.float32))


def test_names_of_files_tell_matrices_apart(tmp_path):
    load_small("K03", 128, random_state=1, data_home=tmp_path)
    load_small("K03", 128, random_state=2, data_home=tmp_path)  # nothing random: the same
    load_small("G04", 128, random_state=1, data_home=tmp_path)
    load_small("G04", 128, random_state=2, data_home=tmp_path)
    assert sorted(path.name for path in (tmp_path / "skhmat").iterdir()) == [
        "G04-128-1-float64.bin",
        "G04-128-2-float64.bin",
        "K03-128-float64.bin",
    ]


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0), np.random.default_rng(0)])
def test_only_an_integer_names_a_file(random_state, tmp_path):
    with pytest.raises(ValueError, match=r"random_state must be an integer above n = 100, .*, got"):
        load_small("G04", 128, random_state=random_state, data_home=tmp_path)
    load_small("K04", 128, random_state=random_state, data_home=tmp_path)
    load_small("K03", 128, random_state=random_state, data_home=tmp_path)


# ---- bad input


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("K19", 1024), r"name must be one of 'K01', .*'G05'.*conf6.*, got 'K19'"),
        ((["K01"], 1024), r"name must be one of 'K01', .*, got \['K01'\]"),
        (("K02", 1000), r"n must be s² or 2s², such as 968 and 1,024, for 'K02', got 1000"),
        (("K17", 1000 - 1), r"n must be s³, .* 864 and 1,000, for 'K17', got 999"),
        (("G05", 1000), r"n must be s⁴, .* 648 and 1,024, for 'G05', got 1000"),
        (
            ("GNH-DIGITS", 2048),
            r"n must be 75 h \+ 10, .* 2,035 and 2,110, for 'GNH-DIGITS', got 2048",
        ),
        (("K-DIGITS", 1798), r"n must be at most 1,797, .*, for 'K-DIGITS', got 1798"),
        (("powersim", 20_000), r"n must be at most 15,838, .*, for 'powersim', got 20000"),
        (("K04", 15), r"n must be at least 16 for 'K04', got 15"),
        (("K04", 0), r"n must be an integer of at least 1, got 0"),
        (("K04", 20.5), r"n must be an integer of at least 1, got 20\.5"),
        (("K04", 20, "int32"), r"dtype must be native float32 or float64, got 'int32'"),
        (("K04", 20, "no dtype"), r"dtype must be .*, got 'no dtype'"),
        (("K04", 20, float, -1), r"random_state|seed|Seed"),
        (("K04", 20, float, "seed"), r"'seed' cannot be used to seed"),
    ],
)
def test_bad_input(args, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_matrix(*args, data_home=tmp_path)
