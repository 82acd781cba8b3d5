"""Checks that torch and torchvision are the pinned ones and fit; else says how to repair them.

A package index that offers another build of torch (a newer one, a CPU one) leaves the two apart,
and then the first import of torchvision fails far from the cause.

Usage: python scripts/check_torch.py requirements.txt
"""

import re
import sys
from importlib import import_module
from pathlib import Path

PACKAGES = ("torch", "torchvision")


def pinned_version(requirements: str, package: str) -> str:
    """Reads the version of the line `package==version`."""
    found = re.search(rf"^{package}==(\S+)$", requirements, re.MULTILINE)
    if found is None:
        sys.exit(f"check_torch: no line {package}==VERSION in the requirements")
    return found.group(1)


def find_fault(pins: dict[str, str]) -> str | None:
    """Says in one line what is wrong with the installed packages, or None."""
    for package, pin in pins.items():
        try:
            version = import_module(package).__version__
        except Exception as error:  # a broken build fails in any way, not only with ImportError
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            return f"{package} cannot be imported ({reason})"
        if version.split("+")[0] != pin:  # what follows the plus is the build, CPU or CUDA
            return f"{package} {version} is installed, and {pin} is needed"
    return None


def main() -> int:
    """Returns the exit code: 0, or 2 after one line on what is wrong and how to repair it."""
    requirements = Path(sys.argv[1]).read_text(encoding="utf-8")
    pins = {package: pinned_version(requirements, package) for package in PACKAGES}
    fault = find_fault(pins)
    if fault is None:
        return 0
    wanted = " ".join(f"{package}=={pin}" for package, pin in pins.items())
    repair = f"{sys.executable} -m pip install --force-reinstall {wanted}"
    print(f"solo-rekd: error: {fault}; repair: {repair}, then make again", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
