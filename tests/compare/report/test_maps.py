import math
from pathlib import Path

import numpy as np
import pytest
from synthetic_comparison import CLASSES, make_run, write_embeddings

from solo_rekd.compare.report.maps import Plane, project
from solo_rekd.compare.report.summary import Arm


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    run = make_run("rekd", 3, 70, 1)
    write_embeddings(tmp_path / run["folder"], 3, CLASSES)
    return Arm("rekd", True, (run,))


def replace_features(out: Path, arm: Arm, features: np.ndarray) -> None:
    path = out / arm.runs[0]["folder"] / "embeddings.npz"
    np.savez(path, features=features, labels=np.zeros(len(features), int), classes=["a"])


def test_the_plane_is_that_of_the_singular_value_decomposition(arm: Arm, tmp_path: Path) -> None:
    plane = project(arm, tmp_path)
    assert isinstance(plane, Plane)
    with np.load(tmp_path / arm.runs[0]["folder"] / "embeddings.npz") as archive:
        features = archive["features"].astype(np.float64)
        assert np.array_equal(plane.labels, archive["labels"])
    left, strengths, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    assert np.allclose(abs(plane.points), abs(left[:, :2] * strengths[:2]), atol=1e-6)
    assert plane.explained == pytest.approx((strengths[:2] ** 2).sum() / (strengths**2).sum())
    assert plane.seed == 3


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_collapsed_student_has_no_variance(arm: Arm, tmp_path: Path) -> None:
    replace_features(tmp_path, arm, np.full((30, 4), 0.5, "float16"))
    plane = project(arm, tmp_path)
    assert plane is not None
    assert math.isnan(plane.explained)
    assert np.allclose(plane.points, 0)


def test_what_cannot_be_projected_is_left_out(arm: Arm, tmp_path: Path) -> None:
    assert project(Arm("rekd", True, ()), tmp_path) is None
    assert project(arm, tmp_path / "elsewhere") is None
    for features in (np.ones((1, 8)), np.full((9, 8), np.nan)):
        replace_features(tmp_path, arm, features)
        assert project(arm, tmp_path) is None
