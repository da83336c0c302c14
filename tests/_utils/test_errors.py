import pickle

import numpy as np

from skhmat._utils.errors import NotPositiveDefiniteError


def test_not_positive_definite():
    error = NotPositiveDefiniteError(-0.5)
    assert isinstance(error, np.linalg.LinAlgError)
    assert str(error) == (
        "The matrix is not positive definite: its smallest eigenvalue is at most -0.5."
    )
    for given in (error, NotPositiveDefiniteError(-2.0, "Raise shift.")):
        again = pickle.loads(pickle.dumps(given))
        assert type(again) is NotPositiveDefiniteError
        assert str(again) == str(given)
        assert again.eigenvalue_bound == given.eigenvalue_bound
