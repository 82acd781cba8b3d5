from types import SimpleNamespace
from typing import Any

import pytest

from solo_rekd.distilling import trial
from solo_rekd.distilling.trial import Speed, affordable, measure, read_times
from solo_rekd.hosts.jobs import Images, Network, Optimizer, Pretraining, Signal, View


def test_the_first_steps_are_not_counted() -> None:
    # 20 s until the first step ends, then 5 s for two more, then 2 s a step, and 3 s at the end
    speed = read_times(100, [120, 123, 125, 127, 129, 131], 134, 8)
    assert speed == Speed(step=2, between=3, spent=34, images=8)
    assert speed.images_per_second == 4


@pytest.mark.parametrize(("ends", "step"), [([110.0], 10), ([110.0, 112.0], 2)])
def test_fewer_steps_than_are_left_out(ends: list[float], step: float) -> None:
    assert read_times(100, ends, ends[-1], 8).step == step


def test_how_many_epochs_fit() -> None:
    speed = Speed(step=2, between=10, spent=60, images=8)
    # 3,420 s but for the trial's minute, in epochs of 210 s
    assert affordable(speed, 1, 100) == 16
    assert affordable(speed, 0.05, 100) == 0
    assert affordable(speed, 0.001, 1) == 0


def test_the_job_itself_is_timed_for_a_few_steps_and_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(trial.time, "perf_counter", lambda: now.seconds)
    asked: list[Any] = []

    def pretrain(job: Pretraining, folder: Any, resume: Any, progress: Any) -> None:
        asked.append((job, folder, resume, progress.signal))
        for step in range(6):
            now.seconds += 4
            progress.share(step / 6)

    job = Pretraining(
        "rekd", Network("alexnet"), Images("t"), (View(),), Optimizer("sgd", 0.1), 8, epochs=50
    )
    host: Any = SimpleNamespace(pretrain=pretrain)
    signal = Signal("held-out")
    assert measure(host, job, signal).step == 4
    ((timed, folder, resume, judged),) = asked
    assert judged == signal
    assert (timed.epochs, folder, resume) == (1, None, None)
    assert timed.host["limit_train_batches"] == trial.STEPS
    assert (timed.method, timed.batch_size, timed.images) == (job.method, 8, job.images)
