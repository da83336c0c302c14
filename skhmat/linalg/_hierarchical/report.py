"""What compression did, as data."""

from dataclasses import dataclass, field


@dataclass
class CompressionReport:
    """What compression did: seconds per phase, entries read, and the measured error.

    Attributes
    ----------
    seconds : dict of str to float
        Per phase, in the order in which the phases first ran.
    n_read : int
        Entries of K that were read, repeated reads counted.
    error : float
        Measured relative error.
    rtol : float
        The error promised.
    parameters : dict
        The parameters of `compress` as they were used; "scale" is the power of two by which
        entries are multiplied, "recall" the recall of the neighbour search.
    reason_dense : str
        Why the exact form is held; empty for a compressed matrix.
    """

    seconds: dict = field(default_factory=dict)
    n_read: int = 0
    error: float = 0.0
    rtol: float = 0.0
    parameters: dict = field(default_factory=dict)
    reason_dense: str = ""
