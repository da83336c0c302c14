import sys

import numpy as np
import pytest

from skhmat.linalg import HierarchicalMatrix, KernelMatrix, compress
from skhmat.linalg._entries.entries import Entries
from skhmat.linalg._entries.sources import as_source
from skhmat.linalg._hierarchical.form import exact_form
from skhmat.linalg._hierarchical.report import CompressionReport

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from skhmat.linalg._hierarchical.plot import far_blocks, near_blocks  # noqa: E402


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module", params=[0.0, 0.2], ids=["HSS", "FMM"])
def H(request):
    X = np.random.default_rng(0).standard_normal((1000, 2))
    K = KernelMatrix(X, bandwidth=1.5)
    return compress(K, rtol=1e-3, leaf_size=64, budget=request.param, random_state=0)


def test_blocks_cover_the_matrix_exactly_once(H):
    covered = np.zeros(H.shape, dtype=int)
    for top, bottom, left, right in np.concatenate(
        [near_blocks(H.form.structure), far_blocks(H.form.structure)[0]]
    ):
        covered[top:bottom, left:right] += 1
    assert (covered == 1).all()


def test_ranks_are_those_of_the_smaller_basis(H):
    s = H.form.structure
    bounds, rank = far_blocks(H.form.structure)
    node = np.repeat(np.arange(len(s.rank)), np.diff(s.far_ptr))
    assert len(bounds) == len(rank) == len(s.far_node)
    np.testing.assert_array_equal(rank, np.minimum(s.rank[node], s.rank[s.far_node]))
    assert (rank <= np.minimum(bounds[:, 1] - bounds[:, 0], bounds[:, 3] - bounds[:, 2])).all()


def test_picture_has_few_artists_and_the_ranks_in_it(H):
    ax = H.plot()
    near, far = ax.collections
    assert len(near.get_paths()) == len(near_blocks(H.form.structure))
    bounds, rank = far_blocks(H.form.structure)
    assert len(far.get_paths()) == len(rank)
    relative = rank / (bounds[:, 1] - bounds[:, 0])
    # Blocks differ by one row where n is no power of two.
    np.testing.assert_allclose(np.ma.filled(far.get_array(), 0), relative, rtol=0.05)
    written = {int(text.get_text()) for text in ax.texts}
    largest = bounds[:, 1] - bounds[:, 0] >= 250
    assert set(rank[largest]) <= written <= set(rank)
    assert len(ax.texts) <= 600
    ax.figure.canvas.draw()


def test_near_blocks_have_a_colour_of_their_own(H):
    near, far = H.plot().collections
    far.update_scalarmappable()
    difference = np.abs(far.get_facecolors()[:, :3] - near.get_facecolor()[0, :3]).sum(axis=1)
    assert difference.min() > 0.5


def test_first_row_is_on_top_and_the_title_names_the_form(H):
    ax = H.plot()
    assert ax.get_xlim() == (0, 1000)
    assert ax.get_ylim() == (1000, 0)
    assert ax.get_title().startswith(("HSS", "FMM"))
    assert f"{H.compression_ratio_:.1f} times smaller" in ax.get_title()


def test_numbers_are_left_out_where_they_do_not_fit(H):
    _, ax = plt.subplots(figsize=(0.15, 0.15))
    H.plot(ax)
    assert len(ax.texts) == 0


def test_axes_given_are_used(H):
    _, (first, second) = plt.subplots(1, 2)
    assert H.plot(second) is second
    assert len(first.collections) == 0


def test_dense_form_is_one_block_with_the_reason():
    K = KernelMatrix(np.random.default_rng(0).standard_normal((100, 2)))
    reason = "compression would cost more than the dense matrix, which it must not"
    ax = HierarchicalMatrix(
        exact_form(Entries(as_source(K)), CompressionReport(reason_dense=reason), None)
    ).plot()
    assert len(ax.collections) == 1
    assert ax.texts[0].get_text().replace("\n", " ") == reason
    ax.figure.canvas.draw()
    box = ax.texts[0].get_window_extent()
    assert box.width < ax.get_window_extent().width


def test_single_leaf_has_no_colour_bar():
    K = KernelMatrix(np.random.default_rng(0).standard_normal((100, 2)))
    H = compress(K, rtol=1e-3, leaf_size=100, random_state=0)
    ax = H.plot()
    assert len(ax.figure.axes) == 1
    ax.figure.canvas.draw()


def test_missing_matplotlib_names_the_extra(H, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install skhmat\[plot\]"):
        H.plot()
