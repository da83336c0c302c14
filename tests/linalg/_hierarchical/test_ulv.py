import dataclasses
import pickle
import re

import numpy as np
import pytest

from skhmat._utils.errors import NotPositiveDefiniteError
from skhmat.linalg import HierarchicalMatrix, KernelMatrix, compress, load
from skhmat.linalg._cholesky import dense as dense_factor
from skhmat.linalg._hierarchical.ulv import factorize

from ..matrices import NAMES, make_matrix

FORMS = ("hss", "array", "callable", "kernel")


@pytest.fixture
def small_panels(monkeypatch):
    monkeypatch.setattr(dense_factor, "_PANEL", 70)


def hss(K, seed, **options):
    settings = {"budget": 0, "leaf_size": 32, "rtol": 1e-3, "n_jobs": 1, "random_state": seed}
    return compress(K, **{**settings, **options})


def make(form, n, seed, dtype=np.float64, scale=1.0):
    """A matrix in the HSS form, or one that is held as it is: given in one of three ways."""
    if form == "hss":
        dense = make_matrix("gaussian_2d_wide", n, seed).dense
        H = hss((scale * dense).astype(dtype), seed)
    else:
        X = np.random.default_rng(seed).standard_normal((n, 30)).astype(dtype)
        K = KernelMatrix(X, bandwidth=4.0)
        dense = (scale * K.toarray()).astype(dtype)
        options = {"rtol": 1e-8 if dtype == np.float64 else 1e-5, "leaf_size": 16}
        if form == "array":
            H = hss(dense, seed, **options)
        elif form == "callable":
            options |= {"shape": (n, n), "dtype": dtype}
            H = hss(lambda rows, cols: dense[np.ix_(rows, cols)], seed, **options)
        else:
            H = hss(K, seed, **options)
    assert H.is_dense == (form != "hss")
    return H


def own_dense(H, shift):
    """What H stands for, in float64, and the shift, a number or one for each row."""
    n = H.shape[0]
    dense = (H @ np.eye(n, dtype=H.dtype)).astype(np.float64)
    return (dense + dense.T) / 2 + np.diag(np.full(n, shift))


def definite_shift(H, part=1e-3):
    """A shift for which the smallest eigenvalue is this fraction of the largest."""
    eigenvalues = np.linalg.eigvalsh(own_dense(H, 0.0))
    return max(part * eigenvalues[-1] - eigenvalues[0], 0.0)


