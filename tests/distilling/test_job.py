from pathlib import Path
from typing import Any

import pytest

from solo_rekd.distilling.choices import Facts, choose, refuse_impossible
from solo_rekd.distilling.job import make_job
from solo_rekd.distilling.request import Request
from solo_rekd.hosts.jobs import Pretraining
from solo_rekd.utils.errors import UserError

FACTS = Facts(photos=1000, side=36, student="mobilenet_v3_small", width=512, cores=2)


def job(request: Request) -> Pretraining:
    choices = choose(FACTS, vars(request))
    return make_job(request, choices, "index", FACTS.width)


def test_the_job_has_what_was_chosen(asked: Any) -> None:
    made = job(asked(epochs=20, lr=0.2))
    assert (made.method, made.epochs, made.batch_size, made.images.size) == ("rekd", 20, 8, 36)
    assert (made.images.train, made.images.labelled, made.images.val) == ("index", False, None)
    assert made.optimizer.lr == pytest.approx(0.2 * 8 / 256)
    expected = {"proj_output_dim": 512, "teacher_mode": "frozen", "teacher_probe": "off"}
    assert expected.items() <= made.settings.items()
    assert made.host == {"name": "rekd", "accelerator": "cpu", "precision": "32"}


def test_settings_of_the_method_and_words_of_the_host_go_into_the_job(asked: Any) -> None:
    given = asked(
        settings={"relation_temperature": 0.1}, host_words=("--min_scale", "0.4", "--wandb")
    )
    made = job(given)
    assert made.settings["relation_temperature"] == 0.1
    assert made.views[0].min_scale == 0.4
    assert made.host["wandb"] is True


def test_a_student_may_start_from_a_file(asked: Any, teacher_file: Path) -> None:
    made = job(asked(student="resnet18", student_checkpoint=str(teacher_file), crop_size=32))
    assert made.student_checkpoint == str(teacher_file)
    assert made.network.stem == "imagenet"  # the file's, where the size alone has a small one
    assert job(asked(student="resnet18", crop_size=32)).network.stem == "auto"
    with pytest.raises(UserError, match="student_checkpoint"):
        job(asked(student="alexnet", student_checkpoint=str(teacher_file)))
    with pytest.raises(UserError, match=r"^student_checkpoint='nowhere\.pth'.*exists"):
        asked(student_checkpoint="nowhere.pth")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": "resnet51"}, "^student='resnet51'"),
        ({"settings": {"relation_temprature": 1}}, "relation_temprature.*relation_temperature"),
        ({"settings": {"relation_temperature": -1}}, "^relation_temperature=-1"),
        ({"settings": {"teacher_mode": "online"}}, "teacher_mode"),
        ({"settings": {"queue_size": 4}}, "--queue_size"),
        ({"settings": {"relation": "labels"}}, "labels"),
        ({"settings": {"proj_output_dim": 64}}, "^proj_output_dim=64"),
        ({"host_words": ("--batch_size", "4")}, "^batch_size after --"),
        ({"host_words": ("--precision", "16")}, "^precision after --"),
        ({"host_words": ("--devices", "2")}, "^devices after --"),
    ],
)
def test_what_cannot_be_is_refused(asked: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        job(asked(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 1001}, "^batch_size=1001.*1000"),
        ({"device": "gpu"}, "^device='gpu'.*cpu"),
        ({"precision": "16"}, "^precision='16'.*32 or bf16"),
    ],
)
def test_what_the_machine_or_the_photos_cannot_do(changes: dict[str, Any], message: str) -> None:
    values = {choice.name: choice.value for choice in choose(FACTS, {})}
    refuse_impossible(FACTS, values)
    with pytest.raises(UserError, match=message):
        refuse_impossible(FACTS, values | changes)
