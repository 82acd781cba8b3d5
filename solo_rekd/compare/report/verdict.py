"""The verdict: which arm wins, by how much, at what cost, and how certain that is."""

from typing import Any

from solo_rekd.compare.arms import STARTING
from solo_rekd.compare.judge import GAP, JUDGE, JUDGES
from solo_rekd.compare.report.summary import (
    CONFIDENCE,
    Arm,
    Difference,
    Spread,
    list_arms,
    paired,
    teacher_arm,
)

SECONDS = "pretrain.seconds"


def judged_by(comparison: dict[str, Any]) -> tuple[str, str]:
    """Returns the paths of the accuracy that decides, and of the one shown beside it."""
    judge = comparison.get("judge_by", JUDGE)
    return f"{judge}.top1", f"{JUDGE if judge == 'knn' else 'knn'}.top1"


def called(path: str) -> str:
    """Returns the name of an accuracy in the report."""
    return JUDGES[path.split(".")[0]]


def verdict(comparison: dict[str, Any]) -> tuple[str, list[str]]:
    """Ranks the arms by one accuracy, paired by seed.

    An arm is called ahead of another only where the interval of their difference is above 0.

    Arms that learn from labels are bounds, as is the untrained student, and are not ranked. The
    best of the others is compared with the first arm that does not distil, or, if it does not
    distil itself, with the best that does; where there is no such arm, with the runner-up.

    Args:
        comparison: data that the report is made from.

    Returns:
        The verdict in one sentence, and its qualifications, one sentence each.
    """
    paths = judged_by(comparison)
    path = paths[0]
    planned = len(comparison["arms"]) * len(comparison["seeds"])
    finished = len(comparison["runs"])
    judged = [(arm, score) for arm in list_arms(comparison) if (score := arm.spread(path))]
    scores = {arm.name: score for arm, score in judged}
    arms = [arm for arm, _ in judged if arm.competes]
    bounds = [arm.name for arm, _ in judged if arm.supervised]
    progress = [f"{name} learns from labels and is not ranked." for name in bounds]
    progress += floor([arm for arm, _ in judged], path)
    progress += [f"{finished} of {planned} runs have finished."] if finished < planned else []
    if not arms:
        return f"No verdict yet: no run has a {called(path)}.", progress
    ranked = sorted(arms, key=lambda arm: -scores[arm.name].mean)
    best = ranked[0]
    others = [arm for arm in arms if arm is not best]
    if not others:
        alone = f"{best.name} is the only arm with a result: {accuracy(scores[best.name])}."
        return alone, progress
    rival, role = choose_rival(best, others, ranked)
    score, other = scores[best.name], scores[rival.name]
    who = best.name if best.distils else f"{best.name}, which does not distil,"
    gap = paired(best, rival, path)
    sentence = (
        f"{who} has the highest {called(path)}: {accuracy(score)}, "
        f"{standing(gap, score.mean - other.mean)} {rival.name}, {role} ({other.text()} %, "
        f"{seeds(other)})."
    )
    notes = [*reservations(best, rival, paths), *price(best, rival)]
    runner_up = ranked[1]
    second = paired(runner_up, best, path)
    if runner_up is not rival and second and second.seeds > 1 and not second.behind:
        told = accuracy(scores[runner_up.name])
        notes.append(f"{runner_up.name}, second with {told}, is {standing(second)} it.")
    teacher = teacher_arm(comparison)
    if teacher and (reached := teacher.spread(path)):
        closed = [(arm.name, arm.spread(f"{GAP}.percent")) for arm in ranked]
        told = ", ".join(f"{name} {share.text(0)} %" for name, share in closed if share)
        notes.append(f"The teacher itself reaches {reached.text()} %.")
        notes += [f"Share of the gap to the teacher closed: {told}."] if told else []
    return sentence, [*notes, *progress]


def floor(arms: list[Arm], path: str) -> list[str]:
    """Writes what the student reaches untrained, and which arms are not clearly above it."""
    untrained = next((arm for arm in arms if arm.untrained), None)
    reached = untrained and untrained.spread(path)
    if not untrained or not reached:
        return []
    below = [arm.name for arm in arms if arm.competes and not above(arm, untrained, path)]
    from_file = untrained.name == STARTING
    told = f"The {STARTING if from_file else 'untrained student'} reach"
    told += f"{'' if from_file else 'es'} {reached.text()} %"
    above_it = f"not clearly above {'them' if from_file else 'it'}"
    return [f"{told}, and {above_it}: {', '.join(below)}." if below else f"{told}."]


def above(arm: Arm, other: Arm, path: str) -> bool:
    """Whether an arm is ahead of another; with a single seed, by the mean alone."""
    gap = paired(arm, other, path)
    return gap is not None and (gap.ahead if gap.seeds > 1 else gap.mean > 0)


def standing(gap: Difference | None, apart: float = 0.0) -> str:
    """Writes how an arm compares with another, whose name follows.

    Args:
        gap: how far it is above, paired by seed.
        apart: difference of the means, in points, where the arms share no seed.
    """
    if gap is None:
        return f"{apart:.2f} points (from different seeds) above"
    if f"{gap.mean:.2f}" in ("0.00", "-0.00"):
        return "level with"
    if gap.seeds == 1:
        return f"{gap.text()} {'above' if gap.mean > 0 else 'below'}"
    if gap.ahead or gap.behind:
        return f"{gap.text()} {'ahead of' if gap.ahead else 'behind'}"
    return f"{gap.text()} {'above' if gap.mean > 0 else 'below'} but not clearly different from"


def choose_rival(best: Arm, others: list[Arm], ranked: list[Arm]) -> tuple[Arm, str]:
    """Chooses the arm to compare the best with, and describes it."""
    if best.distils:
        plain = [arm for arm in others if not arm.distils]
        return (plain[0], "which does not distil") if plain else (ranked[1], "the runner-up")
    distilling = [arm for arm in ranked if arm.distils]
    return (
        (distilling[0], "the best arm that distils") if distilling else (ranked[1], "the runner-up")
    )


def accuracy(score: Spread) -> str:
    """Writes an accuracy and the number of seeds that it is averaged over."""
    return f"{score.text()} % ({'' if score.sd is None else 'mean ± sd, '}{seeds(score)})"


def seeds(score: Spread) -> str:
    """Writes how many seeds a figure is averaged over."""
    return "one seed" if score.sd is None else f"{len(score.values)} seeds"


def reservations(best: Arm, rival: Arm, paths: tuple[str, str]) -> list[str]:
    """Writes what the intervals are, how the seeds agree, and how another accuracy compares."""
    path, beside = paths
    gap, also = (paired(best, rival, each) for each in paths)
    notes = [f"By {called(beside)} it is {standing(also)} {rival.name}."] if also else []
    if gap is None or gap.seeds == 1:
        return [*notes, "With a single seed there is no interval: the gap can be chance."]
    first, second = best.by_seed(path), rival.by_seed(path)
    ahead = sum(first[seed] > second[seed] for seed in first.keys() & second.keys())
    return [
        *notes,
        f"In brackets is the {CONFIDENCE:.0%} interval of the difference, paired by seed "
        f"(Student's t); it is ahead in {ahead} of {gap.seeds} seeds.",
    ]


def price(best: Arm, rival: Arm) -> list[str]:
    """Writes what the best arm's pretraining costs compared with its rival's."""
    mine, theirs = best.spread(SECONDS), rival.spread(SECONDS)
    if not mine or not theirs or not theirs.mean:
        return []
    return [f"Its pretraining takes {mine.mean / theirs.mean:.2f} times as long as {rival.name}'s."]
