import dataclasses
import re

import numpy as np
import pytest

from skhmat.linalg import HierarchicalMatrix, KernelMatrix, compress
from skhmat.linalg._entries.entries import Entries
from skhmat.linalg._entries.sources import as_source
from skhmat.linalg._hierarchical.form import exact_form
from skhmat.linalg._hierarchical.report import CompressionReport
from skhmat.linalg._hierarchical.summary import describe_format, format_bytes


@pytest.fixture(scope="module")
def K():
    return KernelMatrix(np.random.default_rng(0).standard_normal((1000, 2)), bandwidth=1.5)


@pytest.fixture(scope="module")
def H(K):
    return compress(K, rtol=1e-3, leaf_size=64, budget=0.0, random_state=0)


def line(H, name):
    return next(line for line in H.summary().splitlines() if line.strip().startswith(name))


def test_head_error_and_memory(H):
    assert H.summary().splitlines()[0] == "HierarchicalMatrix 1,000 x 1,000, float64"
    promised, measured = re.findall(r"\d\.\de-\d\d", line(H, "error"))
    assert float(promised) == H.report_.rtol
    assert float(measured) == pytest.approx(H.error_estimate_, rel=0.06)
    assert f"{H.compression_ratio_:.1f} times smaller" in line(H, "memory")
    assert "dense 8 MB" in line(H, "memory")


def test_every_phase_has_its_seconds(H):
    text = H.summary()
    assert f"{sum(H.report_.seconds.values()):.3g} in total" in text
    for phase, seconds in H.report_.seconds.items():
        assert f"{phase} {seconds:.3g}" in text


def test_entries_read_are_a_fraction_of_all(H, K):
    H = H.copy()
    H.report_.n_read = 125_000
    assert "12.50% of K (125,000)" in line(H, "entries read")


def test_ranks_of_every_level(H):
    lines = H.summary().splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith("ranks"))
    table = [[int(cell) for cell in line.split()] for line in lines[start + 1 :]]
    assert [row[0] for row in table] == list(range(1, H.form.structure.depth + 1))
    for level, n_nodes, columns, low, mean, high in table:
        rank = H.ranks_[2**level - 1 : 2 ** (level + 1) - 1]
        assert (n_nodes, low, high) == (len(rank), rank.min(), rank.max())
        assert mean == round(rank.mean())
        assert columns == round(1000 / n_nodes)


def test_form_hss(H):
    sizes = np.diff(H.form.structure.leaf_bounds)
    assert describe_format(H.form) == f"HSS, {(sizes**2).sum() / 1000**2:.2%} of K near"


def test_form_fmm(K):
    H = compress(K, rtol=1e-3, leaf_size=64, budget=0.3, random_state=0)
    near = H.form.structure.near_leaf
    assert describe_format(H.form).startswith("FMM, ")
    # Leaves have 62 or 63 points, so the fraction of pairs of leaves is close.
    fraction = float(describe_format(H.form)[5:].split("%")[0]) / 100
    assert fraction == pytest.approx(len(near) / 16**2, rel=0.05)


def test_recomputed_blocks_are_mentioned(H):
    structure = dataclasses.replace(H.form.structure, near=None)
    assert "recomputed" in describe_format(dataclasses.replace(H.form, structure=structure))


def test_dense_says_why(K):
    H = HierarchicalMatrix(
        exact_form(
            Entries(as_source(K)), CompressionReport(rtol=1e-4, reason_dense="ranks too high"), None
        )
    )
    assert "dense, exact: ranks too high" in H.summary()
    assert "1.0e-04 promised, 0 (exact) measured" in H.summary()
    assert "ranks  " not in H.summary()


def test_single_leaf(K):
    H = compress(K, rtol=1e-3, leaf_size=1000, random_state=0)
    assert H.is_dense or "none, a single leaf" in H.summary()


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (2.5e6, "2.5 MB"),
        (1.6e9, "1.6 GB"),
        (3e12, "3e+03 GB"),
    ],
)
def test_bytes_have_units(count, text):
    assert format_bytes(count) == text
