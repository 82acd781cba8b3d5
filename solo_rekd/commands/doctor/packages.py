"""Checks Python, the required packages, and those of the extras."""

import platform
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any

from solo_rekd.commands.doctor.finding import NOTE, OK, TROUBLE, Finding, install
from solo_rekd.commands.doctor.imported import import_all

LOWEST = (3, 10)
OURS = "solo-rekd"
# the module of each package; torch comes first because others import it
NEEDED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "pillow": "PIL",
    "safetensors": "safetensors",
    "timm": "timm",
    "tqdm": "tqdm",
}
# by purpose: the packages needed for it, and the extra of setup.py that has them
OPTIONAL = {
    "comparisons and the demo": {
        "scikit-learn": "sklearn",
        "matplotlib": "matplotlib",
        "jinja2": "jinja2",
    },
    "export to ONNX": {"onnx": "onnx", "onnxscript": "onnxscript", "onnxruntime": "onnxruntime"},
    "teachers from Hugging Face": {"transformers": "transformers"},
    "NVIDIA DALI": {"nvidia-dali-cuda130": "nvidia.dali"},
    "SLURM": {"submitit": "submitit"},
    "TensorBoard": {"tensorboard": "tensorboard"},
    "embeddings as Parquet": {"pyarrow": "pyarrow"},
    "Weights & Biases": {"wandb": "wandb"},
}

Facts = Mapping[str, Mapping[str, Any]]


def look() -> tuple[Facts, list[Finding]]:
    """Returns what each module reports, and the findings."""
    modules = [*NEEDED.values(), *(each for use in OPTIONAL.values() for each in use.values())]
    facts = import_all(modules).modules
    return facts, [look_at_python(), *needed(facts), *optional(facts)]


def look_at_python() -> Finding:
    """Checks the version of Python."""
    text = f"{platform.python_version()} in {sys.executable}, {platform.system()} on "
    text += platform.machine()
    if sys.version_info[:2] < LOWEST:
        lowest = ".".join(map(str, LOWEST))
        return Finding(TROUBLE, "Python", text, f"python{lowest} -m venv .venv")
    return Finding(OK, "Python", text)


def needed(facts: Facts) -> Iterator[Finding]:
    """Checks each package that solo-rekd requires."""
    bounds = ranges()
    for package, module in NEEDED.items():
        error = facts[module].get("error")
        bound = bounds.get(package, "")
        version = facts[module].get("version") or version_of(package)
        if error is None and is_within(version, bound):
            yield Finding(OK, package, version or "unknown version")
        elif error is None:
            text = f"{version}, but {bound} is needed"
            yield Finding(TROUBLE, package, text, install(f"{package}{bound}"))
        elif error.startswith("ModuleNotFoundError") and version_of(package) is None:
            yield Finding(TROUBLE, package, "not installed", install(f"{package}{bound}"))
        elif package == "torchvision" and "error" not in facts["torch"]:
            yield unfit_torchvision(facts["torch"].get("version"), error)
        else:
            yield Finding(TROUBLE, package, f"broken: {error}", reinstall(package, bound))


def unfit_torchvision(torch: str | None, error: str) -> Finding:
    """Reports a torchvision that fails with a working torch: it was mostly built for another."""
    version = version_of("torchvision")
    text = f"{version} does not work with torch {torch}: {error}"
    pair = f"torch=={torch.partition('+')[0]}" if torch else "torch"
    return Finding(TROUBLE, "torchvision", text, reinstall("torchvision", "", pair))


def reinstall(package: str, bound: str, *beside: str) -> str:
    """Returns the command that reinstalls a broken package."""
    command = install(*beside, f"{package}{bound}")
    return command.replace(" install ", " install --force-reinstall ", 1)


def optional(facts: Facts) -> Iterator[Finding]:
    """Checks the packages of each optional purpose."""
    for use, packages in OPTIONAL.items():
        errors = {each: facts[module].get("error") for each, module in packages.items()}
        missing = [
            each
            for each, error in errors.items()
            if error and error.startswith("ModuleNotFoundError") and version_of(each) is None
        ]
        broken = {each: error for each, error in errors.items() if error and each not in missing}
        if broken:
            package, error = next(iter(broken.items()))
            text = f"{package} is broken: {error}"
            yield Finding(TROUBLE, use, text, reinstall(package, ""))
        elif missing:
            text = f"{', '.join(missing)} not installed; to add it: {install(*missing)}"
            yield Finding(NOTE, use, text)
        else:
            text = ", ".join(f"{each} {version_of(each)}" for each in packages)
            yield Finding(OK, use, text)


def version_of(package: str) -> str | None:
    """Returns the version of an installed package; None: it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def ranges() -> dict[str, str]:
    """Returns the versions that solo-rekd accepts of its required packages, such as `>=2.6`."""
    try:
        lines = metadata.requires(OURS) or []
    except metadata.PackageNotFoundError:
        return {}
    found = {}
    for line in lines:
        text, _, marker = line.partition(";")
        name = text.strip().rstrip("0123456789.,<>=!~ ")
        if not marker:
            found[name.lower()] = text.strip()[len(name) :].replace(" ", "")
    return found


def of_extra(extra: str) -> list[str]:
    """Returns the requirements of an extra of solo-rekd, such as `lightning>=2.1.2`."""
    try:
        lines = metadata.requires(OURS) or []
    except metadata.PackageNotFoundError:
        lines = []
    sign = re.compile(rf"extra == .{extra}\b")
    marked = [line.partition(";") for line in lines]
    asked = [text.replace(" ", "") for text, _, marker in marked if sign.search(marker)]
    return asked or [f"{OURS}[{extra}]"]


def is_within(version: str | None, bound: str) -> bool:
    """Returns whether `bound` admits a version; True where that cannot be decided."""
    try:
        from packaging.specifiers import SpecifierSet

        return version is None or SpecifierSet(bound).contains(version, prereleases=True)
    except Exception:  # no such package, or an invalid version
        return True
