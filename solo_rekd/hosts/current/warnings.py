"""What the current host and its libraries are not to say in our commands, see `shared/quiet.py`."""

from solo_rekd.hosts.shared import quiet

MESSAGES = (
    # the host's files import from timm's older places, and register networks under timm's names
    r"Importing from timm\.",
    r"Overwriting \w+ in registry with solo\.",
    # Lightning's own call of torch
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


def silence() -> None:
    """Silences them; to be called before the host is imported."""
    quiet.silence(MESSAGES, ("lightning.pytorch", "lightning.fabric"))
