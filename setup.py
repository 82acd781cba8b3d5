"""Packaging of solo-rekd. Exact versions for a reproducible install are in requirements.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HOOK = "solo_rekd.pth"
ROOT = Path(__file__).parent


class BuildWithHook(build_py):
    """Ships the start-up hook beside the package, in site-packages."""

    def run(self) -> None:
        super().run()
        # An editable wheel takes nothing but mapped modules from build_lib; what lies in
        # install_lib it takes whole.
        editable = getattr(self, "editable_mode", False)
        target = self.get_finalized_command("install").install_lib if editable else self.build_lib
        self.mkpath(target)
        self.copy_file(str(ROOT / HOOK), str(Path(target) / HOOK), preserve_mode=False)

    def get_source_files(self) -> list[str]:
        """Lists the hook among the sources, so that a source archive carries it."""
        return [*super().get_source_files(), HOOK]


def read_version() -> str:
    """Reads `__version__` without importing the package."""
    text = (ROOT / "solo_rekd" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise SystemExit('setup.py: solo_rekd/__init__.py has no line __version__ = "..."')
    return found.group(1)


setup(
    name="solo-rekd",
    version=read_version(),
    description="Distilled self-supervision for small networks, as a plug-in for solo-learn",
    author="solo-rekd developers",
    license="MIT",
    packages=find_packages(include=["solo_rekd", "solo_rekd.*"]),
    # Says what is the default, but makes an editable install a plain path entry: setuptools' own
    # import finder would cost every Python process of the environment 15 ms.
    package_dir={"": "."},
    python_requires=">=3.10",
    # The host, solo-learn, is not listed: its metadata asks for torch 1.9.1, so it goes in last,
    # with --no-deps. So its own needs stand here too (einops, scipy, tqdm, wandb).
    install_requires=[
        "torch>=2.1,<2.13",
        "torchvision",
        "pytorch-lightning>=1.9.5,<2",
        "lightning-bolts==0.7.0",
        "torchmetrics>=1",
        "timm>=1",
        "safetensors",
        "einops",
        "numpy",
        "pillow",
        "scipy",
        "tqdm",
        "wandb",
        "setuptools<82",  # the last with pkg_resources, which pytorch-lightning 1.9 imports
    ],
    extras_require={
        "dali": ["nvidia-dali-cuda130>=2.4"],
        "demo": ["scikit-learn"],
        "test": ["pytest", "pytest-cov", "ruff", "mypy", "scikit-learn"],
    },
    entry_points={"console_scripts": ["solo-rekd = solo_rekd.cli:main"]},
    cmdclass={"build_py": BuildWithHook},
    zip_safe=False,
)
