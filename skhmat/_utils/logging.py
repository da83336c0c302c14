"""Logging at the level that a parameter `verbose` asks for."""

import logging
import time

from .validation import check_verbose

logger = logging.getLogger("skhmat")

# Seconds without a message after which progress is logged even at verbose=1.
_QUIET_SECONDS = 5.0


class Log:
    """Logger of one call; messages that `verbose` does not ask for have the level DEBUG."""

    def __init__(self, verbose):
        self.verbose = check_verbose(verbose)
        self._last_message = time.perf_counter()
        if self.verbose > 0 and not logger.hasHandlers():
            logger.addHandler(logging.StreamHandler())
            logger.setLevel(logging.INFO)

    def info(self, message):
        """Log where verbose >= 1."""
        self._last_message = time.perf_counter()
        logger.log(logging.INFO if self.verbose >= 1 else logging.DEBUG, message)

    def progress(self, message):
        """Log where verbose >= 2, and at verbose = 1 if nothing was logged for a while."""
        if self.verbose >= 2 or time.perf_counter() - self._last_message > _QUIET_SECONDS:
            self.info(message)
