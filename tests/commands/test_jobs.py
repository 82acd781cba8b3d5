import argparse
from pathlib import Path
from typing import Any

import pytest

from solo_rekd import cli
from solo_rekd.commands import jobs
from solo_rekd.config import CONFIGS
from solo_rekd.hosts.jobs import Images, LinearEvaluation, Network, Optimizer, Pretraining, View
from solo_rekd.objectives import OBJECTIVES
from solo_rekd.utils.errors import UserError

METHODS = {"byol": ["pred_hidden_dim"], "rekd": ["own_weight", "queue_size"]}
FOLDER = "--dataset custom --data_dir D --train_dir train --val_dir val --optimizer sgd"
NEEDED = f"--method rekd --encoder alexnet {FOLDER}"
JUDGED = f"--pretrained_feature_extractor x.ckpt {FOLDER}"


def arguments(command: str, words: str) -> argparse.Namespace:
    return cli.parse([command, *words.split()])[1]


def pretraining(words: str) -> Pretraining:
    return jobs.pretraining(arguments("pretrain", words), METHODS)


def linear(words: str) -> LinearEvaluation:
    return jobs.linear_evaluation(arguments("linear", words), Network("alexnet"))


def test_what_is_not_given_is_left_to_the_host() -> None:
    assert pretraining(NEEDED) == Pretraining(
        method="rekd",
        network=Network("alexnet"),
        images=Images("D/train", "D/val"),
        views=(View(2),),
        optimizer=Optimizer("sgd", 0.15, schedule="warmup_cosine"),
        batch_size=128,
        epochs=100,
    )


def test_every_flag_has_its_place() -> None:
    job = pretraining(
        f"{NEEDED} --stem small --crop_size 32 --mean .1 .2 .3 --std .4 .5 .6 --num_workers 3 "
        "--no_labels --num_crops_per_aug 3 --min_scale 0.2 --max_scale 0.9 --color_jitter_prob 0.7 "
        "--brightness 0.4 --contrast 0.3 --saturation 0.2 --hue 0.1 --gray_scale_prob 0.25 "
        "--gaussian_prob 0 --solarization_prob 0.05 --horizontal_flip_prob 0.5 --lr 0.3 "
        "--classifier_lr 0.2 --weight_decay 0 --batch_size 64 --max_epochs 7 --scheduler step "
        "--lr_decay_steps 3 5 --warmup_epochs 0 --warmup_start_lr 0.01 --min_lr 0.001 --seed 9"
    )
    view = View(3, None, 0.2, 0.9, 0.7, 0.4, 0.3, 0.2, 0.1, 0.25, 0.0, 0.05, 0.5)
    optimizer = Optimizer("sgd", 0.3 * 64 / 256, 0.0, "step", 0, 0.01, 0.001, (3, 5))
    assert job == Pretraining(
        method="rekd",
        network=Network("alexnet", "small"),
        images=Images(
            "D/train", "D/val", 32, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), labelled=False, workers=3
        ),
        views=(view,),
        optimizer=optimizer,
        batch_size=64,
        epochs=7,
        classifier_lr=0.2,
        seed=9,
    )


def test_several_values_are_several_views() -> None:
    words = "--crop_size 64 32 --num_crops_per_aug 2 6 --min_scale 0.3 --gaussian_prob 1 0.5"
    job = pretraining(f"{NEEDED} {words}")
    assert job.images.size == 64
    first = View(2, None, min_scale=0.3, blur=1.0)
    assert job.views == (first, View(6, 32, min_scale=0.3, blur=0.5))


def test_a_flag_that_is_not_ours_is_the_methods_or_the_hosts() -> None:
    words = "--own_weight 0.8 --base_tau_momentum 0.99 --precision 16 --knn_eval --wandb"
    job = pretraining(f"{NEEDED} {words} --project 12 backbone.kwargs.a=1 -- num_nodes=2")
    assert job.settings == {"own_weight": 0.8, "base_tau_momentum": 0.99}
    assert job.host == {
        "precision": 16,
        "knn_eval": True,
        "wandb": True,
        "project": "12",
        "backbone.kwargs.a": 1,
        "num_nodes": 2,
    }
    job = pretraining(NEEDED.replace("rekd", "byol") + " --pred_hidden_dim 64 --own_weight 1")
    assert (job.settings, job.host) == ({"pred_hidden_dim": 64}, {"own_weight": 1})


def test_the_rate_is_for_the_batch_of_all_gpus() -> None:
    job = pretraining(f"{NEEDED} --gpus 0,1,2,3 --batch_size 32 --lr 0.03")
    assert (job.optimizer.lr, job.host) == (0.03 * 32 * 4 / 256, {"gpus": (0, 1, 2, 3)})


