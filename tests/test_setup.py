import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# names of torch that the package uses, and the release that brought each, or what it relies on
SINCE = {
    "serialization.safe_globals": (2, 5),
    # which builds a TorchScript program all the same before
    'load(path, map_location="cpu", weights_only=True)': (2, 6),
}


def bound(requirement: str) -> tuple[int, ...]:
    return tuple(map(int, requirement.removeprefix("torch>=").split(".")))


def required(name: str) -> str:
    text = (ROOT / "setup.py").read_text()
    found = re.search(rf"install_requires=\[.*?\"({name}\b[^\"]*)\"", text, re.DOTALL)
    assert found is not None
    return found.group(1)


@pytest.mark.parametrize("name", SINCE)
def test_the_lowest_torch_has_what_the_package_uses(name: str) -> None:
    sources = [path.read_text() for path in (ROOT / "solo_rekd").rglob("*.py")]
    assert any(f"torch.{name}" in source for source in sources)
    assert bound(required("torch")) >= SINCE[name]


def test_a_newer_torch_is_not_kept_out() -> None:
    assert re.fullmatch(r"torch>=\d+\.\d+", required("torch"))
