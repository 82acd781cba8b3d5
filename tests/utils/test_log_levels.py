"""A log's level for a while."""

import logging

import pytest

from solo_rekd.utils.log_levels import at_level


def test_a_level_is_as_before_after_an_error_too() -> None:
    log = logging.getLogger("solo_rekd.of_a_test")
    log.setLevel(logging.INFO)
    with pytest.raises(ValueError, match="lost"), at_level(log.name, logging.ERROR):
        assert not log.isEnabledFor(logging.WARNING)
        raise ValueError("lost")
    assert log.level == logging.INFO
