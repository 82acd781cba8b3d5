"""Distilled self-supervision for small networks, as a plug-in for solo-learn.

Nothing is imported here, because the start-up hook imports this package in every Python process.
The names of the Python API are imported on first use (docs/python.md).
"""

__version__ = "0.1.0"

# names of the Python API, and the module that holds each; None: the name is a module
_EXPORTS = {
    "Objective": "api",
    "Teacher": "api",
    "UserError": "utils.errors",
    "distil": "distilling",
    "load_teacher": "api",
    "losses": None,
    "make_objective": "api",
}
__all__ = [
    "Objective",
    "Teacher",
    "UserError",
    "__version__",
    "distil",
    "load_teacher",
    "losses",
    "make_objective",
]

TYPE_CHECKING = False  # type checkers take it for True, as they do typing's
if TYPE_CHECKING:
    from solo_rekd import losses
    from solo_rekd.api import Objective, Teacher, load_teacher, make_objective
    from solo_rekd.distilling import distil
    from solo_rekd.utils.errors import UserError
else:  # with this function, type checkers would accept any name

    def __getattr__(name: str) -> object:
        """Imports a name of the Python API on first use."""
        if name not in _EXPORTS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        module = _EXPORTS[name]
        if module is None:
            return import_module(f"{__name__}.{name}")
        found = getattr(import_module(f"{__name__}.{module}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    """Lists the names of the Python API too, before they are used."""
    return sorted({*globals(), *__all__})
