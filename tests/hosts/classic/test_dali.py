"""The classic host's DALI loading, for real on the CPU, beside the same without DALI."""

import importlib
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional as transforms

pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed: solo-rekd[dali]")

from solo_rekd import hosts
from solo_rekd.utils.errors import UserError

commands = hosts.commands()
dali = importlib.import_module("solo.methods.dali")
shared = importlib.import_module("solo_rekd.hosts.shared.dali")

BATCH = 8
SHARED = f"--dataset custom --batch_size {BATCH} --optimizer sgd --lr 0.1 --scheduler none --dali"
NORMALISATION = "--mean 0.5 0.4 0.6 --std 0.25 0.2 0.3"
# crops in which an image can be recognised
PLAIN = (
    "--brightness 0 --contrast 0 --saturation 0 --hue 0 --gray_scale_prob 0 --gaussian_prob 0 "
    "--horizontal_flip_prob 0 --min_scale 0.9"
)
STRONG = "--brightness 0.4 --contrast 0.4 --saturation 0.2 --hue 0.1"
METHOD = (
    "--method rekd --teacher timm:resnet10t --num_prototypes 4 --queue_size 16 --temperature 0.2 "
    "--proj_hidden_dim 16 --proj_output_dim 8 --teacher_warmup_epochs 0"
)


def write_images(folder: Path, number: int, rng: np.random.Generator, channel: int) -> None:
    """Writes smooth JPEGs of 40 x 32 px and 32 x 40 px, with one channel stronger."""
    folder.mkdir(parents=True)
    for index in range(number):
        coarse = rng.uniform(40, 120, (5, 4, 3))
        coarse[..., channel] += 90
        size = (40, 32) if index % 2 else (32, 40)
        image = Image.fromarray(coarse.astype("uint8")).resize(size, Image.Resampling.BICUBIC)
        image.save(folder / f"{index:02d}.jpg", quality=95)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ and val/ of three classes, flat/ without classes."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    # names that sort otherwise than as numbers, and than they are written
    for channel, name in enumerate(["9", "10", "ant"]):
        write_images(root / "train" / name, 12, rng, channel)
        write_images(root / "val" / name, 7, rng, channel)
    (root / "train" / "ant" / "notes.txt").write_text("not an image\n")
    write_images(root / "flat", 12, rng, 0)
    return root


def parse(data: Path, *flags: str, linear: bool = False) -> Any:
    """Parses flags as the command does; a later flag overrides an earlier one."""
    default = f"{SHARED} --train_dir train --val_dir val --dali_device cpu --num_workers 0"
    argv = [*" ".join((default, *flags)).split(), "--data_dir", str(data)]
    if linear:
        return commands.parse(argv, commands.setup.parse_args_linear)
    return commands.parse([*argv, *METHOD.split()], commands.setup.parse_args_pretrain)


def model(args: Any, rank: int = 0, world: int = 1) -> Any:
    """What the host's mix-ins ask of the model that they are mixed into."""
    return SimpleNamespace(
        local_rank=rank,
        global_rank=rank,
        trainer=SimpleNamespace(world_size=world),
        device=torch.device("cpu"),
        extra_args=vars(args),
        batch_size=args.batch_size,
        num_large_crops=2,
        num_small_crops=0,
    )


def pretrain_batches(args: Any, *ranks: int) -> Any:
    """The loader of pretraining."""
    return dali.PretrainABC.train_dataloader(model(args, *ranks))


