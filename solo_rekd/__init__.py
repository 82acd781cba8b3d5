"""Distilled self-supervision for small networks, as a plug-in for solo-learn.

Nothing is imported here: the start-up hook imports this package in every Python process. The names
of the Python API are imported when they are first used (docs/python.md).
"""

__version__ = "0.1.0"

# what `solo_rekd.NAME` is, and the module that has it; None: the module itself
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

TYPE_CHECKING = False  # type checkers take it for True, as typing's, which is an import
if TYPE_CHECKING:
    from solo_rekd import losses
    from solo_rekd.api import Objective, Teacher, load_teacher, make_objective
    from solo_rekd.distilling import distil
    from solo_rekd.utils.errors import UserError
else:  # type checkers would take any name for one of it

    def __getattr__(name: str) -> object:
        """Imports a name of the Python API."""
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
    """The names of the Python API too, before they are used."""
    return sorted({*globals(), *__all__})
