"""The inverse as an operator, against the dense inverse."""

from functools import partial

import numpy as np
import pytest
from scipy import linalg

from skhmat.linalg._operators.inverse import InverseOperator

from ...contract.operator_contract import LAWS, Case
from ..matrices import symmetric


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_it_is_an_operator_like_any_other(law, global_random_seed):
    A = symmetric(np.linspace(1, 5, 40), global_random_seed)
    F = linalg.cho_factor(A)
    inverse = InverseOperator(40, partial(linalg.cho_solve, F))
    law(Case(inverse, np.linalg.inv(A), 1e-8, global_random_seed, has_entries=False))


def test_solve_is_given_contiguous_columns_in_double_precision():
    given = []
    inverse = InverseOperator(4, lambda B: given.append(B) or B)
    inverse @ np.ones((4, 6), dtype=np.float32)[:, ::2]
    assert given[0].flags.c_contiguous
    assert given[0].dtype == np.float64
    assert given[0].shape == (4, 3)
