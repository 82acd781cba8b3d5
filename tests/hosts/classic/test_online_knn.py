"""The online kNN of the method host's runs."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from solo_rekd.evaluation.knn import weighted_knn

# Two processes, each with every second image: what each of them finds.
RANK = """
import sys
import torch
from torch import distributed
from solo_rekd import hosts

hosts.commands()
from solo_rekd.hosts.shared.online_knn import OnlineKnn

rank, path = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
g = torch.Generator().manual_seed(0)
features, labels = torch.randn(90, 5, generator=g), torch.arange(90) // 2 % 9
labels[:4] = -1
knn = OnlineKnn(k=7, distance_fx="euclidean")
if sys.argv[3] == "all":
    train, test, knn._to_sync = range(60), range(60, 90), False
else:
    train, test = range(rank, 60, 2), range(60 + rank, 90, 2)
known = [row for row in train if labels[row] >= 0]
for _ in range(2):
    knn(train_features=features[known], train_targets=labels[known])
    knn(test_features=features[list(test)], test_targets=labels[list(test)])
    print(*map(float, knn.compute()), len(knn.train_features))
    knn.reset()
"""

Flags = Callable[..., list[str]]
SMALL = {"encoder": "alexnet", "knn_eval": True, "method": "simclr"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, host: ModuleType) -> list[tuple[int, int]]:
    """How many training and validation images each online kNN was asked about."""
    from solo_rekd.hosts.shared import online_knn

    numbers: list[tuple[int, int]] = []

    def record(train: Tensor, train_labels: Tensor, test: Tensor, *rest: Any) -> Any:
        numbers.append((len(train), len(test)))
        return weighted_knn(train, train_labels, test, *rest)

    monkeypatch.setattr(online_knn, "weighted_knn", record)
    return numbers


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_equals_the_hosts_where_that_is_right(distance: str, host: ModuleType) -> None:
    from solo.utils.knn import WeightedKNNClassifier
    from torch.nn.functional import normalize

    from solo_rekd.hosts.shared.online_knn import OnlineKnn

    g = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 9
    features = normalize(torch.randn(90, 5, generator=g) + labels[:, None] % 4).double()
    found = []
    for kind in (WeightedKNNClassifier, OnlineKnn):
        knn = kind(k=7, T=0.07, distance_fx=distance)
        for rows in torch.randperm(60, generator=torch.Generator().manual_seed(1)).split(11):
            knn(train_features=features[rows], train_targets=labels[rows])
        knn(test_features=features[60:], test_targets=labels[60:])
        found.append([float(value) for value in knn.compute()])
    assert found[0] == pytest.approx(found[1])
    assert 0 < found[0][0] < found[0][1] < 100


def test_no_labelled_image_is_the_hosts_minus_one(host: ModuleType) -> None:
    from solo_rekd.hosts.shared.online_knn import OnlineKnn

    knn = OnlineKnn(k=7, distance_fx="cosine")
    knn(train_features=torch.ones(2, 3), train_targets=torch.tensor([-1, -1]))
    knn(test_features=torch.ones(2, 3), test_targets=torch.tensor([0, 1]))
    assert knn.compute() == (-1, -1)


@pytest.mark.trial
def test_every_process_is_judged_by_all_images(tmp_path: Path) -> None:
    said = []
    for share in ("all", "half"):
        ranks = [
            subprocess.Popen(
                [sys.executable, "-c", RANK, str(rank), tmp_path / share, share],
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in (0, 1)
        ]
        said += [rank.communicate(timeout=120)[0] for rank in ranks]
    assert said[0] and len(set(said)) == 1


@pytest.mark.parametrize("changes", [{"limit_val_batches": 1}, {"fast_dev_run": True}])
def test_validation_images_that_lack_a_class(
    changes: dict[str, Any], host: ModuleType, flags: Flags
) -> None:
    found = host.pretrain(flags("pretrain", **SMALL, **changes))
    assert 0 <= found["metrics"]["val_knn_acc1"] <= 100


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [(96, 24)] * 2),
        ({"check_val_every_n_epoch": 2}, [(96, 24)]),  # not the first epoch's
        ({"val_check_interval": 0.5}, [(48, 24), (96, 24)] * 2),  # the whole epoch so far
        ({"limit_val_batches": 0}, []),
    ],
)
def test_it_is_asked_about_one_epochs_images(
    changes: dict[str, Any],
    expected: list[tuple[int, int]],
    host: ModuleType,
    flags: Flags,
    asked: list[tuple[int, int]],
) -> None:
    host.pretrain(flags("pretrain", max_epochs=2, **SMALL, **changes))
    assert asked == expected


def test_nothing_is_kept(host: ModuleType, flags: Flags, monkeypatch: pytest.MonkeyPatch) -> None:
    from solo_rekd.hosts.classic import commands

    models = []

    def fit(trainer: Any, model: Any, *loaders: Any) -> None:
        models.append(model)
        trainer.fit(model, *loaders)

    monkeypatch.setattr(commands, "fit", fit)
    for number, knn_eval in ((0, False), (1.0, True)):
        host.pretrain(flags("pretrain", limit_val_batches=number, **SMALL))
        assert models[-1].knn_eval == knn_eval
        held = models[-1].knn
        assert not held.train_features and not held.test_features


def test_a_method_of_the_host_alone_keeps_its_own(host: ModuleType) -> None:
    from pytorch_lightning import LightningModule
    from solo.utils.knn import WeightedKNNClassifier

    from solo_rekd.hosts.classic import callbacks
    from solo_rekd.hosts.shared.online_knn import OnlineKnn

    theirs = LightningModule()
    theirs.backbone_args, theirs.knn_eval = {"cifar": False}, True
    theirs.knn = WeightedKNNClassifier(k=5, distance_fx="cosine")
    (callback,) = [c for c in callbacks.callbacks() if isinstance(c, callbacks.OnlineKnn)]
    callback.setup(None, theirs, "validate")
    assert type(theirs.knn) is WeightedKNNClassifier
    theirs.backbone_args = {"plugin_encoder": "alexnet"}
    callback.setup(None, theirs, "validate")
    assert isinstance(theirs.knn, OnlineKnn)
    assert (theirs.knn.k, theirs.knn.distance_fx) == (5, "cosine")
