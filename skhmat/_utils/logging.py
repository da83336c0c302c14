"""Logging as `verbose` asks for it."""

import logging
import time

logger = logging.getLogger("skhmat")

# Seconds after which a long run shows its progress.
_SILENCE = 5.0


class Log:
    """Logging at the level that `verbose` asks for; what it does not ask for is for debugging."""

    def __init__(self, verbose):
        self.verbose = int(verbose)
        self._last = time.perf_counter()
        if self.verbose > 0 and not logger.hasHandlers():
            logger.addHandler(logging.StreamHandler())
            logger.setLevel(logging.INFO)

    def info(self, message):
        """Log with verbose >= 1."""
        self._last = time.perf_counter()
        logger.log(logging.INFO if self.verbose >= 1 else logging.DEBUG, message)

    def progress(self, message):
        """Log with verbose >= 2, and with verbose = 1 where nothing was said for a while."""
        if self.verbose >= 2 or time.perf_counter() - self._last > _SILENCE:
            self.info(message)
