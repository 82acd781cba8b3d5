from pathlib import Path
from typing import Any

import pytest
from command import command

from solo_rekd.config import PRESETS
from solo_rekd.hosts.jobs import Progress
from solo_rekd.utils.errors import UserError

NEEDED = (
    "--method rekd --encoder alexnet --dataset custom --data_dir D --train_dir train "
    "--optimizer sgd"
).split()


def test_the_host_does_the_job(stand_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    kept = ["--save_checkpoint", "--checkpoint_dir", "runs", "--resume_from_checkpoint", "b.ckpt"]
    command("pretrain", *NEEDED, *kept)
    ((job, folder, resume, progress),) = stand_in.asked
    assert (job.method, job.images.train) == ("rekd", "D/train")
    assert (folder, resume) == (Path("runs"), Path("b.ckpt"))
    assert progress == Progress("rekd alexnet")
    first, *metrics = capsys.readouterr().out.splitlines()
    assert first == "pretrained in 2 s, 50 images/s; checkpoint: a.ckpt"
    assert [line.split() for line in metrics] == [["train_nce_loss", "1.5000"]]


def test_a_preset_is_the_settings_that_no_flag_gives(
    stand_in: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*("seed" if word == "rekd" else word for word in NEEDED), "--temperature", "0.1"]
    command("pretrain", *words, "--preset", "lightly")
    ((job, *_),) = stand_in.asked
    assert job.settings == PRESETS["seed"]["lightly"] | {"temperature": 0.1}
    with pytest.raises(UserError, match=r"^preset='lightly' is not allowed: expected no-relation$"):
        command("pretrain", *NEEDED, "--preset", "lightly")
    assert len(stand_in.asked) == 1


def test_a_bar_can_be_left_out(stand_in: Any) -> None:
    command("pretrain", *NEEDED, "--enable_progress_bar", "False")
    ((job, folder, resume, progress),) = stand_in.asked
    assert (folder, resume, progress) == (None, None, Progress())
    assert job.host == {}


def test_help_of_a_method_shows_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command("pretrain", "--method", "bingo", "--help")
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for text in ("--bag_size", "Default: 5", "--queue_size", "--num_crops_per_aug", "--seed"):
        assert text in shown
    assert "--num_prototypes" not in shown
