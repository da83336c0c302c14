"""Problems in the graphs of the probabilistic preconditioner, which cannot issue warnings."""

import numpy as np

from ..._utils.warnings import warn
from .._keras import tf

#: Each kind of problem, and the warning that reports it afterwards.
TROUBLES = {
    "negative_curvature": (
        "{new} priors saw negative or no curvature along the gradient (down to {worst:.2g}); the "
        "last learning rate was kept for them."
    ),
    "clipped": (
        "{new} of the largest eigenvalues found were not positive, and left as they are: noise or "
        "negative curvature. More num_observations or larger batches help."
    ),
    "carried_over": (
        "{new} epochs ended before the estimate of {length} steps was finished; it was carried "
        "over into the next. Take smaller batches, less prior_iterations and num_observations, or "
        "restart after a number of steps."
    ),
    "unseen": (
        "{new} steps belong to no epoch that can be seen: no loss metric is updated. Call "
        "start_estimate() when an epoch begins, or restart after a number of steps."
    ),
    "not_finite": (
        "{new} gradients or products were not finite; steps with such gradients were left out, and "
        "those with such products as long as no learning rate was known."
    ),
}


class Diagnostics:
    """Counts of each kind of problem, and warnings of new ones.

    Parameters
    ----------
    add_variable : callable
        Creates state: ``add_variable(name, shape=(), dtype="float64", initializer="zeros")``.
    """

    def __init__(self, add_variable):
        self._counts = add_variable("troubles", (len(TROUBLES),), dtype="int32")
        self._reported = dict.fromkeys(TROUBLES, 0)

    def count(self, trouble, happened):
        """Count a kind of problem: once if `happened` is True, or as many times as it says."""
        where = np.array([name == trouble for name in TROUBLES], np.int32)
        self._counts.assign_add(where * tf.cast(happened, tf.int32))

    def counts(self):
        """Return a dict of all counts."""
        return dict(zip(TROUBLES, map(int, self._counts.numpy()), strict=True))

    def mark_reported(self):
        """Consider everything counted so far as reported."""
        self._reported = self.counts()

    def report(self, *, worst, length):
        """Warn of problems since the last report.

        worst : float
            The most negative curvature so far.
        length : int
            Steps of an estimate.
        """
        counts = self.counts()
        for trouble, text in TROUBLES.items():
            new = counts[trouble] - self._reported[trouble]
            if new > 0:
                text = text.format(new=new, worst=worst, length=length)
                warn(f"ProbabilisticPreconditioner: {text}")
        self._reported = counts
