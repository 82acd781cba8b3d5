"""The verdict: who wins, by how much, at what price, and how far that can be trusted."""

from typing import Any

from solo_rekd.compare.arms import UNTRAINED
from solo_rekd.compare.report.summary import Arm, Spread, list_arms, teacher_arm

ACCURACY = "linear_host.top1"
SECONDS = "pretrain.seconds"


def verdict(comparison: dict[str, Any]) -> tuple[str, list[str]]:
    """Judges the arms by the host's linear evaluation.

    Arms that learn from labels are bounds, as is the untrained student, and do not compete. The
    best of the others is set against the first arm that does not distil, or, if it does not distil
    itself, against the best that does; where there is no such arm, against the runner-up.

    Args:
        comparison: what the report is made from.

    Returns:
        The verdict in one sentence, and what qualifies it, a sentence each.
    """
    planned = len(comparison["arms"]) * len(comparison["seeds"])
    finished = len(comparison["runs"])
    judged = [(arm, score) for arm in list_arms(comparison) if (score := arm.spread(ACCURACY))]
    scores = {arm.name: score for arm, score in judged}
    arms = [arm for arm, _ in judged if arm.competes]
    bounds = [arm.name for arm, _ in judged if arm.supervised]
    progress = [f"{name} learns from labels and is not ranked." for name in bounds]
    progress += floor(scores, [arm.name for arm in arms])
    progress += [f"{finished} of {planned} runs have finished."] if finished < planned else []
    if not arms:
        return "No verdict: no run has a linear accuracy yet.", progress
    ranked = sorted(arms, key=lambda arm: -scores[arm.name].mean)
    best = ranked[0]
    others = [arm for arm in arms if arm is not best]
    if not others:
        alone = f"{best.name} is the only arm with a result: {accuracy(scores[best.name])}."
        return alone, progress
    rival, role = choose_rival(best, others, ranked)
    score, other = scores[best.name], scores[rival.name]
    who = best.name if best.distils else f"{best.name}, which does not distil,"
    lead = f"{score.mean - other.mean:.2f}"
    gap = f"{lead} points above"
    if lead == "0.00":
        gap = "level with"
    elif tied(score, other):
        gap = f"only {lead} points, within one standard deviation, above"
    sentence = (
        f"{who} has the highest linear top-1: {accuracy(score)}, {gap} {rival.name}, "
        f"{role} ({other.text()} %, {seeds(other)})."
    )
    notes = [*reservations(best, rival), *price(best, rival)]
    runner_up = ranked[1]
    if runner_up is not rival and tied(score, scores[runner_up.name]):
        second = accuracy(scores[runner_up.name])
        notes.append(f"{runner_up.name}, second with {second}, is within one standard deviation.")
    teacher = teacher_arm(comparison)
    if teacher and (reached := teacher.spread(ACCURACY)):
        notes.append(f"The teacher itself reaches {reached.text()} %.")
    return sentence, [*notes, *progress]


def floor(scores: dict[str, Spread], names: list[str]) -> list[str]:
    """Says what the untrained student reaches, and which arms do not exceed it."""
    if UNTRAINED not in scores:
        return []
    reached = scores[UNTRAINED]
    below = [name for name in names if scores[name].mean <= reached.mean]
    told = f"The untrained student reaches {reached.text()} %"
    return [f"{told}, and not exceeding it: {', '.join(below)}." if below else f"{told}."]


def choose_rival(best: Arm, others: list[Arm], ranked: list[Arm]) -> tuple[Arm, str]:
    """Chooses whom the best arm is set against, and says who that is."""
    if best.distils:
        plain = [arm for arm in others if not arm.distils]
        return (plain[0], "which does not distil") if plain else (ranked[1], "the runner-up")
    distilling = [arm for arm in ranked if arm.distils]
    return (distilling[0], "the best that distils") if distilling else (ranked[1], "the runner-up")


def accuracy(score: Spread) -> str:
    """Writes an accuracy and what it was averaged over."""
    return f"{score.text()} % ({'' if score.sd is None else 'mean ± sd, '}{seeds(score)})"


def seeds(score: Spread) -> str:
    """Writes how many seeds a figure was averaged over."""
    return "one seed" if score.sd is None else f"{len(score.values)} seeds"


def tied(score: Spread, other: Spread) -> bool:
    """Tells whether two means differ by no more than the larger of their standard deviations."""
    known = [sd for sd in (score.sd, other.sd) if sd is not None]
    return bool(known) and abs(score.mean - other.mean) <= max(known)


def reservations(best: Arm, rival: Arm) -> list[str]:
    """Says how the seeds that both arms have agree, or that they are too few to tell."""
    first, second = best.by_seed(ACCURACY), rival.by_seed(ACCURACY)
    shared = first.keys() & second.keys()
    if min(len(first), len(second)) < 2:
        return ["With a single seed the spread is unknown: a gap can be chance."]
    ahead = sum(first[seed] > second[seed] for seed in shared)
    return [f"Seed against same seed, it is ahead in {ahead} of {len(shared)}."]


def price(best: Arm, rival: Arm) -> list[str]:
    """Says what the best arm's pretraining costs beside its rival's."""
    mine, theirs = best.spread(SECONDS), rival.spread(SECONDS)
    if not mine or not theirs or not theirs.mean:
        return []
    return [f"Its pretraining takes {mine.mean / theirs.mean:.2f} times as long as {rival.name}'s."]
