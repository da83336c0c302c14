import gc
import os
import random
import sys

import numpy as np
import pytest
from skhmat._ext.simd import dispatch

# Processes of one run (pytest-xdist) have one seed: that of the first, which starts the others.
_SEED = int(os.environ.setdefault("SKHMAT_TEST_SEED", str(random.SystemRandom().randrange(10**6))))


def pytest_report_header():
    return f"SKHMAT_TEST_SEED={_SEED}"


def pytest_collection_modifyitems(items):
    """Shuffle the tests if asked to, so that one that needs another one is seen."""
    if os.environ.get("SKHMAT_TEST_ORDER") == "random":
        random.Random(_SEED).shuffle(items)


def pytest_collection_finish():
    """Let the garbage collector pass over what the imports made, which stays to the end.

    TensorFlow alone makes so many objects that a full collection takes half a second, and graphs
    are garbage that calls for many.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def global_generators():
    """What draws from a generator of the whole process repeats with the seed, too."""
    random.seed(_SEED)
    np.random.seed(_SEED)  # noqa: NPY002
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(_SEED)


@pytest.fixture(autouse=True)
def x87_state_left_clean():
    """A compiled loop that leaves MMX registers in use makes long doubles NaN, in any library."""
    yield
    assert np.isfinite(np.longdouble(_SEED) + 1)


@pytest.fixture
def global_random_seed():
    """A seed that changes from run to run; set SKHMAT_TEST_SEED to the printed one to repeat."""
    return _SEED


@pytest.fixture
def rng(global_random_seed):
    """Random numbers of that seed."""
    return np.random.default_rng(global_random_seed)


@pytest.fixture(params=dispatch.available())
def isa(request):
    """Each instruction set of this CPU in turn."""
    before = dispatch.isa()
    assert dispatch.select_isa(request.param)
    yield request.param
    assert dispatch.select_isa(before)
