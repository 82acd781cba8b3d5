import pytest

from solo_rekd.compare.progress import (
    RunProgress,
    clock,
    describe,
    finished_cost,
    remaining_seconds,
    running_cost,
)


def finished(arm: str, cost: float) -> RunProgress:
    return RunProgress(arm, 1.0, cost)


def running(arm: str, done: float, cost: float | None) -> RunProgress:
    return RunProgress(arm, done, cost, True, "pretrain")


@pytest.mark.parametrize(
    ("runs", "jobs", "seconds"),
    [
        # nothing tells what a run costs
        ([RunProgress("a"), running("b", 0.1, None)], 1, None),
        # 100 s a run, a quarter done
        ([running("a", 0.25, 100)], 1, 75),
        # then one more of its arm
        ([running("a", 0.25, 100), RunProgress("a")], 1, 175),
        # beside another of 60 s: that ends first, and the waiting run takes its place
        ([running("a", 0.25, 100), running("b", 0.5, 60), RunProgress("b")], 2, 90),
        # a run of an arm unseen costs the mean of all known runs, (100 + 40) / 2
        ([finished("a", 100), finished("b", 40), RunProgress("c")], 1, 70),
        # a run of a known arm costs what its own arm does
        ([finished("a", 100), finished("a", 60), finished("b", 1), RunProgress("a")], 1, 80),
        # one that was interrupted at half costs the other half
        ([finished("a", 100), RunProgress("a", 0.5)], 1, 50),
        # one that has just begun costs what its arm does
        ([finished("a", 100), running("a", 0, None)], 1, 100),
        # more jobs than runs
        ([finished("a", 100), RunProgress("a"), RunProgress("a")], 4, 100),
        # a failed run costs nothing more
        ([finished("a", 100), RunProgress("b", 1.0)], 1, 0),
    ],
)
def test_the_time_left(runs, jobs, seconds):
    assert remaining_seconds(runs, jobs) == (None if seconds is None else pytest.approx(seconds))


def test_a_resumed_run_costs_by_what_its_process_did():
    # from 50% to 60% in 30 s
    assert running_cost({"done": 0.6, "seconds": 30}, 0.5) == pytest.approx(300)
    assert running_cost({"done": 0.5, "seconds": 30}, 0.5) is None


def test_a_finished_run_costs_all_its_stages():
    stages = {"linear_host": {"seconds": 2}, "linear_cached": {"seconds": 3}, "knn": {"seconds": 4}}
    assert finished_cost({"pretrain": {"seconds": 10}} | stages) == 19
    assert finished_cost({"pretrain": None} | stages) == 9


def test_the_line_says_what_runs_and_when_all_is_done():
    runs = [finished("a", 100), running("b", 0.5, 7000), RunProgress("a")]
    text = describe(runs, 1, ["a seed 0", "b seed 0", "a seed 1"])
    assert text == "1/3 runs, ETA 1:00:00; b seed 0: pretrain 50%"
    assert describe([RunProgress("a")], 1, ["a seed 0"]).startswith("0/1 runs, ETA unknown")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (90061, "25:01:01")]
)
def test_the_clock(seconds, text):
    assert clock(seconds) == text
