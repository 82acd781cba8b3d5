import numpy as np
import pytest

from solo_rekd.evaluation.few_labels import AMOUNTS, draw_labels, few_labels

Split = tuple[np.ndarray, np.ndarray]


def blobs(sizes: list[int], seed: int) -> Split:
    """Overlapping classes of some sizes in 6 dimensions, mixed, as float32."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = np.random.default_rng(0).normal(size=(len(sizes), 6))
    return (5 + centres[labels] + rng.normal(size=(len(labels), 6))).astype("float32"), labels


def test_is_the_mean_over_draws_of_the_nearest_class_mean() -> None:
    train, val = blobs([40, 60, 150], 1), blobs([30, 30, 30], 2)
    centre = train[0].astype("float64").mean(0)
    for name, (amount, _) in AMOUNTS.items():
        scores = []
        for draw in range(4):
            chosen = draw_labels(train[1], amount, draw)
            means = []
            for each in range(3):
                own = [train[0][i] - centre for i in chosen if train[1][i] == each]
                means.append(np.mean([row / np.linalg.norm(row) for row in own], axis=0))
            hits = 0
            for row, label in zip(*val, strict=True):
                unit = (row - centre) / np.linalg.norm(row - centre)
                hits += label == np.argmin([np.linalg.norm(unit - mean) for mean in means])
            scores.append(100 * hits / len(val[1]))
        found = few_labels(train, val, draws=4)[name]
        assert found["top1"] == pytest.approx(np.mean(scores))
        assert found["sd"] == pytest.approx(np.std(scores, ddof=1))
        assert 34 < found["top1"] < 100


def test_amounts_are_of_each_class_and_one_at_least() -> None:
    train, val = blobs([2, 40, 260], 1), blobs([5, 5, 5], 2)
    for name, counts in {"few_label": [2, 3, 3], "few_label_1pct": [1, 1, 3]}.items():
        for draw in range(3):
            chosen = draw_labels(train[1], AMOUNTS[name][0], draw)
            assert np.bincount(train[1][chosen]).tolist() == counts
            assert len(set(chosen)) == len(chosen)
        found = few_labels(train, val)[name]
        assert (found["labels"], found["draws"]) == (sum(counts), 20)


def test_draws_differ_and_depend_on_nothing_but_the_labels_places() -> None:
    labels, amount = blobs([20, 20], 1)[1], AMOUNTS["few_label"][0]
    draws = [draw_labels(labels, amount, draw) for draw in range(5)]
    assert len({tuple(draw) for draw in draws}) == 5
    renamed = [draw_labels(10 * labels + 7, amount, draw) for draw in range(5)]
    assert np.array_equal(draws, renamed)


def test_scale_and_place_of_the_features_do_not_matter() -> None:
    train, val = blobs([20, 20], 1), blobs([20, 20], 2)
    moved = [(8 * features + 3, labels) for features, labels in (train, val)]
    first, second = few_labels(train, val), few_labels(*moved)
    assert first["few_label"]["top1"] == pytest.approx(second["few_label"]["top1"])


def test_features_that_are_all_alike_are_a_guess() -> None:
    labels = np.repeat([0, 1], 10)
    alike = np.ones((20, 4), "float32"), labels
    assert few_labels(alike, alike)["few_label"]["top1"] == 50
