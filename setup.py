"""Packaging of solo-rekd. Exact versions are in requirements.txt, their hashes in its lock."""

import re
from pathlib import Path

from setuptools import find_namespace_packages, setup
from setuptools.command.build_py import build_py

# where the project lives, which CITATION.cff has too: nowhere public yet
PROJECT_URL = "https://github.com/OWNER/solo-rekd"
HOOK = "solo_rekd.pth"
ROOT = Path(__file__).parent
COMPARE = ["scikit-learn>=1.4", "matplotlib>=3.8", "jinja2>=3.1"]
SLURM = ["submitit>=1.5"]
TENSORBOARD = ["tensorboard>=2.14"]
HUGGING_FACE = ["transformers>=4.56"]  # the first that knows DINOv3
# ONNX export by torch 2.6 fails with the newest onnxscript, and passes with the oldest
ONNX = ["onnx>=1.17", "onnxscript>=0.2", "onnxruntime>=1.20", "torch>=2.7.1"]


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


def read_readme() -> str:
    """Reads the README with links that lead somewhere from a package index too."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(r"\]\((?!https?:|#)([^)]+)\)", rf"]({PROJECT_URL}/blob/main/\1)", text)


setup(
    name="solo-rekd",
    version=read_version(),
    description="Distilled self-supervision for small networks, as a plug-in for solo-learn",
    long_description=read_readme(),
    long_description_content_type="text/markdown",
    author="solo-rekd developers",
    license="MIT",
    license_files=["LICENSE"],
    url=PROJECT_URL,
    project_urls={
        "Documentation": f"{PROJECT_URL}/blob/main/docs",
        "Changelog": f"{PROJECT_URL}/blob/main/CHANGELOG.md",
        "Issues": f"{PROJECT_URL}/issues",
    },
    keywords="self-supervised learning, knowledge distillation, solo-learn, small networks",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    # hydra_plugins is a namespace, shared by every package that has a plug-in for Hydra
    packages=find_namespace_packages(
        include=["solo_rekd", "solo_rekd.*", "hydra_plugins.*"], exclude=["solo_rekd.recipes*"]
    ),
    # Says what is the default, but makes an editable install a plain path entry: setuptools' own
    # import finder would cost every Python process of the environment 15 ms.
    package_dir={"": "."},
    package_data={
        "solo_rekd": ["py.typed", "recipes/*/*/*.yaml", "recipes/*/*/*.sh"],
        "solo_rekd.compare.report": ["page.html.j2"],
        "solo_rekd.distilling.report": ["page.html.j2"],
    },
    python_requires=">=3.10",
    # No solo-learn here: its main branch is a clone, and 1.0.2, which asks for torch 1.9.1,
    # goes in last, with --no-deps.
    # torch 2.6 is the oldest that is tested
    install_requires=[
        "numpy>=1.26",
        "pillow>=10",
        "safetensors>=0.4.3",
        "timm>=1.0.8",
        "torch>=2.6",
        "torchvision>=0.21",
        "tqdm>=4.66",
    ],
    extras_require={
        "classic": [  # what solo-learn 1.0.2 needs
            "pytorch-lightning>=1.9.5,<2",
            "lightning-bolts==0.7.0",
            "torchmetrics>=0.11.4",
            "einops>=0.6",
            "scipy>=1.11.1",
            "wandb>=0.16",
            "setuptools<82",  # the last with pkg_resources, which pytorch-lightning 1.9 imports
        ],
        "current": ["lightning>=2.1.2", "hydra-core>=1.3.2"],  # what a clone has already
        "dali": ["nvidia-dali-cuda130>=2.4"],
        "compare": COMPARE,
        "demo": COMPARE,
        # pins: docs/requirements.txt, and their hashes in docs/requirements.lock
        "docs": ["mkdocs-material>=9.7", "mkdocstrings[python]>=1.0", "ruff"],
        "onnx": ONNX,
        "hf": HUGGING_FACE,  # a teacher in a folder of transformers
        "tensorboard": TENSORBOARD,  # curves of a training, without an account
        "parquet": ["pyarrow>=14"],  # of solo-rekd embed
        "slurm": SLURM,  # a comparison's runs as jobs of a cluster
        "test": [
            *("pytest>=9", "pytest-cov", "hypothesis>=6.100", "ruff", "mypy", "import-linter"),
            *COMPARE,
            *ONNX,
            *HUGGING_FACE,
            *SLURM,
            *TENSORBOARD,
        ],
    },
    entry_points={
        "console_scripts": ["solo-rekd = solo_rekd.cli:main"],
        "lightning.pytorch.callbacks_factory": ["solo-rekd = solo_rekd.hosts.callbacks:current"],
        "pytorch_lightning.callbacks_factory": ["solo-rekd = solo_rekd.hosts.callbacks:classic"],
    },
    cmdclass={"build_py": BuildWithHook},
    zip_safe=False,
)
