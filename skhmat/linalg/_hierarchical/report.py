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
        entries are multiplied, "recall" the recall of the neighbour search, "in_memory" whether
        the entries of an exact kernel matrix are held.
    reason_dense : str
        Why the exact form is held; empty for a compressed matrix.
    considered : list of dict
        The forms that were considered, cheapest first: "form", "leaf_size" and "budget" of a
        hierarchical one, and the "setup" and "products" in seconds of a core and the "nbytes" that
        were expected. Empty if it was read from a file of an older version.
    """

    seconds: dict = field(default_factory=dict)
    n_read: int = 0
    error: float = 0.0
    rtol: float = 0.0
    parameters: dict = field(default_factory=dict)
    reason_dense: str = ""
    considered: list = field(default_factory=list)
