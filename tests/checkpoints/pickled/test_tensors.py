"""Tensors of every kind that `torch.save` writes: read bit by bit, or refused by name."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from solo_rekd.checkpoints.pickled.inert import Inert
from solo_rekd.checkpoints.read import read_checkpoint
from solo_rekd.utils.errors import UserError

BOTH = pytest.mark.parametrize("is_zip", [True, False])


def reread(folder: Path, content: Any, is_zip: bool = True) -> dict[str, Any]:
    path = folder / "t.pth"
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    return read_checkpoint(path)[0]


def assert_same(found: torch.Tensor, given: torch.Tensor) -> None:
    assert type(found) is torch.Tensor and found.dtype == given.dtype
    assert found.shape == given.shape
    pairs = [tensor.detach().contiguous().flatten().view(torch.uint8) for tensor in (found, given)]
    assert torch.equal(*pairs)


FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn]
OTHERS = [torch.complex64, torch.complex128, torch.int8, torch.int16, torch.int32, torch.int64]
MORE = [torch.uint8, torch.bool, torch.uint16, torch.uint32, torch.uint64, torch.float8_e5m2]


@BOTH
@pytest.mark.parametrize("dtype", [*FLOATS, *OTHERS, *MORE], ids=str)
def test_types(tmp_path: Path, dtype: torch.dtype, is_zip: bool) -> None:
    given = torch.arange(6).reshape(2, 3).to(dtype)
    assert_same(reread(tmp_path, {"a": given}, is_zip)["a"], given)


@BOTH
def test_views_share_what_they_shared(tmp_path: Path, is_zip: bool) -> None:
    base = torch.randn(6, 4)
    given = {
        "base": base,
        "part": base[2:4],
        "turned": base.t()[1:, ::2],
        "expanded": base[0, :1].expand(3),
        "one": base[0, 0],
        "none": base[:0],
        "empty": torch.empty(0),
        "nan": torch.tensor([float("nan"), -0.0, float("inf")]),
    }
    found = reread(tmp_path, given, is_zip)
    for name, tensor in given.items():
        assert_same(found[name], tensor)
        assert name == "none" or found[name].stride() == tensor.stride()
    found["base"].fill_(7)
    assert (found["part"] == 7).all() and found["one"] == 7 and found["nan"][1] == 0


@BOTH
def test_parameters_buffers_and_tensors_with_attributes_are_plain_tensors(tmp_path, is_zip) -> None:
    given = {name: torch.nn.Parameter(torch.randn(3)) for name in ("plain", "named")}
    given["named"].name_of_layer = "a"
    given["buffer"] = torch.nn.Buffer(torch.ones(2))
    given["noted"] = torch.ones(2)
    given["noted"].note = {"a": 1}
    found = reread(tmp_path, given, is_zip)
    for name, tensor in given.items():
        assert_same(found[name], tensor)


class Labelled(torch.Tensor):
    pass


def test_a_subclass_of_tensor_is_no_tensor(tmp_path: Path) -> None:
    given = {"a": torch.ones(2).as_subclass(Labelled), "b": torch.ones(1)}
    found = reread(tmp_path, given)
    assert isinstance(found["a"], Inert) and found["a"].name == f"{__name__}.Labelled"
    assert torch.equal(found["b"], given["b"])


class OfDevice:
    """Pickles as a tensor of a device that saves by way of numpy or the CPU, as a TPU's."""

    def __init__(self, how: str, *args: Any) -> None:
        self.how, self.args = how, args

    def __reduce__(self) -> Any:
        return getattr(torch._utils, self.how), self.args


@BOTH
def test_tensors_of_other_devices(tmp_path: Path, is_zip: bool) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    by_numpy, by_cpu = "_rebuild_device_tensor_from_numpy", "_rebuild_device_tensor_from_cpu_tensor"
    given = {
        "array": OfDevice(by_numpy, array, torch.float32, "xla:0", False),
        "columns": OfDevice(by_numpy, np.asfortranarray(array), torch.float32, "xla:0", False),
        "narrower": OfDevice(by_numpy, array, torch.bfloat16, "xla:0", False),
        "cpu": OfDevice(by_cpu, torch.from_numpy(array), torch.float32, "hpu:0", False),
    }
    found = reread(tmp_path, given, is_zip)
    for name in given:
        assert torch.equal(found[name].float(), torch.from_numpy(array))
    assert found["narrower"].dtype == torch.bfloat16


@BOTH
@pytest.mark.filterwarnings("ignore:.*(quantize|Sparse|nested|Compressed).*")
@pytest.mark.parametrize("kind", ["sparse", "quantised", "nested", "meta", "conjugate"])
def test_other_kinds_are_refused_by_name(tmp_path: Path, kind: str, is_zip: bool) -> None:
    matrix = torch.eye(3)
    make = {
        "sparse": matrix.to_sparse,
        "quantised": lambda: torch.quantize_per_tensor(matrix, 1.0, 0, torch.qint8),
        "nested": lambda: torch.nested.nested_tensor([matrix, matrix]),
        "meta": lambda: matrix.to("meta"),
        "conjugate": matrix.to(torch.complex64).conj,
    }[kind]
    with pytest.raises(UserError, match=kind):
        reread(tmp_path, {"weight": matrix, "other": make()}, is_zip)


SHARD = """
import sys
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

weight = torch.arange(8.0).reshape(4, 2)
for size in (1, 2):
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=size)
    mesh = init_device_mesh("cpu", (size,))
    for name, tensor in {
        "replicated": distribute_tensor(weight, mesh, [Replicate()]),
        "sharded": distribute_tensor(weight, mesh, [Shard(0)]),
        "partial": DTensor.from_local(weight, mesh, [Partial()]),
    }.items():
        torch.save({"weight": tensor}, f"{sys.argv[1]}/{name}{size}.pth")
    dist.destroy_process_group()
"""


def test_a_distributed_tensor_is_read_where_it_is_whole(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", SHARD, tmp_path], check=True, capture_output=True)
    for name in ("replicated1", "replicated2", "sharded1"):
        found = read_checkpoint(tmp_path / f"{name}.pth")[0]["weight"]
        assert_same(found, torch.arange(8.0).reshape(4, 2))
    for name in ("sharded2", "partial1", "partial2"):
        with pytest.raises(UserError, match="full_state_dict=True"):
            read_checkpoint(tmp_path / f"{name}.pth")
