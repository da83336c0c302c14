import pytest

pytest.importorskip("tensorflow")

import keras

from .networks import ZOO


@pytest.fixture
def float64():
    """Weights and losses in double precision."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


@pytest.fixture(params=sorted(ZOO))
def name(request):
    """Each network of the zoo in turn."""
    return request.param
