from typing import Any

import pytest

from solo_rekd.compare.report.verdict import verdict


def compare(scores: dict[str, list[float]], **changes: Any) -> dict[str, Any]:
    """A comparison of given accuracies, by arm and seed; an arm's place gives its seconds."""
    runs = [
        {
            "arm": arm,
            "seed": seed,
            "linear_host": {"top1": top1},
            "pretrain": {"seconds": 100.0 * (place + 1)},
        }
        for place, (arm, values) in enumerate(scores.items())
        for seed, top1 in enumerate(values)
    ]
    seeds = list(range(max(map(len, scores.values()))))
    arms = [{"name": arm, "method": arm.split("+")[0]} for arm in scores]
    return {"arms": arms, "seeds": seeds, "runs": runs, "teacher": None} | changes


def test_the_best_arm_is_set_against_the_first_that_does_not_distil() -> None:
    sentence, notes = verdict(
        compare({"mocov2plus": [70, 71, 72], "simclr": [72, 73, 74], "rekd": [79, 80, 81]})
    )
    assert sentence == (
        "rekd has the highest linear top-1: 80.00 ± 1.00 % (mean ± sd, 3 seeds), 9.00 points "
        "above mocov2plus, which does not distil (71.00 ± 1.00 %, 3 seeds)."
    )
    assert notes == [
        "Seed against same seed, it is ahead in 3 of 3.",
        "Its pretraining takes 3.00 times as long as mocov2plus's.",
    ]


@pytest.mark.parametrize(("gap", "within"), [(0.9, True), (1.0, True), (1.1, False)])
def test_a_gap_within_one_standard_deviation_is_called_so(gap: float, within: bool) -> None:
    sentence, _ = verdict(
        compare({"simclr": [69.0, 70.0, 71.0], "rekd": [69.9 + gap, 70.0 + gap, 70.1 + gap]})
    )
    assert (f"only {gap:.2f} points, within one standard deviation," in sentence) == within


def test_the_seeds_that_disagree_are_counted() -> None:
    _, notes = verdict(compare({"simclr": [70, 76, 71], "rekd": [75, 75, 75]}))
    assert "Seed against same seed, it is ahead in 2 of 3." in notes


def test_one_seed_claims_no_spread() -> None:
    sentence, notes = verdict(compare({"simclr": [70.0], "rekd": [70.0]}))
    assert "70.00 % (one seed), level with " in sentence
    assert "standard deviation" not in sentence
    assert notes[0] == "With a single seed the spread is unknown: a gap can be chance."


def test_a_best_arm_that_does_not_distil_is_set_against_the_best_that_does() -> None:
    sentence, _ = verdict(compare({"seed": [60, 61], "rekd": [62, 63], "simclr": [90, 91]}))
    assert sentence.startswith("simclr, which does not distil, has the highest linear top-1: 90.50")
    assert "28.00 points above rekd, the best that distils (62.50 ± 0.71 %, 2 seeds)" in sentence


@pytest.mark.parametrize("arms", [("rekd", "seed"), ("simclr", "byol")])
def test_arms_of_one_kind_are_set_against_the_runner_up(arms: tuple[str, str]) -> None:
    sentence, _ = verdict(compare({arms[0]: [60, 61], arms[1]: [70, 71]}))
    assert f"10.00 points above {arms[0]}, the runner-up" in sentence


def test_a_runner_up_that_is_as_good_is_named() -> None:
    scores = {"mocov2plus": [60.0, 61.0], "rekd": [80.0, 82.0], "disco": [79.5, 81.5]}
    _, notes = verdict(compare(scores))
    second = "disco, second with 80.50 ± 1.41 % (mean ± sd, 2 seeds), is within one"
    assert any(note.startswith(second) for note in notes)
    assert not any("second with" in note for note in verdict(compare(scores | {"disco": [60]}))[1])


def test_the_teacher_and_what_is_left_to_run_are_told() -> None:
    teacher = {"arm": "teacher", "seed": 0, "linear_host": {"top1": 91.234}}
    _, notes = verdict(compare({"simclr": [60], "rekd": [70, 71]}, teacher=teacher))
    assert notes[-2:] == ["The teacher itself reaches 91.23 %.", "3 of 4 runs have finished."]


def test_without_accuracies_there_is_no_verdict() -> None:
    planned = compare({"simclr": [60.0], "rekd": [70.0]})
    assert verdict(planned | {"runs": []}) == (
        "No verdict: no run has a linear accuracy yet.",
        ["0 of 2 runs have finished."],
    )
    for run in planned["runs"]:
        run["linear_host"] = None
    assert verdict(planned) == ("No verdict: no run has a linear accuracy yet.", [])


def test_a_lone_arm_has_no_rival() -> None:
    planned = compare({"simclr": [60.0], "rekd": [70.0]})
    del planned["runs"][0]["linear_host"]["top1"]
    assert verdict(planned)[0] == "rekd is the only arm with a result: 70.00 % (one seed)."


def test_the_untrained_student_is_no_rival_but_a_floor() -> None:
    scores = {"untrained": [72, 73], "mocov2plus": [70, 71], "rekd": [75, 76]}
    sentence, notes = verdict(compare(scores))
    assert "5.00 points above mocov2plus" in sentence
    assert notes[-1] == (
        "The untrained student reaches 72.50 ± 0.71 %, and not exceeding it: mocov2plus."
    )
    _, notes = verdict(compare(scores | {"untrained": [20, 21]}))
    assert notes[-1] == "The untrained student reaches 20.50 ± 0.71 %."
    assert verdict(compare({"untrained": [90.0]}))[0].startswith("No verdict")


def test_an_arm_that_learns_from_labels_is_not_ranked() -> None:
    bound = "rekd+dictionary=teacher+relation=labels"
    sentence, notes = verdict(compare({"mocov2plus": [70, 71], "rekd": [75, 76], bound: [90, 91]}))
    assert sentence.startswith("rekd has the highest linear top-1: 75.50")
    assert f"{bound} learns from labels and is not ranked." in notes
    alone, _ = verdict(compare({bound: [90, 91]}))
    assert alone.startswith("No verdict")
