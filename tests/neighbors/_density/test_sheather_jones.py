"""The improved Sheather-Jones rule against its definition, without bins and with plain loops."""

import math
from dataclasses import replace

import numpy as np
import pytest

from skhmat.neighbors._density.sheather_jones import POLICY, improved_sheather_jones


def next_bandwidth(bandwidth, x, n_frequencies=400):
    """The map of Botev, Grotowski and Kroese, with a sum over the samples for each cosine."""
    low, high = (3 * x.min() - x.max()) / 2, (3 * x.max() - x.min()) / 2
    u, k = (x - low) / (high - low), np.arange(1, n_frequencies)
    squares = np.mean(np.cos(math.pi * np.outer(k, u)), axis=1) ** 2

    def norm(s, t):
        terms = (k * math.pi) ** (2.0 * s) * squares * np.exp(-((k * math.pi) ** 2) * t)
        return 2 * terms.sum()

    t = (bandwidth / (high - low)) ** 2
    for s in range(7, 2, -1):
        odd = math.prod(range(1, 2 * s - 2, 2))
        factor = (1 + 0.5 ** (s - 0.5)) / 3 * odd * math.sqrt(2 / math.pi)
        t = (factor / (len(x) * norm(s, t))) ** (2 / (2 * s + 1))
    t = (2 * len(x) * math.sqrt(math.pi) * norm(2, t)) ** (-2 / 5)
    return math.sqrt(t) * (high - low)


@pytest.mark.parametrize("n", [200, 1000])
@pytest.mark.parametrize("n_peaks", [1, 2])
def test_a_fixed_point_of_the_definition(n, n_peaks, rng):
    x = rng.standard_normal(n) + 5 * rng.integers(n_peaks, size=n)
    for policy, tolerance in ((POLICY, 1e-2), (replace(POLICY, first_bins=1 << 18), 1e-3)):
        found = improved_sheather_jones(x, policy=policy)
        assert 0.02 <= found <= 1
        assert next_bandwidth(found, x) == pytest.approx(found, rel=tolerance)


def test_units_and_origins(rng):
    x = rng.standard_normal(300)
    found = improved_sheather_jones(x)
    for unit, origin in ((1e-3, 0.0), (1e100, 0.0), (-2.0, 1e4)):
        moved = improved_sheather_jones(unit * x + origin)
        assert moved == pytest.approx(abs(unit) * found, rel=1e-3)


def test_copies_tell_nothing(rng):
    x = rng.standard_normal(300)
    found = improved_sheather_jones(x)
    assert improved_sheather_jones(np.tile(x, 3)) == pytest.approx(found)
    assert improved_sheather_jones(x, np.full(300, 7.0)) == pytest.approx(found)
    many = np.append(x, rng.standard_normal(300))
    some = improved_sheather_jones(many, np.repeat([1.0, 1e-12], 300))
    assert some == pytest.approx(found, rel=1e-2)


@pytest.mark.parametrize("distance", [10, 1000])
def test_narrow_peaks_far_apart(distance, rng):
    """Their own deviation counts, not that of all samples; and many bins are needed."""
    n = 1000
    x = np.append(rng.normal(0, 0.1, n), rng.normal(distance, 0.1, n))
    best = 1.06 * 0.1 * n**-0.2
    assert 0.5 * best <= improved_sheather_jones(x) <= 1.5 * best


def test_rounded_samples(rng):
    """No value is a peak of its own."""
    x = rng.standard_normal(20_000).round(1)
    assert 0.1 <= improved_sheather_jones(x) <= 1


def test_samples_that_do_not_determine_a_bandwidth(rng):
    for few in ([0.0], [3.0, 3.0, 3.0], [0.0, 1.0], [0.0, 1e308, -1e308]):
        assert improved_sheather_jones(np.array(few)) is None
    x = np.append(rng.standard_normal(500), 1e7)
    assert improved_sheather_jones(x, policy=replace(POLICY, last_bins=1 << 14)) is None
