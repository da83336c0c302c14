from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist
from sklearn.datasets import load_digits

from skhmat.datasets import _kernels as kernels
from skhmat.datasets import load_matrix

N = 60
FORMULAS = {
    "K04": lambda r2, dot: np.exp(-r2 / 2),
    "K05": lambda r2, dot: np.exp(-r2 / 8),
    "K06": lambda r2, dot: np.exp(-r2 / 32),
    "K07": lambda r2, dot: (r2 + 0.25) ** -2,
    "K08": lambda r2, dot: (dot / 6 + 1) ** 2,
    "K09": lambda r2, dot: 1 / (1 + r2),
    "K10": lambda r2, dot: (dot / 6 + 1) ** 4,
    "KDE-10D": lambda r2, dot: np.exp(-r2 / 18),
    "S-CURVE": lambda r2, dot: np.exp(-r2 / 0.08),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_kernels_are_those_of_the_description(name, global_random_seed):
    matrix = load_matrix(name, N, random_state=global_random_seed)
    X = matrix.points
    assert X.shape == (N, {"KDE-10D": 10, "S-CURVE": 3}.get(name, 6))
    expected = FORMULAS[name](cdist(X, X, "sqeuclidean"), X @ X.T)
    np.testing.assert_allclose(matrix.K.toarray(), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("name", "rank"), [("K08", 28), ("K10", 210)])
def test_polynomial_kernels_have_the_rank_of_the_description(name, rank):
    eigenvalues = np.linalg.eigvalsh(load_matrix(name, 400).K.toarray())[::-1]
    assert eigenvalues[rank - 1] > 1e-8 * eigenvalues[0]
    assert abs(eigenvalues[rank]) < 1e-13 * eigenvalues[0]


@pytest.mark.parametrize(("name", "n_features"), [("K-DIGITS", 64), ("K-PATCHES", 147)])
def test_real_data(name, n_features, global_random_seed):
    matrix = load_matrix(name, 1000, random_state=global_random_seed)
    assert matrix.points.shape == (1000, n_features)
    assert matrix.K.bandwidth == pytest.approx(np.median(pdist(matrix.points)))
    if name == "K-DIGITS":
        rows = {row.tobytes() for row in load_digits().data}
        assert {row.tobytes() for row in matrix.points} <= rows


def test_downloaded_data_are_standardised_and_kept(monkeypatch, tmp_path, global_random_seed):
    rng = np.random.default_rng(global_random_seed)
    data = rng.standard_normal((500, 6)) * [1, 2, 3, 4, 0, 1] + 7
    data[3, 5] = np.nan
    asked = []

    def fetch_openml(**options):
        asked.append(options)
        return SimpleNamespace(data=data)

    monkeypatch.setattr(kernels, "fetch_openml", fetch_openml)
    first = load_matrix("K-HIGGS", 300, data_home=tmp_path, random_state=global_random_seed)
    again = load_matrix(
        "K-HIGGS",
        300,
        data_home=tmp_path,
        random_state=global_random_seed,
        download_if_missing=False,
    )
    assert len(asked) == 1
    assert asked[0]["data_id"] == 23512
    np.testing.assert_array_equal(first.points, again.points)
    assert first.points.shape == (300, 4)  # neither the constant feature nor that with a gap
    whole = np.load(tmp_path / "skhmat" / "K-HIGGS.npy")
    np.testing.assert_allclose(whole.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(whole.std(axis=0), 1, rtol=1e-5)


def test_refused_and_failed_downloads(monkeypatch, tmp_path):
    with pytest.raises(OSError, match=r"'K-SUSY'.*download_if_missing is False.*'K-DIGITS'"):
        load_matrix("K-SUSY", 100, data_home=tmp_path, download_if_missing=False)

    def offline(**options):
        raise URLError("no route to host")

    monkeypatch.setattr(kernels, "fetch_covtype", offline)
    monkeypatch.setattr(kernels, "fetch_openml", offline)
    for name in ("K-COVTYPE", "K-MNIST"):
        with pytest.raises(OSError, match=f"'{name}'.*no route to host.*'K-PATCHES'"):
            load_matrix(name, 100, data_home=tmp_path)
