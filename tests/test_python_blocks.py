"""The Python of the README and the docs runs as it stands, each page's blocks one after the other.

What a page's code takes as given lies in a folder of its own: an exported student, photos, an image
of 16 bits, and the names below.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from documents import DOCUMENTS, PYTHON, blocks
from PIL import Image

from solo_rekd import cli
from solo_rekd.backbones import build_backbone

# the user's own in the documents' words
GIVEN = {
    "images": np.zeros((2, 3, 32, 32), dtype=np.float32),
    "LOW": 100,
    "HIGH": 4000,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the blocks open."""
    root = tmp_path_factory.mktemp("python")
    deep = np.full((4, 4), 2000, dtype=np.uint16)
    Image.fromarray(deep).save(root / "deep.png")
    for name in ("photos", "more", "run"):
        (root / name).mkdir()
    Image.new("RGB", (8, 8)).save(root / "photos" / "0.jpg")
    photo = (root / "photos" / "0.jpg").read_bytes()
    for number in range(1, PHOTOS):
        (root / "photos" / f"{number}.jpg").write_bytes(photo)
    (root / "more" / "list.txt").write_text("../photos/0.jpg\n")
    (root / "run" / "history.jsonl").write_text("")
    return root


def export(folder: Path) -> None:
    """Writes the student as docs/deploy.md does before its code reads it."""
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: solo-rekd[onnx]")
    network = build_backbone("mobilenet_v3_small", 32, stem="imagenet")
    state = {f"encoder.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state | {"classifier.weight": torch.zeros(2, 2)}}, folder / "a.ckpt")
    facts = {"encoder": "mobilenet_v3_small", "crop_size": [32], "dataset": "custom"}
    (folder / "args.json").write_text(json.dumps(facts | {"stem": "imagenet"}))
    for target in ("student.onnx", "student.safetensors"):
        words = ["export", str(folder / "a.ckpt"), str(folder / target), "--stem", "imagenet"]
        command, args = cli.parse(words)
        command.main(args)


SLOW = ("docs/deploy.md",)  # exports to ONNX first
OWN_TESTS = ("README.md", "docs/python.md")  # tests/test_documented_python.py gives them a loader
PAGES = [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
    for name in DOCUMENTS
    if blocks(name, PYTHON) and name not in OWN_TESTS
]
PHOTOS = 1002  # a page holds 1,000 out


@pytest.mark.parametrize("document", PAGES)
def test_the_python_of_a_document_runs(
    document: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = blocks(document, PYTHON)
    if any("student.onnx" in code for code in codes):
        export(folder)
    monkeypatch.chdir(folder)
    names = dict(GIVEN)
    for number, code in enumerate(codes):
        exec(compile(code, f"{document}, block {number}", "exec"), names)
