import inspect

import pytest

from skhmat.linalg import compress
from skhmat.linalg._gofmm.distances import DISTANCES
from skhmat.linalg._parameters import COMPRESSION


@pytest.mark.parametrize("name", COMPRESSION)
def test_the_defaults_of_compress_are_allowed(name):
    default = inspect.signature(compress).parameters[name].default
    assert COMPRESSION[name].check(name, default) == default


def test_every_distance_is_allowed():
    for name in ("auto", *DISTANCES):
        assert COMPRESSION["distance"].check("distance", name) == name


def test_memory_may_be_unlimited():
    assert COMPRESSION["max_bytes"].check("max_bytes", float("inf")) == float("inf")
