"""Whatever lies beside a checkpoint is read as data, or counts as not there."""

import os

import pytest
import torch

from solo_rekd.checkpoints.beside import LARGEST, read_beside
from solo_rekd.checkpoints.load import load_networks

CONTENTS = {
    "an object": b'{"a": 1}',
    "a list": b"[1, 2]",
    "a number": b"3",
    "nothing": b"",
    "no JSON": b"{",
    "no text": b"\xff\xfe\x00",
    "too deep": b"[" * 100_000,
    "a long number": b'{"a": ' + b"9" * 10_000 + b"}",
    "too large": b'{"a": "' + b"x" * LARGEST + b'"}',
}


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("name", ["config.json", "args.json", "preprocessor_config.json"])
def test_any_content(kind, name, source, tmp_path):
    (tmp_path / name).write_bytes(CONTENTS[kind])
    assert read_beside(tmp_path / "t.pth", name) == ({"a": 1} if kind == "an object" else {})
    assert read_beside(tmp_path, name) == read_beside(tmp_path / "t.pth", name)
    torch.save(source.state_dict(), path := tmp_path / "t.pth")
    assert load_networks(path, "resnet18", 32, "small").facts.matched == 120


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to itself"])
def test_what_is_no_file(kind, tmp_path):
    path = tmp_path / "config.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path)
    assert read_beside(tmp_path / "t.pth", "config.json") == {}
