import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from broken_images import break_images, check_all
from mistakes import cut

from solo_rekd.images import files

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

Solo = Callable[..., tuple[int, str, str]]


@pytest.mark.slow
def test_broken_images_are_left_out_of_everything(
    solo: Solo,
    ready: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(files, "_reported", set())
    break_images(ready, tmp_path / "run", monkeypatch)
    check_all(tmp_path / "run", solo, caplog)


@pytest.mark.slow
def test_the_hosts_own_script_has_a_key(
    data: Path, tmp_path: Path, arguments: Callable[..., list[str]], run_script: Callable[..., str]
) -> None:
    shutil.copytree(data, tmp_path / "data")
    images = {f"data.{split}_path": tmp_path / "data" / split for split in ("train", "val")}
    cut(tmp_path / "data" / "train" / "a" / "01.png")
    argv = arguments("rekd", **images, **{"+limit_train_batches": 1})
    said = run_script("main_pretrain.py", *argv, "+data.skip_broken=true")
    assert "1 of 48 images are broken and left out" in said
    said = run_script("main_pretrain.py", *argv, "+data.skip_broken=maybe", code=2)
    assert "data.skip_broken='maybe' is not allowed: expected true or false" in said