def linear_args(data: Path, *flags: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Arguments of linear evaluation, without the checkpoint's being read."""
    monkeypatch.setattr(commands.arguments, "load_encoder", lambda args, only: None)
    return parse(data, "--encoder alexnet --pretrained_feature_extractor none", *flags, linear=True)


def nearest(crops: torch.Tensor, files: list[str], args: Any) -> list[int]:
    """Recognises crops: the index of the file that looks most alike."""
    mean, std = (torch.tensor(value)[:, None, None] for value in (args.mean, args.std))
    known = [transforms.to_tensor(Image.open(file).convert("RGB")) for file in files]
    coarse = torch.stack([adaptive_avg_pool2d((image - mean) / std, 4) for image in known])
    distances = torch.cdist(adaptive_avg_pool2d(crops, 4).flatten(1), coarse.flatten(1))
    return distances.argmin(dim=1).tolist()


def statistics(batches: list[torch.Tensor]) -> torch.Tensor:
    """Mean and standard deviation of each channel, shape (2, 3)."""
    images = torch.cat(batches)
    return torch.stack([images.mean(dim=(0, 2, 3)), images.std(dim=(0, 2, 3))])


def test_classification_lists_what_is_listed_without_dali(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(data / "train", tmp_path / "train")
    shutil.copytree(data / "val", tmp_path / "val")
    for name in (".hidden", "9/deeper"):
        shutil.copytree(data / "train" / "10", tmp_path / "train" / name)
    shutil.copy(data / "train" / "9" / "00.jpg", tmp_path / "train" / "9" / "._00.jpg")
    args = linear_args(tmp_path, "--crop_size 32", monkeypatch=monkeypatch)
    assert args.num_classes == 3
    loader = dali.ClassificationABC.train_dataloader(model(args))
    labels = torch.cat([targets for _, targets in loader]).bincount(minlength=3)
    listed = torch.tensor(ImageFolder(str(data / "train")).targets).bincount()
    listed[ImageFolder(str(data / "train")).class_to_idx["9"]] += 12  # `deeper`
    assert (labels - listed).abs().sum() <= BATCH  # the last batch is filled or dropped


def test_unlabelled_images_are_listed_without_what_is_none(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "flat", tmp_path / "flat")
    for name in ("Thumbs.db", ".DS_Store", "._00.jpg"):
        (tmp_path / "flat" / name).touch()
    files = [Path(file).name for file, _ in shared.list_images(tmp_path / "flat", True)]
    assert files == sorted(path.name for path in (data / "flat").iterdir())


def test_pretraining_batches_have_the_indexes_and_labels_of_the_image_folder(data: Path) -> None:
    args = parse(data, PLAIN, NORMALISATION, "--encoder alexnet --crop_size 32")
    samples = ImageFolder(str(data / "train")).samples
    loader = pretrain_batches(args)
    orders = []
    for _ in range(3):
        batches = list(loader)
        assert len(batches) == len(loader) == 36 // BATCH
        for indexes, crops, labels in batches:
            assert [(crop.shape, crop.dtype) for crop in crops] == [
                ((BATCH, 3, 32, 32), torch.float32)
            ] * 2
            assert indexes.dtype == labels.dtype == torch.int64
            assert labels.tolist() == [samples[index][1] for index in indexes]
            for crop in crops:
                assert nearest(crop, [file for file, _ in samples], args) == indexes.tolist()
        orders.append(torch.cat([indexes for indexes, _, _ in batches]).tolist())
        assert len(set(orders[-1])) == len(orders[-1])
    assert orders[0] != orders[1] != orders[2]


def test_unlabelled_batches_have_indexes_and_no_label(data: Path) -> None:
    flags = "--encoder alexnet --crop_size 32 --no_labels --train_dir flat"
    args = parse(data, PLAIN, NORMALISATION, flags)
    files = [str(file) for file in sorted((data / "flat").iterdir())]
    for indexes, crops, labels in pretrain_batches(args):
        assert nearest(crops[0], files, args) == indexes.tolist()
        assert labels.tolist() == [-1] * BATCH


def test_shards_share_the_images(data: Path) -> None:
    args = parse(data, PLAIN, "--encoder alexnet --crop_size 32 --batch_size 6")
    shards = [
        {int(index) for indexes, _, _ in pretrain_batches(args, rank, 2) for index in indexes}
        for rank in (0, 1)
    ]
    assert not shards[0] & shards[1]
    assert shards[0] | shards[1] == set(range(36))


def test_seed_decides_the_crops(data: Path) -> None:
    args = parse(data, STRONG, "--encoder alexnet --crop_size 32")

    def first_crops(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return next(iter(pretrain_batches(args)))[1][0]

    assert torch.equal(first_crops(1), first_crops(1))
    assert not torch.equal(first_crops(1), first_crops(2))


def test_pretraining_crops_look_as_without_dali(data: Path) -> None:
    args = parse(data, STRONG, NORMALISATION, "--encoder alexnet --crop_size 32")
    torch.manual_seed(0)
    ours, theirs = (
        statistics([crop for _ in range(6) for _, crops, _ in loader for crop in crops])
        for loader in (pretrain_batches(args), commands.pretrain_loader(args))
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0.15)


# at 32 px nothing is resized; at 96 px the host's DALI is bicubic where torchvision is bilinear
@pytest.mark.parametrize(("size", "tolerance"), [(32, 1e-5), (96, 0.15)])
def test_classification_images_look_as_without_dali(
    data: Path, size: int, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = linear_args(data, NORMALISATION, f"--crop_size {size}", monkeypatch=monkeypatch)
    loader = dali.ClassificationABC.train_dataloader(model(args))
    torch_train, torch_val = commands.classification_loaders(args)
    torch.manual_seed(0)
    batches = [batch for _ in range(6) for batch in loader]
    assert len(batches) == 6 * len(loader) == 6 * (36 // BATCH)
    assert {images.shape for images, _ in batches} == {(BATCH, 3, size, size)}
    expected = statistics([images for _ in range(6) for images, _ in torch_train])
    torch.testing.assert_close(
        statistics([images for images, _ in batches]), expected, rtol=0, atol=0.15
    )
    # the class shows in its strongest channel: 10, 9, ant
    for images, labels in batches:
        means = images * torch.tensor(args.std)[:, None, None]
        means = means.mean(dim=(2, 3)) + torch.tensor(args.mean)
        assert torch.tensor([1, 0, 2])[labels].tolist() == means.argmax(dim=1).tolist()

    loader = dali.ClassificationABC.val_dataloader(model(args))
    for _ in range(2):
        images, labels = (torch.cat(column) for column in zip(*loader, strict=True))
        order = nearest(images, [file for file, _ in torch_val.dataset.samples], args)
        assert sorted(order) == list(range(21))
        expected, expected_labels = zip(*(torch_val.dataset[index] for index in order), strict=True)
        assert labels.tolist() == list(expected_labels)
        torch.testing.assert_close(images, torch.stack(expected), rtol=0, atol=tolerance)


@pytest.mark.parametrize("validation", [False, True])
def test_classification_at_224_px_is_the_hosts(
    data: Path, validation: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = "val_dataloader" if validation else "train_dataloader"
    args = linear_args(data, monkeypatch=monkeypatch)

    def first_batch(dataset: str) -> list[torch.Tensor]:
        args.dataset = dataset
        return next(iter(getattr(dali.ClassificationABC, loader)(model(args))))

    # nothing of the host's pipeline for ImageNet is changed but where it runs
    for ours, theirs in zip(first_batch("custom"), first_batch("imagenet"), strict=True):
        assert torch.equal(ours, theirs)


def test_pretrains_and_evaluates(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = dict.fromkeys(("PretrainWrapper", "Wrapper"), 0)

    def count(name: str) -> None:
        following = getattr(dali, name).__next__

        def counted(self: Any) -> Any:
            batch = following(self)
            batches[name] += 1
            return batch

        monkeypatch.setattr(getattr(dali, name), "__next__", counted)

    for name in batches:
        count(name)
    shared = f"{SHARED} {NORMALISATION} --train_dir train --val_dir val --num_workers 0"
    shared = f"{shared} --encoder alexnet --crop_size 32 --max_epochs 2 --data_dir {data}"
    output = f"--name run --save_checkpoint --checkpoint_dir {tmp_path}"
    trained = commands.pretrain(f"{shared} {STRONG} {METHOD} {output}".split())
    # Lightning counts on an iterator that begins anew at each epoch
    assert batches == {"PretrainWrapper": 2 * (36 // BATCH), "Wrapper": 0}
    assert trained["metrics"]["train_relation_loss"] > 0
    probe = f"{shared} --pretrained_feature_extractor {trained['checkpoint']}"
    assert commands.linear(probe.split())["top1"] > 50  # of three classes, by their colour
    assert batches["Wrapper"] == 2 * (36 // BATCH)


@pytest.mark.slow
@pytest.mark.parametrize("flags", ["", "--no_labels --train_dir flat", "--val_dir val"])
def test_trains_and_resumes_with_validation_images_or_without(
    flags: str, data: Path, tmp_path: Path
) -> None:
    shared = f"{SHARED} {STRONG} {METHOD} {NORMALISATION} --train_dir train --num_workers 0 {flags}"
    shared = f"{shared} --encoder alexnet --crop_size 32 --data_dir {data} --save_checkpoint"
    trained = commands.pretrain(
        f"{shared} --max_epochs 2 --name first --checkpoint_dir {tmp_path}".split()
    )
    assert ("val_acc1" in trained["metrics"]) == ("--val_dir" in flags)
    resumed = commands.pretrain(
        f"{shared} --max_epochs 3 --name second --checkpoint_dir {tmp_path}/resumed "
        f"--resume_from_checkpoint {trained['checkpoint']}".split()
    )
    assert "ep=2" in resumed["checkpoint"]


@pytest.mark.parametrize("linear", [False, True])
def test_names_a_damaged_image(
    linear: bool, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "val"):
        shutil.copytree(data / split, tmp_path / split)
    damaged = tmp_path / "train" / "10" / "07.jpg"
    damaged.write_bytes(damaged.read_bytes()[:300])
    with pytest.raises(UserError, match=r"train/10/07.jpg cannot be decoded by DALI"):
        if linear:
            args = linear_args(tmp_path, "--crop_size 32", monkeypatch=monkeypatch)
            for _ in range(2):
                list(dali.ClassificationABC.train_dataloader(model(args)))
        else:
            for _ in range(2):
                list(pretrain_batches(parse(tmp_path, STRONG, "--encoder alexnet --crop_size 32")))


def test_classification_reads_nested_folders_and_no_others(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "val"):
        for folder in (data / split).iterdir():
            shutil.copytree(folder, tmp_path / split / folder.name / "part")
    (tmp_path / "val" / "9" / "Thumbs.db").write_bytes(bytes(600))
    args = linear_args(tmp_path, "--crop_size 32 --batch_size 4", monkeypatch=monkeypatch)
    labels = [label for _, label in ImageFolder(str(tmp_path / "val")).samples]
    loader = dali.ClassificationABC.val_dataloader(model(args))
    assert torch.cat([batch for _, batch in loader]).tolist() == labels
    assert (
        sum(len(batch) for _, batch in dali.ClassificationABC.train_dataloader(model(args))) == 36
    )


def test_falls_back_to_the_cpu(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.INFO, "solo_rekd"):
        args = parse(data, PLAIN, "--encoder alexnet --dali_device gpu")
    assert args.dali_device == "cpu"
    (record,) = caplog.records
    assert "no GPU" in record.message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--dali_device cuda", "dali_device='cuda' is not allowed: expected cpu, gpu"),
        ("--dataset imagenet", "train_dir=None is not allowed: expected a folder of data_dir"),
        ("--batch_size 37 --queue_size 37", "batch_size=37 is not allowed: expected at most 36"),
    ],
)
def test_refuses(data: Path, flags: str, message: str) -> None:
    argv = f"{SHARED} {METHOD} {PLAIN} --encoder alexnet --data_dir {data} --max_epochs 1 {flags}"
    if "imagenet" not in flags:
        argv += " --train_dir train"
    with pytest.raises(UserError, match=message):
        commands.pretrain(argv.split())


@pytest.mark.slow
def test_says_what_to_install(data: Path) -> None:
    flags = f"{SHARED} {METHOD} {PLAIN} --encoder alexnet --train_dir train --data_dir {data}"
    code = (
        f"import sys; sys.modules['nvidia.dali'] = None; sys.argv[1:] = {flags.split()}\n"
        # as the host's script: the start-up hook or this activates, and nothing else is ours
        "from solo_rekd import hosts; hosts.activate()\n"
        "from solo.args.setup import parse_args_pretrain; parse_args_pretrain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "solo-rekd: error: --dali needs NVIDIA DALI: pip install 'solo-rekd[dali]'"
    )
    assert "Traceback" not in done.stderr
