"""The policy of all steps."""

from skhmat.manifold import DiffusionMaps, GeometricHarmonics
from skhmat.manifold._spectral import (
    affinity,
    bandwidth,
    distance_histogram,
    eigenpairs,
    extension,
    multilevel_start,
    neighborhoods,
)
from skhmat.manifold._spectral.policy import POLICY


def test_estimators_and_modules_have_the_same_policies():
    assert DiffusionMaps._policy is GeometricHarmonics._policy is POLICY
    assert POLICY.affinity == affinity.POLICY
    assert POLICY.bandwidth == bandwidth.POLICY
    assert POLICY.distance_histogram == distance_histogram.POLICY
    assert POLICY.eigenpairs == eigenpairs.POLICY
    assert POLICY.extension == extension.POLICY
    assert POLICY.multilevel_start == multilevel_start.POLICY
    assert POLICY.neighborhoods == neighborhoods.POLICY
