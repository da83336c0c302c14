import warnings

import pytest
from sklearn.exceptions import ConvergenceWarning

from skhmat._utils.warnings import warn


def test_a_warning_is_at_the_line_outside_the_package():
    namespace = {"__name__": "skhmat.somewhere", "warn": warn}
    exec("def inner(): warn('missed')\ndef outer(): inner()", namespace)
    with pytest.warns(ConvergenceWarning, match="missed") as caught:
        namespace["outer"]()
    assert caught[0].filename == __file__


def test_category():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn("old", FutureWarning)
    assert caught[0].category is FutureWarning
