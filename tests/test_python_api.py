"""What `import solo_rekd` gives, and that it imports nothing before it is used."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import solo_rekd
from solo_rekd.utils.errors import UserError

HEAVY = "sorted({'torch', 'typing', 'solo_rekd.api', 'solo_rekd.losses'} & {*sys.modules})"


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ROOT = Path(__file__).parents[1]


def test_an_import_imports_nothing_until_a_name_is_used() -> None:
    code = f"before = {HEAVY}; import solo_rekd; dir(solo_rekd); print({HEAVY} == before)"
    assert run(code) == "True"


@pytest.mark.slow
def test_it_needs_neither_a_host_nor_an_extra() -> None:
    others = ["solo", "pytorch_lightning", "lightning", "hydra", "sklearn", "matplotlib", "onnx"]
    block = f"[sys.modules.__setitem__(name, None) for name in {others}]"
    assert run(f"{block}; import solo_rekd; print(solo_rekd.make_objective.__name__)") == (
        "make_objective"
    )


def test_every_name_is_there_and_is_listed() -> None:
    without = {"distil"} if find_spec("solo_rekd.distilling") is None else set()
    assert {*solo_rekd.__all__} <= {*dir(solo_rekd)}
    for name in {*solo_rekd.__all__} - without:
        assert getattr(solo_rekd, name) is not None
    assert {*solo_rekd._EXPORTS} == {*solo_rekd.__all__} - {"__version__"}


@pytest.mark.skipif(
    find_spec("solo_rekd.distilling") is None, reason="the command distil is not there yet"
)
def test_distil_is_the_function() -> None:
    assert callable(solo_rekd.distil)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        solo_rekd.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def test_a_mistake_is_caught_as_a_value_error() -> None:
    assert issubclass(UserError, ValueError) and solo_rekd.UserError is UserError
    with pytest.raises(ValueError, match="checkpoint=FILE"):
        solo_rekd.load_teacher("resnet50")
