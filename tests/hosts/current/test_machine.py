"""`devices` of the current host on a CPU and on GPUs, without either host."""

import pytest
import torch
from omegaconf import OmegaConf

from solo_rekd.hosts.current.machine import count_processes, fit_devices
from solo_rekd.utils.errors import UserError


def fitted(monkeypatch: pytest.MonkeyPatch, gpus: int, **settings: object) -> object:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    cfg = OmegaConf.create(settings)
    fit_devices(cfg)
    return OmegaConf.to_container(cfg)


@pytest.mark.parametrize(
    ("devices", "number"),
    [(1, 1), ("1", 1), ([0], 1), ("auto", 1), (-1, 1), ([0, 1], 2), (2, 2), ("02", 2), (12, 12)],
)
def test_a_cpu_gets_digits_of_the_length_of_their_number(
    devices: object, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = fitted(monkeypatch, 0, devices=devices, sync_batchnorm=True)
    assert isinstance(found, dict)
    assert (len(found["devices"]), int(found["devices"])) == (number, number)
    assert found["sync_batchnorm"] is False


@pytest.mark.parametrize(
    ("devices", "expected"),
    [(1, [0]), ("2", [0, 1]), ([1, 3], [1, 3]), ("auto", [0, 1, 2, 3]), (-1, [0, 1, 2, 3])],
)
def test_gpus_get_a_list(
    devices: object, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = fitted(monkeypatch, 4, devices=devices, sync_batchnorm=True, accelerator="gpu")
    assert found == {"devices": expected, "sync_batchnorm": True, "accelerator": "gpu"}


def test_a_cpu_asked_for_beside_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fitted(monkeypatch, 4, accelerator="cpu")
    assert found == {"devices": "1", "sync_batchnorm": False, "accelerator": "cpu"}


@pytest.mark.parametrize("devices", [0, "cuda", "1,2", 1.5])
def test_anything_else_is_refused(devices: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=f"devices={devices!r} is not allowed: expected a number"):
        fitted(monkeypatch, 0, devices=devices)


@pytest.mark.parametrize("name", ["gpus", "devices"])
def test_numbers_of_a_command_line_are_a_list(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = pytest.importorskip("solo_rekd.hosts.current.overrides")
    settings = overrides.host_settings({name: (1, 3)}, ["devices"])
    assert overrides.words_of(settings) == ["++devices=[1,3]"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert count_processes(settings | {"accelerator": "gpu"}) == 2
