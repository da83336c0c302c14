import os
import random

import pytest

_SEED = int(os.environ.get("SKHMAT_TEST_SEED", random.SystemRandom().randrange(10**6)))


def pytest_report_header():
    return f"SKHMAT_TEST_SEED={_SEED}"


@pytest.fixture
def global_random_seed():
    """A seed that changes from run to run; set SKHMAT_TEST_SEED to the printed one to repeat."""
    return _SEED
