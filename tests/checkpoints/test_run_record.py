import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from solo_rekd.checkpoints.run_record import KEY, make_record, plain, read_settings, record_of


def save(path: Path, content: dict[str, Any]) -> Path:
    torch.save({"state_dict": {"weight": torch.zeros(1)}} | content, path)
    return path


def test_any_setting_is_read_back_without_running_anything(tmp_path: Path) -> None:
    settings = {
        "method": "rekd",
        "data_dir": Path("/data"),
        "mean": (0.5, 0.4, 0.3),
        "nested": {"lists": [[1, None], {"on": True}], 3: "three"},
        "odd": Namespace(a=1),
    }
    path = save(tmp_path / "a.ckpt", {KEY: make_record(settings)})
    assert read_settings(path) == {
        "method": "rekd",
        "data_dir": "/data",
        "mean": [0.5, 0.4, 0.3],
        "nested": {"lists": [[1, None], {"on": True}], "3": "three"},
        "odd": "Namespace(a=1)",
    }
    json.dumps(plain(settings))


def test_the_checkpoint_comes_before_the_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "args.json").write_text('{"crop_size": [224]}')
    path = save(tmp_path / "a.ckpt", {KEY: make_record({"crop_size": [32]})})
    assert read_settings(path) == {"crop_size": [32]}


def test_of_an_older_checkpoint_the_file_beside_it_tells(tmp_path: Path) -> None:
    (tmp_path / "args.json").write_text('{"crop_size": [224]}')
    assert read_settings(save(tmp_path / "a.ckpt", {})) == {"crop_size": [224]}
    older = {KEY: {"method": "rekd", "teacher": {}}}
    assert read_settings(save(tmp_path / "b.ckpt", older)) == {"crop_size": [224]}
    (tmp_path / "args.json").unlink()
    assert read_settings(tmp_path / "a.ckpt") == {}


@pytest.mark.parametrize("record", ["text", 3, [1], {"settings": "text"}, None])
def test_what_is_no_record_tells_nothing(record: Any, tmp_path: Path) -> None:
    path = save(tmp_path / "a.ckpt", {KEY: record})
    assert read_settings(path) == {}
    assert isinstance(record_of({KEY: record}), dict)
