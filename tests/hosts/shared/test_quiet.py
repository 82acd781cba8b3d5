import warnings

import pytest

from solo_rekd.hosts.current.warnings import silence

WORKERS = "The dataloader, train_dataloader, does not have many workers which may be a bottleneck."
REGISTERED = "Overwriting convnext_tiny in registry with solo.backbones.convnext.convnext_tiny."
PINNED = "\n'pin_memory' argument is set as true but no accelerator is found"


@pytest.mark.parametrize(
    ("message", "shown"), [(WORKERS, True), (PINNED.strip(), False), (REGISTERED, False)]
)
def test_what_a_user_can_act_on_is_shown(message: str, shown: bool) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        silence()
        warnings.warn(message, UserWarning, stacklevel=1)
    assert bool(caught) is shown
