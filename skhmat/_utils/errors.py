"""Exceptions that several parts of the package raise and catch."""

import numpy as np


class NotPositiveDefiniteError(np.linalg.LinAlgError):
    """A matrix that must be positive definite has an eigenvalue that is not positive.

    Parameters
    ----------
    eigenvalue_bound : float
        Approximate upper bound of the smallest eigenvalue, found where the computation failed.
    message : str, default=None
        None states the bound and nothing else.

    Attributes
    ----------
    eigenvalue_bound : float
    """

    def __init__(self, eigenvalue_bound, message=None):
        if message is None:
            message = (
                "The matrix is not positive definite: its smallest eigenvalue is at most "
                f"{eigenvalue_bound:.3g}."
            )
        super().__init__(message)
        self.eigenvalue_bound = eigenvalue_bound

    def __reduce__(self):
        return type(self), (self.eigenvalue_bound, str(self))