def assert_same(actual, expected, rtol):
    """Compare in the norm: rounding in a solution is relative to its size, not to each entry."""
    assert np.linalg.norm(actual - expected) <= rtol * np.linalg.norm(expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_solve_and_determinant(name, dtype, global_random_seed):
    dense = make_matrix(name, 600, global_random_seed).dense.astype(dtype)
    H = hss(dense, global_random_seed)
    shift = definite_shift(H)
    F = H.factorize(shift)
    A = own_dense(H, shift)
    B = np.random.default_rng(global_random_seed).standard_normal((600, 7))
    X = F.solve(B)
    residual = np.linalg.norm(A @ X - B) / np.linalg.norm(B)
    # The products that A is made of are rounded in the matrix' dtype.
    assert residual <= (1e-10 if dtype == np.float64 else 1e-2)
    expected = np.linalg.slogdet(A)[1]
    assert F.logdet() == pytest.approx(expected, rel=1e-9 if dtype == np.float64 else 1e-3, abs=0.1)
    np.testing.assert_allclose(F.solve(B[:, 2]), X[:, 2], rtol=1e-9, atol=1e-9 * np.abs(X).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rtol", [1e-1, 1e-3])
@pytest.mark.parametrize("name", NAMES)
def test_inverse_diagonal(name, rtol, dtype, small_panels, global_random_seed):
    dense = make_matrix(name, 400, global_random_seed).dense.astype(dtype)
    H = hss(dense, global_random_seed, rtol=rtol)
    shift = definite_shift(H)
    F = H.factorize(shift)
    diagonal = F.inverse_diagonal()
    assert diagonal.dtype == np.float64
    assert diagonal.shape == (400,)
    A = own_dense(H, shift)
    # The products that A is made of are rounded in the matrix' dtype.
    tol = 1e-10 if dtype == np.float64 else 2e-2
    assert_same(diagonal, np.linalg.inv(A).diagonal(), tol)
    eigenvalues = np.linalg.eigvalsh(A)
    assert diagonal.sum() == pytest.approx(np.sum(1 / eigenvalues), rel=tol)
    assert np.all(diagonal * A.diagonal() >= 1 - tol)
    assert np.all(diagonal * eigenvalues[0] <= 1 + tol)
    # The inverse column by column, with nothing rounded in between.
    assert_same(diagonal, F.solve(np.eye(400)).diagonal(), 1e-10)


def test_inverse_diagonal_is_a_new_array(small_panels, global_random_seed):
    for form in ("hss", "array"):
        F = make(form, 300, global_random_seed).factorize(1.0)
        diagonal = F.inverse_diagonal()
        before = diagonal.copy()
        diagonal[:] = np.nan
        np.testing.assert_array_equal(F.inverse_diagonal(), before)


@pytest.mark.parametrize("n", [1, 2, 32, 33, 500, 1000])
@pytest.mark.parametrize("leaf_size", [2, 32, 2000])
def test_sizes(n, leaf_size, global_random_seed):
    X = np.random.default_rng(global_random_seed).standard_normal((n, 2))
    H = hss(KernelMatrix(X), global_random_seed, leaf_size=leaf_size)
    for shift in (1.0, np.random.default_rng(global_random_seed).permutation(n) / n + 1):
        A = own_dense(H, shift)
        F = H.factorize(shift)
        assert np.linalg.norm(A @ F.solve(np.ones(n)) - 1) <= 1e-11 * np.sqrt(n)
        assert_same(F.inverse_diagonal(), np.linalg.inv(A).diagonal(), 1e-11)
        assert F.logdet() == pytest.approx(np.linalg.slogdet(A)[1], rel=1e-11)


def test_many_right_hand_sides(global_random_seed):
    H = hss(make_matrix("gaussian_2d_wide", 300, global_random_seed).dense, global_random_seed)
    F = H.factorize(0.5)
    B = np.random.default_rng(global_random_seed).standard_normal((300, 300))
    X = F.solve(B)
    np.testing.assert_allclose(own_dense(H, 0.5) @ X, B, atol=1e-11)
    assert F.solve(B[:, :0]).shape == (300, 0)
    complex_one = B[:, 0] + 2j * B[:, 1]
    np.testing.assert_allclose(F.solve(complex_one), X[:, 0] + 2j * X[:, 1], atol=1e-12)
    np.testing.assert_allclose(F @ B, X)
    assert F.inverse is F


def test_another_shift_needs_no_compression(monkeypatch, global_random_seed):
    H = hss(make_matrix("exponential_3d", 400, global_random_seed).dense, global_random_seed)
    n_read = H.report_.n_read
    for shift in (0.1, 1, 10.0):
        x = H.factorize(shift).solve(np.ones(400))
        np.testing.assert_allclose(own_dense(H, shift) @ x, 1, atol=1e-11)
    assert H.report_.n_read == n_read


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("leaf_size", [32, 1000])
def test_scale(scale, leaf_size, global_random_seed):
    """Held at another scale inside; a small n with large leaves is held as it is."""
    dense = make_matrix("exponential_3d", 300, global_random_seed).dense
    one = hss(dense, global_random_seed, leaf_size=leaf_size).factorize(0.1)
    scaled = hss(scale * dense, global_random_seed, leaf_size=leaf_size).factorize(0.1 * scale)
    b = np.ones(300)
    assert_same(scaled.solve(b) * scale, one.solve(b), 1e-8)
    assert scaled.logdet() == pytest.approx(one.logdet() + 300 * np.log(scale), rel=1e-10)
    assert_same(scaled.inverse_diagonal() * scale, one.inverse_diagonal(), 1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("form", ["hss", "array", "callable"])
def test_scale_of_both_forms(form, scale, dtype, small_panels, rng, global_random_seed):
    """All that a factorization gives, with a shift for each row."""
    shift = 1 + rng.random(300)
    one = make(form, 300, global_random_seed, dtype).factorize(shift)
    scaled = make(form, 300, global_random_seed, dtype, scale).factorize(scale * shift)
    tol = 1e-8 if dtype == np.float64 else 1e-2
    b = np.ones(300)
    assert_same(scaled.solve(b) * scale, one.solve(b), tol)
    assert_same(scaled.inverse_diagonal() * scale, one.inverse_diagonal(), tol)
    expected = one.logdet() + 300 * np.log(scale)
    assert scaled.logdet() == pytest.approx(expected, rel=1e-8 if dtype == np.float64 else 1e-4)
    assert 0.1 < scaled.condition_estimate() / one.condition_estimate() < 10


def test_near_blocks_that_are_not_held(global_random_seed):
    X = np.random.default_rng(global_random_seed).standard_normal((500, 2))
    held = hss(KernelMatrix(X), global_random_seed)
    computed = hss(KernelMatrix(X), global_random_seed, max_bytes=0)
    assert computed.form.structure.near is None
    b = np.ones(500)
    shift = np.random.default_rng(global_random_seed).random(500) + 0.5
    for given in (0.1, shift):
        F, other = computed.factorize(given), held.factorize(given)
        assert_same(F.solve(b), other.solve(b), 1e-10)
        assert_same(F.inverse_diagonal(), other.inverse_diagonal(), 1e-10)


def test_threads_change_no_bit(global_random_seed):
    H = hss(make_matrix("gaussian_2d_wide", 800, global_random_seed).dense, global_random_seed)
    assert not H.is_dense
    B = np.random.default_rng(global_random_seed).standard_normal((800, 5))
    results = []
    for n_jobs in (1, 2, 4):
        F = HierarchicalMatrix(dataclasses.replace(H.form, n_jobs=n_jobs)).factorize(0.5)
        results.append((F.solve(B), F.logdet(), F.inverse_diagonal()))
    for result in results[1:]:
        for actual, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_condition_estimate(global_random_seed):
    H = hss(make_matrix("inverse_poisson_1d", 500, global_random_seed).dense, global_random_seed)
    for shift in (1e-1, 10.0):
        true = np.linalg.cond(own_dense(H, shift), 1)
        assert true / 5 <= H.factorize(shift).condition_estimate() <= true * (1 + 1e-8)


@pytest.mark.parametrize("n", [50, 300])
@pytest.mark.parametrize("form", ["array", "callable", "kernel"])
def test_exact_form(n, form, small_panels, global_random_seed):
    X = np.random.default_rng(global_random_seed).standard_normal((n, 30))
    K = KernelMatrix(X, bandwidth=2.0)
    dense = K.toarray()
    options = {"rtol": 1e-8, "leaf_size": 16}
    if form == "callable":
        options["shape"] = (n, n)
    given = {"array": dense, "kernel": K, "callable": lambda r, c: dense[np.ix_(r, c)]}[form]
    H = hss(given, global_random_seed, **options)
    assert H.is_dense
    F = H.factorize(0.1)
    A = dense + 0.1 * np.eye(n)
    np.testing.assert_allclose(A @ F.solve(np.ones(n)), 1, atol=1e-12)
    assert F.logdet() == pytest.approx(np.linalg.slogdet(A)[1], rel=1e-12)
    np.testing.assert_allclose(F.inverse_diagonal(), np.linalg.inv(A).diagonal(), rtol=1e-12)
    assert F.nbytes <= 8 * n * (n + 70) / 2
    np.testing.assert_array_equal(K.toarray(), dense)  # what the user holds is not changed
    with pytest.raises(np.linalg.LinAlgError, match=r"shift=-1 .* eigenvalue is about -"):
        H.factorize(-1)
    np.testing.assert_array_equal(K.toarray(), dense)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", ["array", "kernel"])
def test_exact_form_in_single_precision(form, dtype, small_panels, rng, global_random_seed):
    """The factor of a preconditioner has half the bytes, and the accuracy of float32."""
    H = make(form, 300, global_random_seed, dtype)
    shift = 0.5 + rng.random(300)
    F, single = factorize(H, shift), factorize(H, shift, np.float32)
    assert single.dtype == F.dtype == dtype
    assert 2 * single.nbytes == F.nbytes
    B = rng.standard_normal((300, 3))
    assert single.solve(B).dtype == np.float64
    assert_same(single.solve(B), F.solve(B), 1e-4)
    assert_same(single.inverse_diagonal(), F.inverse_diagonal(), 1e-4)
    assert single.logdet() == pytest.approx(F.logdet(), rel=1e-4)


@pytest.mark.parametrize("form", ["hss", "array", "kernel"])
@pytest.mark.parametrize("vector", [False, True])
def test_pickle(form, vector, rng, small_panels, global_random_seed):
    H = make(form, 300, global_random_seed)
    F = H.factorize(1.0 + vector * rng.random(300))
    copy = pickle.loads(pickle.dumps(F))
    np.testing.assert_array_equal(copy.solve(np.ones(300)), F.solve(np.ones(300)))
    np.testing.assert_array_equal(copy.inverse_diagonal(), F.inverse_diagonal())
    assert copy.logdet() == F.logdet()
    np.testing.assert_array_equal(copy.shift, F.shift)


@pytest.mark.parametrize("form", ["hss", "array", "kernel"])
def test_files(form, tmp_path, rng, global_random_seed):
    H = make(form, 300, global_random_seed)
    H.save(tmp_path / "H.npz")
    shift = 1 + rng.random(300)
    F, again = H.factorize(shift), load(tmp_path / "H.npz").factorize(shift)
    np.testing.assert_array_equal(again.solve(np.ones(300)), F.solve(np.ones(300)))
    np.testing.assert_array_equal(again.inverse_diagonal(), F.inverse_diagonal())


@pytest.mark.parametrize("form", ["hss", "array"])
def test_repr(form, rng, global_random_seed):
    H = make(form, 300, global_random_seed)
    pattern = r"<300x300 Factorization of float64: shift {}, [\d.]+ MB>"
    assert re.fullmatch(pattern.format("1.5"), repr(H.factorize(1.5)))
    shift = np.full(300, 2.0)
    shift[17] = 30.0
    assert re.fullmatch(pattern.format("2 to 30"), repr(H.factorize(shift)))


# ---- a shift for each row


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS)
def test_a_shift_for_each_row(form, dtype, small_panels, rng, global_random_seed):
    H = make(form, 400, global_random_seed, dtype)
    shift = definite_shift(H) + 10 ** rng.uniform(-2, 2, 400)
    F = H.factorize(shift)
    np.testing.assert_array_equal(F.shift, shift)
    A = own_dense(H, shift)
    inverse = np.linalg.inv(A)
    tol = 1e-10 if dtype == np.float64 else 1e-2
    B = rng.standard_normal((400, 3))
    assert_same(A @ F.solve(B), B, tol)
    assert_same(F.solve(B), inverse @ B, tol)
    assert_same(F.inverse_diagonal(), inverse.diagonal(), tol)
    logdet = np.linalg.slogdet(A)[1]
    assert F.logdet() == pytest.approx(logdet, rel=1e-9 if dtype == np.float64 else 1e-3, abs=0.1)
    true = np.linalg.cond(A, 1)
    assert true / 10 <= F.condition_estimate() <= true * (1 + tol)


@pytest.mark.parametrize("form", FORMS)
def test_every_row_keeps_its_own(form, small_panels, rng, global_random_seed):
    """Large shifts, all different: the points are in no order, and the tree has its own."""
    H = make(form, 400, global_random_seed)
    shift = rng.permutation(np.logspace(7, 10, 400))
    F = H.factorize(shift)
    np.testing.assert_allclose(F.inverse_diagonal() * shift, 1, rtol=1e-3)
    np.testing.assert_allclose(F.solve(np.ones(400)) * shift, 1, rtol=1e-3)
    assert F.logdet() == pytest.approx(np.log1p(shift).sum(), rel=1e-6)


@pytest.mark.parametrize("name", ["identity", "constant"])
def test_formulas_for_each_row(name, rng):
    """Diagonal, and a diagonal and rank one: Sherman and Morrison."""
    H = hss(make_matrix(name, 500).dense, 0)
    shift = 0.5 + rng.random(500)
    F = H.factorize(shift)
    if name == "identity":
        expected, logdet = 1 / (1 + shift), np.log1p(shift).sum()
    else:
        total = 1 + np.sum(1 / shift)
        expected, logdet = 1 / shift - 1 / shift**2 / total, np.log(shift).sum() + np.log(total)
    np.testing.assert_allclose(F.inverse_diagonal(), expected, rtol=1e-11)
    assert F.logdet() == pytest.approx(logdet, rel=1e-11)


@pytest.mark.parametrize("form", FORMS)
def test_equal_shifts_are_one(form, small_panels, rng, global_random_seed):
    H = make(form, 300, global_random_seed)
    B = rng.standard_normal((300, 2))
    F, one = H.factorize(np.full(300, 0.7)), H.factorize(0.7)
    np.testing.assert_array_equal(F.solve(B), one.solve(B))
    np.testing.assert_array_equal(F.inverse_diagonal(), one.inverse_diagonal())
    assert F.logdet() == one.logdet()


@pytest.mark.parametrize("form", ["hss", "array"])
@pytest.mark.parametrize(
    "convert",
    [
        lambda shift: shift.astype(np.int8),
        lambda shift: shift.astype(np.float32),
        lambda shift: shift.astype(">f8"),
        lambda shift: np.repeat(shift, 3)[::3],
        lambda shift: np.broadcast_to(shift, (1, 300))[0],
    ],
    ids=["integers", "single", "big-endian", "strided", "read-only"],
)
def test_arrays_of_all_kinds(form, convert, small_panels, rng, global_random_seed):
    H = make(form, 300, global_random_seed)
    shift = rng.integers(1, 100, 300).astype(np.float64)
    F, expected = H.factorize(convert(shift)), H.factorize(shift)
    np.testing.assert_array_equal(F.inverse_diagonal(), expected.inverse_diagonal())
    assert F.shift.dtype == np.float64


@pytest.mark.parametrize("form", FORMS)
def test_the_given_array_is_not_changed(form, small_panels, rng, global_random_seed):
    H = make(form, 300, global_random_seed)
    shift = 1 + rng.random(300)
    before = shift.copy()
    F = H.factorize(shift)
    logdet, diagonal = F.logdet(), F.inverse_diagonal()
    F.solve(np.ones(300))
    F.condition_estimate()
    np.testing.assert_array_equal(shift, before)
    # Nor does modifying the input later change anything.
    shift[:] = 1e30
    np.testing.assert_array_equal(F.shift, before)
    assert F.logdet() == logdet
    np.testing.assert_array_equal(F.inverse_diagonal(), diagonal)
    assert F.condition_estimate() < 1e6


# ---- what must be refused


@pytest.mark.parametrize("leaf_size", [32, 64])
def test_loss_of_definiteness_is_reported(leaf_size, global_random_seed):
    dense = make_matrix("gaussian_2d_wide", 400, global_random_seed).dense
    H = hss(dense, global_random_seed, leaf_size=leaf_size)
    eigenvalues = np.linalg.eigvalsh(own_dense(H, 0.0))
    for below in (-eigenvalues[0] - 1e-3, -eigenvalues[-1] / 2):
        with pytest.raises(np.linalg.LinAlgError) as caught:
            H.factorize(below)
        message = str(caught.value)
        assert "not positive definite" in message
        assert "eigenvalue is about -" in message
        assert "Raise shift" in message
        assert "rtol (now 1e-03)" in message
    # Just definite: the same decision as that of the eigenvalues.
    H.factorize(-eigenvalues[0] + 1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_the_error_has_the_eigenvalue(form, small_panels, rng, global_random_seed):
    H = make(form, 300, global_random_seed)
    for shift, text in ((-3.0, "-3"), (np.linspace(-3, 0, 300), "-3 to 0")):
        with pytest.raises(NotPositiveDefiniteError) as caught:
            H.factorize(shift)
        error = caught.value
        assert isinstance(error, np.linalg.LinAlgError)
        assert type(error.eigenvalue_bound) is float
        assert error.eigenvalue_bound < 0
        message = str(error)
        assert f"K + shift I is not positive definite: with shift={text} its smallest" in message
        assert f"eigenvalue is about {error.eigenvalue_bound:.2g}. Raise" in message
        assert f"Raise shift by more than {-error.eigenvalue_bound:.2g}, or compress" in message
        smallest = np.linalg.eigvalsh(own_dense(H, shift))[0]
        assert error.eigenvalue_bound == pytest.approx(smallest, rel=0.1)


@pytest.mark.parametrize("form", FORMS)
def test_the_advice_is_right(form, global_random_seed):
    H = make(form, 300, global_random_seed)
    for shift in (-1.0, np.linspace(-2.0, 1.0, 300)):
        with pytest.raises(NotPositiveDefiniteError) as caught:
            H.factorize(shift)
        H.factorize(shift - 1.1 * caught.value.eigenvalue_bound)


@pytest.mark.parametrize("form", ["hss", "array"])
@pytest.mark.parametrize("scale", [2.0**-100, 2.0**100])
def test_the_eigenvalue_has_the_scale_of_the_matrix(form, scale, small_panels, global_random_seed):
    eigenvalues = []
    for of_matrix in (1.0, scale):
        H = make(form, 300, global_random_seed, scale=of_matrix)
        with pytest.raises(NotPositiveDefiniteError) as caught:
            H.factorize(-3 * of_matrix)
        eigenvalues.append(caught.value.eigenvalue_bound)
    assert eigenvalues[1] == pytest.approx(scale * eigenvalues[0], rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("leaf_size", [16, 200])
def test_the_eigenvalue_of_a_singular_matrix(leaf_size, dtype):
    """Zero up to rounding, of either sign."""
    H = hss(np.ones((100, 100), dtype=dtype), 0, leaf_size=leaf_size)
    with pytest.raises(NotPositiveDefiniteError) as caught:
        H.factorize()
    assert abs(caught.value.eigenvalue_bound) <= 1e-6
    np.testing.assert_allclose(H.factorize(1.0).inverse_diagonal(), 100 / 101, rtol=1e-12)


def test_the_error_can_be_pickled(global_random_seed):
    """It must be, to be raised in another process."""
    with pytest.raises(NotPositiveDefiniteError) as caught:
        make("hss", 300, global_random_seed).factorize(-3.0)
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is NotPositiveDefiniteError
    assert again.eigenvalue_bound == caught.value.eigenvalue_bound
    assert str(again) == str(caught.value)


def test_all_points_equal(global_random_seed):
    H = hss(KernelMatrix(np.ones((200, 3))), global_random_seed)
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        H.factorize()
    x = H.factorize(1.0).solve(np.ones(200))
    np.testing.assert_allclose(x, 1 / 201, rtol=1e-9)


def test_fmm_format_is_refused(global_random_seed):
    X = np.random.default_rng(global_random_seed).standard_normal((600, 2))
    H = hss(KernelMatrix(X, bandwidth=0.2), global_random_seed, budget=0.2)
    with pytest.raises(ValueError, match=r"budget was not 0.*compress\(\.\.\., budget=0\)"):
        H.factorize(1.0)


@pytest.mark.parametrize("leaf_size", [32, 64])
@pytest.mark.parametrize("shift", [np.nan, -np.inf, "a", None, 1j, [1.0] * 49])
def test_bad_shift(shift, leaf_size, global_random_seed):
    H = hss(np.eye(50), global_random_seed, leaf_size=leaf_size)
    with pytest.raises(ValueError, match=r"shift must be a finite number or an array .*, got "):
        H.factorize(shift)


def test_an_integer_that_no_float_can_hold():
    with pytest.raises(ValueError, match=r"shift must be .*, got "):
        hss(np.eye(50), 0).factorize(10**400)


@pytest.mark.parametrize("form", ["hss", "array"])
@pytest.mark.parametrize(
    ("shift", "message"),
    [
        (np.ones(299), r"shift must be .* of shape \(300,\), got shape \(299,\)"),
        (np.ones(301), r"shift must be .*got shape \(301,\)"),
        (np.ones((300, 1)), r"shift must be .*got shape \(300, 1\)"),
        (np.ones((300, 300)), r"shift must be .*got shape \(300, 300\)"),
        (np.ones(0), r"shift must be .*got shape \(0,\)"),
        (np.ones(300, dtype=complex), r"shift must be (real|numeric), got dtype complex128"),
        (np.array(["1"] * 300), r"shift must be (real|numeric), got dtype <U1"),
        (np.ones(300, dtype=object), r"shift must be (real|numeric), got dtype object"),
        (np.r_[np.ones(299), np.nan], "shift must be finite, got NaN"),
        (np.r_[np.inf, np.ones(299)], "shift must be finite, got NaN"),
    ],
)
def test_bad_arrays_of_shifts(shift, message, form, global_random_seed):
    H = make(form, 300, global_random_seed)
    with pytest.raises(ValueError, match=message):
        H.factorize(shift)


@pytest.mark.parametrize(
    ("B", "message"),
    [
        (np.ones(49), r"B must be of shape \(50,\) or \(50, k\), got shape \(49,\)"),
        (np.ones((50, 1, 1)), r"B must be .*, got shape"),
        (np.float64(1), r"B must be .*, got shape"),
        (np.full(50, np.nan), "B must be finite, got NaN"),
        (np.array(["a"] * 50), r"B must be (real|numeric), got dtype"),
    ],
)
def test_bad_right_hand_side(B, message, global_random_seed):
    F = hss(np.eye(50), global_random_seed).factorize()
    with pytest.raises(ValueError, match=message):
        F.solve(B)
