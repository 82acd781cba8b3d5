"""The tests of the losses run on the device that SOLO_REKD_TEST_DEVICE names."""

from collections.abc import Iterator

import pytest
from on_device import chosen_device


@pytest.fixture(autouse=True)
def device() -> Iterator[None]:
    """See `on_device.py`."""
    with chosen_device():
        yield
