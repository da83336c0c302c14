import logging

import pytest

from skhmat._utils.logging import Log


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_what_each_level_logs(verbose, caplog):
    with caplog.at_level(logging.DEBUG, logger="skhmat"):
        log = Log(verbose)
        log.info("phase")
        log.progress("level")
    found = [(record.message, record.levelno) for record in caplog.records]
    expected = [("phase", logging.INFO if verbose >= 1 else logging.DEBUG)]
    if verbose >= 2:
        expected.append(("level", logging.INFO))
    assert found == expected


def test_progress_after_a_while(caplog):
    with caplog.at_level(logging.DEBUG, logger="skhmat"):
        log = Log(1)
        log._last_message -= 60
        log.progress("level 1")
        log.progress("level 2")
    assert [record.message for record in caplog.records] == ["level 1"]
