"""Runs a script of the host in this process, and reads what ends it."""

import os
import re
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from solo_rekd.hosts import names
from solo_rekd.hosts.current.watch import Watch
from solo_rekd.hosts.shared.mistakes import as_mistake
from solo_rekd.utils.errors import UserError


def run_script(script: Path, argv: list[str], watched: Watch) -> None:
    """Runs a script of the host in this process, whose state is as before afterwards.

    Args:
        script: the file.
        argv: its words.
        watched: the job that the script does, whose end Lightning and Hydra hide.

    Raises:
        KeyboardInterrupt: the user did.
        Exception: what ended the script, as it was raised.
    """
    hydra, argv_before, folder = GlobalHydra.instance().hydra, sys.argv, os.getcwd()
    GlobalHydra.instance().hydra = None
    sys.argv = [str(script), *argv]
    # Hydra exits otherwise, where it does not take the words; the plug-in shows it the recipes
    environment = {"HYDRA_FULL_ERROR": "1", "SOLO_REKD_AUTOLOAD": "1"}
    with _environment(environment), _interrupts():
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit:
            if not watched.interrupted:
                raise
        finally:
            GlobalHydra.instance().hydra = hydra
            sys.argv = argv_before
            os.chdir(folder)
    if watched.interrupted:
        raise KeyboardInterrupt
    if watched.error is not None:
        raise watched.error


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _interrupts() -> Iterator[None]:
    """Keeps the handler of interruptions, which Lightning sets aside for good."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def mistakes() -> Iterator[None]:
    """Makes a UserError of what is the user's mistake, also where Hydra reads the words."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"a setting is not accepted: {_first_line(error)}") from error
    except Exception as error:
        mistake = as_mistake(error)
        if mistake is None:
            raise
        raise UserError(in_flags(str(mistake))) from error


def in_flags(message: str) -> str:
    """Names a setting, with which a message begins, as our commands do."""
    key = re.match(r"[\w.]+(?==| is missing)", message)
    return message if key is None else names.as_flag(key[0]) + message[key.end() :]


@contextmanager
def refusals() -> Iterator[None]:
    """Makes a UserError of what the host's checks raise, which run nothing else."""
    try:
        with mistakes():
            yield
    except UserError:
        raise
    except (AssertionError, AttributeError, KeyError, TypeError, ValueError) as error:
        line = traceback.extract_tb(error.__traceback__)[-1].line
        said = _first_line(error) or line
        raise UserError(
            f"solo-learn refuses the settings: {type(error).__name__}: {said}"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