@pytest.mark.parametrize(
    ("text", "devices"), [("2", 2), ("0,", (0,)), ("1,3", (1, 3)), ("auto", "auto"), ("-1", -1)]
)
def test_devices_are_a_number_or_numbers(text: str, devices: object) -> None:
    assert pretraining(f"{NEEDED} --devices {text}").host == {"devices": devices}


@pytest.mark.parametrize("word", ["--lars", "--optimizer lars"])
def test_lars_is_an_optimizer(word: str) -> None:
    assert pretraining(f"{NEEDED} {word}").optimizer.name == "lars"


@pytest.mark.parametrize(
    ("words", "train", "val"),
    [
        ("--dataset cifar10 --data_dir D", "D/cifar10/train", "D/cifar10/val"),
        ("--dataset cifar10 --data_dir D --train_dir . --val_dir .", "D", "D"),
        ("--dataset imagenet --data_dir D", "D/imagenet/train", None),
        ("--dataset custom --data_dir D --train_dir t", "D/t", None),
        ("--dataset custom --data_dir /D --train_dir /t --val_dir v", "/t", "/D/v"),
    ],
)
def test_where_the_images_lie(words: str, train: str, val: str | None) -> None:
    job = pretraining(f"--method rekd --encoder alexnet --optimizer sgd {words}")
    assert (job.images.train, job.images.val) == (train, val)
    judged = f"--pretrained_feature_extractor x.ckpt --optimizer sgd {words}"
    if "custom" in words and val is None:
        with pytest.raises(UserError, match="--dataset custom needs --val_dir"):
            linear(judged)
    else:
        assert linear(judged).images.val == (val or "D/imagenet/val")


def test_a_linear_evaluation_has_its_rate_as_it_is() -> None:
    words = "--crop_size 48 --lr 3.0 --weight_decay 0 --batch_size 256 --scheduler step"
    words += " --lr_decay_steps 60 80 --max_epochs 90 --num_workers 2 --gpus 0 --dali"
    assert linear(f"{JUDGED} {words}") == LinearEvaluation(
        checkpoint="x.ckpt",
        network=Network("alexnet"),
        images=Images("D/train", "D/val", 48, workers=2),
        optimizer=Optimizer("sgd", 3.0, 0.0, "step", decay_epochs=(60, 80)),
        batch_size=256,
        epochs=90,
        host={"gpus": (0,), "dali": True},
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--method nothing", "method='nothing' is not allowed: expected .*byol"),
        ("--dataset mnist", "dataset='mnist' is not allowed"),
        ("--seed -1", "seed=-1 is not allowed"),
        ("--seed 4294967296", "seed=4294967296 is not allowed"),
        ("--lr fast", "--lr: invalid float value: 'fast'"),
        ("--lr -.5", "lr=-0.5 is not allowed"),
        ("--lr nan", "lr=nan is not allowed"),
        ("--batch_size 0", "batch_size=0 is not allowed"),
        ("--max_epochs 0", "max_epochs=0 is not allowed"),
        ("--hue 0.1 0.6", "hue=0.6 is not allowed"),
        ("--mean 123 116 103", "mean=123.0 is not allowed"),
        ("--checkpoint_frequency 0", "checkpoint_frequency=0 is not allowed"),
        ("--own_weight", "--own_weight"),
        ("--queue_size many", "--queue_size: invalid whole number or auto"),
        ("--crop_size 64 32 --hue 0.1 0.2 0.3", "crop_size=.* expected one value, or 3"),
        ("--stem big", "stem='big' is not allowed"),
        ("--enable_progress_bar 7", "neither True nor False"),
        ("--gpus ,", "gpus=',' is not allowed: expected device numbers"),
        ("--devices a,b", "devices='a,b' is not allowed: expected device numbers"),
        ("--gpus", "gpus=True is not allowed"),
        ("-- --precision 16", "expected KEY=VALUE"),
    ],
)
def test_mistakes_are_one_line(words: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        pretraining(f"{NEEDED} {words}")
    assert "\n" not in str(caught.value)


def test_a_folder_of_ones_own_has_a_name() -> None:
    with pytest.raises(UserError, match="--dataset custom needs --train_dir"):
        pretraining(NEEDED.replace("--train_dir train", ""))


def test_checkpoints_are_kept_where_asked_for() -> None:
    assert jobs.kept_in(arguments("pretrain", NEEDED)) is None
    words = f"{NEEDED} --save_checkpoint"
    assert jobs.kept_in(arguments("pretrain", words)) == Path("trained_models")
    kept = jobs.kept_in(arguments("linear", f"{JUDGED} --save_checkpoint --checkpoint_dir x"))
    assert kept == Path("x")


def test_the_table_of_configurations_is_that_of_the_objectives() -> None:
    found: dict[str, Any] = {name: each.config_class for name, each in OBJECTIVES.items()}
    assert found == CONFIGS
