import argparse
import gzip
import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from solo_rekd.checkpoints import read, read_checkpoint
from solo_rekd.checkpoints.pickled.inert import Inert
from solo_rekd.checkpoints.read import is_safetensors, read_complete, read_file
from solo_rekd.utils.errors import UserError

WEIGHTS = {"conv1.weight": torch.arange(600.0)}


def saved(legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": WEIGHTS}, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def refusal(path, content: bytes | None = None) -> str:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


@pytest.mark.parametrize("legacy", [False, True])
def test_reads_torch_files_and_hashes_them(tmp_path, legacy):
    (path := tmp_path / "t.pth.tar").write_bytes(content := saved(legacy))
    raw, digest = read_checkpoint(path)
    assert torch.equal(raw["state_dict"]["conv1.weight"], WEIGHTS["conv1.weight"])
    assert digest == hashlib.sha256(content).hexdigest()


def test_reads_safetensors(tmp_path):
    save_file(WEIGHTS, path := tmp_path / "t.safetensors")
    raw, digest = read_checkpoint(path)
    assert torch.equal(raw["conv1.weight"], WEIGHTS["conv1.weight"])
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_namespace_of_arguments_is_read_and_stays_refused_elsewhere(tmp_path):
    torch.save({"args": argparse.Namespace(lr=0.1)}, path := tmp_path / "t.pth")
    assert read_checkpoint(path)[0]["args"].lr == 0.1
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


def test_missing_and_directory(tmp_path):
    assert "does not exist" in refusal(tmp_path / "none.pth")
    assert "is a directory" in refusal(tmp_path)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.6, 0.999])
def test_truncated(tmp_path, share, legacy):
    whole = saved(legacy)
    assert "truncated" in refusal(tmp_path / "t.pth", whole[: max(3, int(share * len(whole)))])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"hello world this is text", "is not a checkpoint"),
        (b"<!DOCTYPE html>", "is not a checkpoint"),
        (pickle.dumps({"a": 1}, protocol=2), "is not a checkpoint"),
        (gzip.compress(saved()), "unpack it first"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    ],
)
def test_not_a_checkpoint(tmp_path, content, words):
    assert words in refusal(tmp_path / "t.pth", content)


@pytest.mark.parametrize("content", [b"", b"hello world this is text", save(WEIGHTS)[:-8]])
def test_not_safetensors(tmp_path, content):
    assert "not safetensors" in refusal(tmp_path / "t.safetensors", content)


def test_not_a_dictionary(tmp_path):
    torch.save(torch.ones(3), path := tmp_path / "t.pth")
    assert "holds a Tensor" in refusal(path)


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("how", ["zip", "legacy", *range(6)])
def test_nothing_in_the_file_is_run(tmp_path, how):
    path, marker = tmp_path / "t.pth", tmp_path / "marker"
    payload = {"state_dict": WEIGHTS, "extra": Malicious(marker)}
    if isinstance(how, int):
        path.write_bytes(pickle.dumps(payload, protocol=how))
    else:
        torch.save(payload, path, _use_new_zipfile_serialization=how == "zip")
    if how in ("zip", "legacy"):
        held = read_file(path)
        assert torch.equal(held.content["state_dict"]["conv1.weight"], WEIGHTS["conv1.weight"])
        assert held.inert == (f"{os.mkdir.__module__}.mkdir",) and held.kind == how
        assert isinstance(held.content["extra"], Inert)
    else:
        assert "is not a checkpoint" in refusal(path)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Malicious(marker)))  # the payload does work where it is let
    assert marker.exists()


def test_a_whole_module_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), path := tmp_path / "t.pth")
    assert "torch.nn.modules.linear.Linear" in refusal(path)


@pytest.mark.filterwarnings("ignore:.*jit.*:DeprecationWarning")
def test_a_torchscript_program_is_refused(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(str(path := tmp_path / "t.pt"))
    assert "TorchScript" in refusal(path)


@pytest.mark.parametrize("kind", [AttributeError, ImportError, MemoryError, KeyboardInterrupt])
def test_what_is_not_the_files_fault_is_not_reported_as_damage(
    kind: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"a": torch.zeros(1)}, path := tmp_path / "whole.pth")

    def fail(*args: object, **kwargs: object) -> None:
        raise kind("not the file's fault")

    monkeypatch.setattr(read, "read_archive", fail)
    with pytest.raises(kind, match="not the file's fault"):
        read_checkpoint(path)


def test_a_storage_of_no_type_of_storage_is_damage(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, path := tmp_path / "whole.pth")
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "odd.pth", "w") as odd:
        for name in whole.namelist():
            content = whole.read(name).replace(b"torch\nFloatStorage", b"collections\nOrderedDict")
            odd.writestr(name, content)
    assert "is truncated or damaged" in refusal(tmp_path / "odd.pth")


def test_no_run_resumes_from_placeholders(tmp_path: Path) -> None:
    torch.save({"state_dict": WEIGHTS, "extra": tmp_path}, path := tmp_path / "t.ckpt")
    assert read_file(path).inert == ("pathlib.PosixPath",)
    with pytest.raises(UserError, match=r"pathlib\.PosixPath"):
        read_complete(path)
    torch.save({"state_dict": WEIGHTS}, path)
    assert read_complete(path).keys() == {"state_dict"}


def test_a_file_is_known_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    save_file(WEIGHTS, path := tmp_path / "weights.bin", {"encoder": "a"})
    held = read_file(path)
    assert held.kind == "safetensors" and held.metadata == {"encoder": "a"} and not held.inert
    assert is_safetensors(path)
    (tmp_path / "t.safetensors").write_bytes(saved())
    held = read_file(tmp_path / "t.safetensors")
    assert held.kind == "zip" and "state_dict" in held.content
    assert not is_safetensors(tmp_path / "t.safetensors") and not is_safetensors(tmp_path)


def test_a_link_to_a_file_is_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.pth").write_bytes(saved())
    (tmp_path / "link").symlink_to("t.pth")
    assert read_file(tmp_path / "link").sha256 == read_file(tmp_path / "t.pth").sha256


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (path := tmp_path / "t.pth").write_bytes(saved())
    path.chmod(0)
    assert "Permission denied" in refusal(path)


def test_checksums_find_damage_where_torch_wrote_them(tmp_path: Path) -> None:
    (path := tmp_path / "t.pth").write_bytes(saved())
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"state_dict": WEIGHTS}, without := tmp_path / "without.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(
        read_file(without).content["state_dict"]["conv1.weight"], torch.arange(600.0)
    )
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(torch.arange(600.0).numpy().tobytes()) + 99] ^= 1
    assert "damaged" in refusal(path, bytes(damaged))
