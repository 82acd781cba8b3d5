from importlib.util import find_spec
from pathlib import Path

import pytest
from check_versions import read_requirements
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
# names of torch that the package uses, and the release that brought each, or what it relies on
SINCE = {
    "export.Dim": "2.1",
}
# what is not in later releases of a package, and the module that needs it
UPPER = {
    "pytorch-lightning": ("solo", "validation_epoch_end"),
    "lightning-bolts": ("solo", "pl_bolts"),
    "setuptools": ("pytorch_lightning", "pkg_resources"),
}


def bounds(requirement: Requirement, operators: str) -> list[str]:
    return [one.version for one in requirement.specifier if one.operator in operators.split()]


@pytest.mark.parametrize("name", SINCE)
def test_the_lowest_torch_has_what_the_package_uses(name: str) -> None:
    sources = [path.read_text() for path in (ROOT / "solo_rekd").rglob("*.py")]
    assert any(f"torch.{name}" in source for source in sources)
    asked = [bounds(each, ">=") for each in read_requirements() if each.name == "torch"]
    assert min(Version(lowest) for (lowest,) in asked) >= Version(SINCE[name])


def test_newer_releases_are_kept_out_only_where_something_of_theirs_is_gone() -> None:
    kept = {each.name for each in read_requirements() if bounds(each, "< <= == ~= !=")}
    assert kept == set(UPPER)


@pytest.mark.parametrize(("module", "needed"), UPPER.values(), ids=UPPER)
def test_the_reason_of_an_upper_bound_still_holds(module: str, needed: str) -> None:
    spec = find_spec(module)
    assert spec is not None and spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0])
    assert any(needed in path.read_text() for path in folder.rglob("*.py"))
