"""Read-only views. `tests/contract/test_read_only.py` tries all objects that show some."""

import numpy as np
import pytest
from scipy import sparse

from skhmat._utils.read_only import read_only


def test_views_leave_the_original_alone():
    X = np.ones((2, 3))
    view = read_only(X)
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 2
    X[0, 0] = 3
    assert view[0, 0] == 3
    assert read_only("text") == "text"


def test_views_of_sparse_matrices():
    X = sparse.random(6, 4, 0.5, format="csr", random_state=0)
    view = read_only(X)
    for part in (view.data, view.indices, view.indptr):
        with pytest.raises(ValueError, match="read-only"):
            part[0] = 1
    assert np.shares_memory(view.data, X.data)
    assert X.data.flags.writeable
    np.testing.assert_array_equal((view @ view.T).toarray(), (X @ X.T).toarray())
