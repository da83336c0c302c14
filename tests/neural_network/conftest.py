import pytest

pytest.importorskip("tensorflow")

import keras
import tensorflow as tf
from tensorflow.python.ops import control_flow_util_v2

from .networks import ZOO

#: Test files in which TensorFlow rewrites graphs as it does for a user.
REWRITTEN = ("test_newton_cg", "test_public", "test_regressor", "test_optimizer")


@pytest.fixture(autouse=True, scope="module")
def graph_rewrites(request):
    """Leave graphs as they were traced, except in some files.

    To rewrite a graph (Grappler), and to take its branches and loops apart into single operations
    (lowering), takes half the time of a test that trains a small network. The numbers are the same.
    """
    if request.module.__name__.rpartition(".")[2] in REWRITTEN:
        yield
        return
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(control_flow_util_v2, "maybe_set_lowering_attr", lambda *_args: None)
        yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


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
