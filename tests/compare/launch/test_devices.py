import pytest
import torch

from solo_rekd.compare.launch.devices import least_used, visible_gpus

UUIDS = ["GPU-6a", "MIG-7b"]


@pytest.mark.parametrize(
    ("given", "count", "names"),
    [
        (None, 0, []),
        (None, 2, ["0", "1"]),
        ("", 0, []),
        ("-1", 0, []),
        ("3, 1", 2, ["3", "1"]),
        ("3,1,-1,2", 2, ["3", "1"]),  # CUDA reads no further than a number that is none
        (",".join(UUIDS), 2, UUIDS),
    ],
)
def test_the_gpus_keep_the_names_that_the_user_gave(given, count, names, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if given is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == names


@pytest.mark.parametrize(
    ("used", "gpu"), [([], "3"), (["3"], "1"), (["3", "1"], "3"), (["3", "1", "3"], "1")]
)
def test_the_next_run_takes_the_gpu_with_the_fewest(used, gpu):
    assert least_used(["3", "1"], used) == gpu


def test_without_a_gpu_there_is_none_to_take():
    assert least_used([], [None]) is None
