"""The plug-in of Hydra beside an application that has nothing to do with solo-learn."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("hydra", reason="Hydra is not installed: solo-rekd[current]")

APPLICATION = """
import sys
import hydra

@hydra.main(version_base="1.2", config_path=None, config_name=None)
def main(cfg):
    from hydra.core.hydra_config import HydraConfig

    sources = [source.path for source in HydraConfig.get().runtime.config_sources]
    print(sources, [name for name in sys.modules if name.startswith("solo_rekd.")])
    print("hydra_plugins.solo_rekd" in sys.modules, "torch" in sys.modules)

main()
"""


def run(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    (folder / "app.py").write_text(APPLICATION)
    return subprocess.run(
        # an older Hydra warns of how it calls a newer OmegaConf
        [sys.executable, "-W", "ignore", "app.py", *argv],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def test_an_unrelated_application_is_untouched(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    sources, loaded = done.stdout.splitlines()
    assert "solo_rekd.hosts" not in sources
    assert "scripts" not in sources
    assert loaded == "True False"


def test_our_recipes_are_not_offered_to_it(tmp_path: Path) -> None:
    done = run(tmp_path, "--config-name", "rekd")
    assert done.returncode == 1
    assert "Cannot find primary config 'rekd'" in done.stderr
