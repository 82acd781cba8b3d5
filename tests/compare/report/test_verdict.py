import re
from typing import Any

import pytest
from scipy import stats

from solo_rekd.compare.report.verdict import verdict


def compare(scores: dict[str, list[float]], **changes: Any) -> dict[str, Any]:
    """A comparison of given accuracies, by arm and seed; an arm's place gives its seconds."""
    runs = [
        {
            "arm": arm,
            "seed": seed,
            "linear_host": {"top1": 100 - top1},  # is not what is judged by
            "linear_cached": {"top1": top1},
            "knn": {"top1": top1 / 2},
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
        compare({"mocov2plus": [70, 71, 72], "simclr": [72, 73, 74], "rekd": [79, 80.5, 81]})
    )
    reach = stats.t.ppf(0.975, 2) * stats.sem([9, 9.5, 9])
    ends = f"[{55 / 6 - reach:.2f}, {55 / 6 + reach:.2f}]"
    assert sentence == (
        "rekd has the highest linear top-1 on cached features: 80.17 ± 1.04 % (mean ± sd, 3 seeds),"
        f" 9.17 points {ends} ahead of mocov2plus, which does not distil (71.00 ± 1.00 %, 3 seeds)."
    )
    halves = f"[{(55 / 6 - reach) / 2:.2f}, {(55 / 6 + reach) / 2:.2f}]"
    assert notes[0] == f"By kNN top-1 it is 4.58 points {halves} ahead of mocov2plus."
    assert "95% interval" in notes[1] and "ahead in 3 of 3" in notes[1]
    assert notes[2] == "Its pretraining takes 3.00 times as long as mocov2plus's."


@pytest.mark.parametrize(
    ("rekd", "said"),
    [
        # the seeds differ by far more than the arms: in pairs the arms are told apart
        ([61.0, 71.1, 80.9], "ahead of"),
        # the gap is above either deviation, but not the same from seed to seed
        ([66.0, 70.1, 80.1], "above but not clearly different from"),
        ([60.0, 70.0, 80.0], "level with"),
    ],
)
def test_arms_are_compared_seed_by_seed(rekd: list[float], said: str) -> None:
    sentence, _ = verdict(compare({"simclr": [60.0, 70.0, 80.0], "rekd": rekd}))
    assert f" {said} " in sentence
    assert "standard deviation" not in sentence


def test_of_unequal_seeds_those_count_that_both_have() -> None:
    # seed 0 alone makes the mean the highest
    sentence, notes = verdict(compare({"seed": [60, 61], "rekd": [59, 60, 90]}))
    assert "1.00 points [1.00, 1.00] behind seed" in sentence
    assert any("ahead in 0 of 2" in note for note in notes)


def test_the_seeds_that_disagree_are_counted() -> None:
    _, notes = verdict(compare({"simclr": [70, 76, 71], "rekd": [75, 75, 75]}))
    assert any("ahead in 2 of 3" in note for note in notes)


def test_one_seed_claims_no_spread() -> None:
    sentence, notes = verdict(compare({"simclr": [70.0], "rekd": [70.0]}))
    assert "70.00 % (one seed), level with " in sentence
    assert any(note.startswith("With a single seed there is no interval") for note in notes)
    sentence, notes = verdict(compare({"simclr": [70.0], "rekd": [72.0]}))
    assert "2.00 points above simclr" in sentence and "[" not in sentence + "".join(notes)
    assert "ahead" not in sentence


def test_a_best_arm_that_does_not_distil_is_set_against_the_best_that_does() -> None:
    sentence, _ = verdict(compare({"seed": [60, 61], "rekd": [62, 63], "simclr": [90, 91]}))
    assert sentence.startswith("simclr, which does not distil, has the highest linear top-1")
    assert re.search(
        r"28.00 points \[.*\] ahead of rekd, the best arm that distils \(62.50 ± 0.71 %, 2",
        sentence,
    )


@pytest.mark.parametrize("arms", [("rekd", "seed"), ("simclr", "byol")])
def test_arms_of_one_kind_are_set_against_the_runner_up(arms: tuple[str, str]) -> None:
    sentence, _ = verdict(compare({arms[0]: [60, 61], arms[1]: [70, 71]}))
    assert f"10.00 points [10.00, 10.00] ahead of {arms[0]}, the runner-up" in sentence


def test_a_runner_up_that_is_as_good_is_named() -> None:
    scores = {"mocov2plus": [60.0, 61.0], "rekd": [80.0, 82.0], "disco": [80.5, 80.5]}
    _, notes = verdict(compare(scores))
    second = r"disco, second with 80.50 ± .*, is 0.50 points \[.*\] below but not clearly different"
    assert any(re.match(second, note) for note in notes)
    for other in ([79.5, 81.5], [60.0]):
        assert not any("second with" in n for n in verdict(compare(scores | {"disco": other}))[1])


def test_the_teacher_and_what_is_left_to_run_are_told() -> None:
    teacher = {"arm": "teacher", "seed": 0, "linear_cached": {"top1": 91.234}}
    _, notes = verdict(compare({"simclr": [60], "rekd": [70, 71]}, teacher=teacher))
    assert notes[-2:] == ["The teacher itself reaches 91.23 %.", "3 of 4 runs have finished."]


def test_without_accuracies_there_is_no_verdict() -> None:
    planned = compare({"simclr": [60.0], "rekd": [70.0]})
    assert verdict(planned | {"runs": []}) == (
        "No verdict yet: no run has a linear top-1 on cached features.",
        ["0 of 2 runs have finished."],
    )
    for run in planned["runs"]:
        run["linear_cached"] = None
    assert verdict(planned) == (
        "No verdict yet: no run has a linear top-1 on cached features.",
        [],
    )


def test_a_lone_arm_has_no_rival() -> None:
    planned = compare({"simclr": [60.0], "rekd": [70.0]})
    del planned["runs"][0]["linear_cached"]["top1"]
    assert verdict(planned)[0] == "rekd is the only arm with a result: 70.00 % (one seed)."


def test_the_untrained_student_is_no_rival_but_a_floor() -> None:
    scores = {"untrained": [72, 73], "mocov2plus": [70, 71], "rekd": [75, 76]}
    sentence, notes = verdict(compare(scores))
    assert "ahead of mocov2plus" in sentence
    assert notes[-1].endswith("reaches 72.50 ± 0.71 %, and not clearly above it: mocov2plus.")
    # above by the mean, but not on every seed alike
    _, notes = verdict(compare(scores | {"untrained": [74, 70]}))
    assert notes[-1].endswith("not clearly above it: mocov2plus, rekd.")
    _, notes = verdict(compare(scores | {"untrained": [20, 21]}))
    assert notes[-1] == "The untrained student reaches 20.50 ± 0.71 %."
    assert verdict(compare({"untrained": [90.0]}))[0].startswith("No verdict")


def test_an_arm_that_learns_from_labels_is_not_ranked() -> None:
    bound = "rekd+dictionary=teacher+relation=labels"
    sentence, notes = verdict(compare({"mocov2plus": [70, 71], "rekd": [75, 76], bound: [90, 91]}))
    assert sentence.startswith("rekd has the highest linear top-1 on cached features: 75.50")
    assert f"{bound} learns from labels and is not ranked." in notes
    alone, _ = verdict(compare({bound: [90, 91]}))
    assert alone.startswith("No verdict")


def test_another_accuracy_may_judge() -> None:
    made = compare({"mocov2plus": [70, 71, 72], "rekd": [60, 61, 62]}, judge_by="linear_host")
    sentence, notes = verdict(made)
    assert sentence.startswith("rekd has the highest linear top-1 of the host's harness: 39.00")
    assert notes[0].startswith("By kNN top-1 it is 5.00 points")
    by_knn, beside = verdict(made | {"judge_by": "knn"})
    assert by_knn.startswith("mocov2plus, which does not distil, has the highest kNN top-1: 35.50")
    assert beside[0].startswith("By linear top-1 on cached features it is 10.00 points")


def test_the_share_of_the_way_to_the_teacher_stands_beside_it() -> None:
    made = compare({"simclr": [70, 71], "rekd": [80, 81], "untrained": [50, 51]})
    for run in made["runs"]:
        if run["arm"] != "untrained":
            run["gap_closed"] = {"percent": 50.0 if run["arm"] == "simclr" else 75.0}
    made["teacher"] = {"arm": "teacher", "seed": 0, "linear_cached": {"top1": 90.0}}
    (said,) = [note for note in verdict(made)[1] if note.startswith("Share of the gap")]
    assert "rekd 75 ± 0 %, simclr 50 ± 0 %" in said
    assert "untrained 0" not in said
