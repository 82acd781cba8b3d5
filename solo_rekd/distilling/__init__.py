"""`solo-rekd distil`: from a folder of photos and a teacher's file to a small network to deploy.

Nothing is imported here, so that the command line is read without torch; `distil` is imported on
first use.
"""

TYPE_CHECKING = False  # type checkers take it for True, as they do typing's
if TYPE_CHECKING:
    from solo_rekd.distilling.run import distil

__all__ = ["distil"]


def __getattr__(name: str) -> object:
    """Imports `distil` on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from solo_rekd.distilling import run

    return run.distil
