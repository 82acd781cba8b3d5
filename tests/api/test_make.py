"""What `make_objective` takes and refuses, and what a step of each objective has to be given."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler, TensorDataset

from solo_rekd.api import Objective, load_teacher, make_objective
from solo_rekd.objectives import OBJECTIVES
from solo_rekd.utils.errors import UserError

SIDE, WIDTH, DIM, IMAGES, BATCH = 8, 6, 5, 12, 4


def network(width: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, width), nn.BatchNorm1d(width))


@pytest.fixture
def images() -> Dataset:
    g = torch.Generator().manual_seed(1)
    return TensorDataset(torch.randn(IMAGES, 3, SIDE, SIDE, generator=g), torch.arange(IMAGES) % 3)


def make(method: str, **settings: Any) -> Objective:
    given = {"queue_size": 8, "proj_hidden_dim": 7, "teacher": network(DIM)} | settings
    torch.manual_seed(2)
    return make_objective(method, features_dim=WIDTH, img_size=SIDE, max_epochs=50, **given)


def draw(width: int | None = None, seed: int = 3) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    shape = (BATCH, 3, SIDE, SIDE) if width is None else (BATCH, width)
    return [torch.randn(*shape, generator=g) for _ in range(2)]


def inputs(objective: Objective, **more: Any) -> dict[str, Any]:
    """All that a step can be given; of what no setting asks for, something that breaks a step."""
    asked = {
        "momentum_features": draw(WIDTH, 5),
        "labels": torch.arange(BATCH) % 3,
        "indexes": torch.arange(BATCH),
        "epoch": 0,
    }
    given = {key: value for key, value in asked.items() if key in objective.needs}
    features = [view.requires_grad_() for view in draw(WIDTH, 4)]
    return {"images": draw(), "features": features} | given | more


NEEDS: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "seed": ("seed", {}, {}),
    "seed by images": (
        *("seed", {"teacher_view": "image"}),
        {"indexes": "teacher_view='image'"},
    ),
    "probe": (
        *("seed", {"teacher_probe": "on", "num_classes": 3}),
        {"labels": "teacher_probe='on'"},
    ),
    "disco": ("disco", {}, {"momentum_features": "method='disco'"}),
    "compress": ("compress", {}, {"momentum_features": "variant='2q'"}),
    "compress 1q": ("compress", {"variant": "1q"}, {}),
    "crcd": (
        *("crcd", {}),
        {"momentum_features": "method='crcd'", "epoch": "finetune_share=0.04"},
    ),
    "crcd to the end": (
        *("crcd", {"finetune_share": 0}),
        {"momentum_features": "method='crcd'"},
    ),
    "crcd by labels": (
        *("crcd", {"gradient_task": "labels", "num_classes": 3, "finetune_share": 0}),
        {"momentum_features": "method='crcd'", "labels": "gradient_task=labels"},
    ),
    "bingo": ("bingo", {}, {"indexes": "bag_size=5"}),
    "simreg": ("simreg", {}, {}),
    "coss": ("coss", {"neighbours": 3, "neighbour_pool": 3}, {}),
    "coss by chance": ("coss", {"neighbours": 0}, {}),
    "rekd": ("rekd", {}, {"indexes": "relation_view='image'"}),
    "rekd by chance": (
        *("rekd", {"relation": "random", "relation_view": "views", "num_prototypes": 2}),
        {"indexes": "relation='random'"},
    ),
    "rekd by labels": (
        "rekd",
        {"relation": "labels", "relation_view": "views", "num_classes": 3},
        {"labels": "relation=labels"},
    ),
    "rekd on both": (
        *("rekd", {"dictionary": "both", "relation_view": "views", "num_prototypes": 2}),
        {"momentum_features": "dictionary='both'"},
    ),
    "rekd beside InfoNCE": (
        *("rekd", {"relation_weight": 0.5, "relation_view": "views", "num_prototypes": 2}),
        {"momentum_features": "relation_weight=0.5"},
    ),
    "rekd falling": (
        *("rekd", {"relation_schedule": "falling"}),
        {"indexes": "relation_view='image'", "epoch": "relation_schedule='falling'"},
    ),
    "rekd, a learning teacher": (
        *("rekd", {"teacher_mode": "online", "relation_view": "image", "proj_output_dim": 5}),
        {
            "momentum_features": "dictionary='both'",
            "indexes": "relation_view='image'",
            "epoch": "relation_refresh=1",
        },
    ),
    "mixed": ("seed", {"mixup": 1.0}, {"mixed": "mixup=1.0"}),
}


def test_every_objective_is_tried() -> None:
    assert {method for method, _, _ in NEEDS.values()} == {*OBJECTIVES}


@pytest.mark.parametrize("case", NEEDS)
def test_a_step_asks_for_what_a_setting_needs_and_for_nothing_else(
    case: str, images: Dataset
) -> None:
    method, settings, needs = NEEDS[case]
    objective = make(method, training_images=images, **settings)
    assert objective.needs == needs
    if "neighbours" in settings:
        objective.sampler(SequentialSampler(range(IMAGES)), BATCH)
    views, mixed = objective.mix(draw())
    more = {"images": views, "mixed": mixed}
    for argument, setting in needs.items():
        given = inputs(objective, **more)
        given[argument] = None
        with pytest.raises(ValueError, match=f"^{argument} is missing: ") as refused:
            objective(**given)
        assert setting in str(refused.value)
    for _ in range(4):  # the queues are full, and what needs them begins
        loss, logs = objective(**inputs(objective, **more))
    assert loss.isfinite() and loss.requires_grad
    assert not any(value.requires_grad for value in logs.values())
    unread = objective.distillation.state_dict()
    objective.update_momentum(0.5)
    assert unread.keys() == objective.distillation.state_dict().keys()


@pytest.mark.parametrize("case", NEEDS)
def test_what_no_setting_asks_for_changes_nothing(case: str, images: Dataset) -> None:
    method, settings, needs = NEEDS[case]
    losses = []
    # a place that no image has would raise; an epoch, or labels, would change the loss
    poison = {"indexes": torch.full((BATCH,), 10**6), "epoch": 49, "labels": torch.tensor([2] * 4)}
    unread = {key: value for key, value in poison.items() if key not in needs}
    if "labels" not in needs:
        settings = settings | {"num_classes": 3}
    for more in ({}, unread):
        objective = make(method, training_images=images, **settings)
        if "neighbours" in settings:
            objective.sampler(SequentialSampler(range(IMAGES)), BATCH)
        torch.manual_seed(6)
        views, mixed = objective.mix(draw())
        for _ in range(4):
            loss, _ = objective(**inputs(objective, images=views, mixed=mixed) | more)
        losses.append(loss)
    assert torch.equal(*losses)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown method": ({"method": "sed"}, r"^method='sed' .* expected seed, or another"),
    "unknown preset": ({"method": "seed:no"}, r"^method='no' "),
    "unknown setting": ({"temprature": 1}, r"^temprature=1 .* expected temperature,"),
    "wrong value": ({"temperature": "hot"}, r"^temperature='hot' .* a number"),
    "queue": ({"queue_size": "auto"}, r"^queue_size='auto' .*num_images and batch_size"),
    "bags": ({"method": "bingo"}, r"^training_images is missing: bag_size=5 "),
    "image": ({"teacher_view": "image"}, r"^training_images is missing: teacher_view='image' "),
    "neighbours": ({"method": "coss"}, r"^training_images is missing: neighbours=15 "),
    "relation": ({"method": "rekd"}, r"^training_images is missing: relation_view='image' "),
    "drawn views": ({"drawn_views": 2}, r"^drawn_views=2 .* at most 0 "),
    "image views": (
        *({"teacher_view": "image", "teacher_image_views": 4},),
        r"^teacher_image_views=4 .* at most 1 ",
    ),
    "classes": ({"teacher_probe": "on"}, r"^num_classes is missing: teacher_probe='on' "),
    "classes of labels": (
        *({"method": "crcd", "gradient_task": "labels"},),
        r"^num_classes is missing: gradient_task=labels ",
    ),
    "one colour": ({"mean": (0.5, 0.5, 0.5)}, r"^give both mean and std"),
    "momentum": ({"base_momentum": 2}, r"^base_momentum=2 "),
    "width": ({"proj_output_dim": 4}, r"^proj_output_dim=4 .* 5, the teacher's"),
    "a file beside": ({"teacher_checkpoint": "x.pth"}, r"^teacher_checkpoint='x.pth' .* already"),
    "no images": ({"training_images": []}, r"^training_images has no images"),
    "no tensors": ({"training_images": [(1, 2)]}, r"^training_images\[0\]='int' "),
    "another size": (
        *({"training_images": [torch.zeros(3, 9, 9)]},),
        r"^training_images\[0\]=\(3, 9, 9\) .* \(3, 8, 8\)",
    ),
    "a module that takes other images": ({"teacher": nn.Linear(4, 4)}, r"^teacher='module' "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_one_value_error_that_names_it(case: str) -> None:
    changes, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as refused:
        make(**{"method": "seed"} | changes)
    assert isinstance(refused.value, UserError) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": draw()[:1]}, r"^images of shapes .* expected two views of \(4, 3, 8, 8\)"),
        ({"images": [torch.zeros(4, 3, 9, 9)] * 2}, r"^images of shapes "),
        ({"images": []}, r"^images of shapes "),
        ({"features": draw(WIDTH + 1)}, r"^features of shapes .* expected two views of \(4, 6\)"),
        ({"momentum_features": []}, r"^momentum_features of shapes "),
    ],
)
def test_views_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    objective = make("disco")
    with pytest.raises(ValueError, match=message):
        objective(**inputs(objective) | changes)


def test_neighbours_need_the_sampler(images: Dataset) -> None:
    objective = make("coss", neighbours=3, neighbour_pool=3, training_images=images)
    with pytest.raises(ValueError, match=r"^neighbours=3 needs batches .* objective\.sampler"):
        objective(**inputs(objective))
    sampler = objective.sampler(SequentialSampler(range(IMAGES)), BATCH)
    places = [*sampler]
    assert len(places) == len(sampler) == IMAGES  # type: ignore[arg-type]
    members = objective.distillation.neighbours.members  # type: ignore[union-attr]
    for first in range(0, IMAGES, BATCH):
        anchor, *others = places[first : first + BATCH]
        assert {*others} <= {*members[anchor].tolist()}
    plain = SequentialSampler(range(IMAGES))
    assert make("coss", neighbours=0).sampler(plain, BATCH) is plain


def test_the_queue_follows_the_images_as_in_the_hosts() -> None:
    settings = {"queue_size": "auto", "num_images": 1000, "batch_size": 10}
    assert make("seed", **settings).config.queue_size == 256
    assert make("compress", **settings).config.queue_size == 512


@pytest.mark.parametrize("method", ["simreg", "coss"])
def test_a_method_without_a_queue_asks_for_no_length(method: str) -> None:
    settings = {"neighbours": 0} if method == "coss" else {}
    make(method, queue_size="auto", **settings)


def test_a_queue_that_is_filled_late_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    objective = make("seed", queue_size=4000, num_images=IMAGES)
    objective(**inputs(objective))
    assert "queue_size=4000 is never filled: the training sees 600 images" in caplog.text


def test_a_preset_is_a_bundle_of_settings() -> None:
    config = make("seed:lightly").config
    assert (config.mixup, config.projector) == (1.0, "linear")
    assert make("seed:lightly", mixup=0).config.mixup == 0


def test_the_momentum_follows_the_hosts_schedule() -> None:
    objective = make("disco", base_momentum=0.5, final_momentum=1.0)
    student = network(WIDTH, 9)
    twin = objective.momentum_twin(student)
    assert twin is not None and not any(each.requires_grad for each in twin.parameters())
    weight, start = student[1].weight, twin[1].weight.clone()  # type: ignore[index]
    with torch.no_grad():
        weight.add_(1)
    objective.update_momentum(0)
    torch.testing.assert_close(twin[1].weight, (start + weight) / 2)  # type: ignore[index]
    before = twin[1].weight.clone()  # type: ignore[index]
    objective.update_momentum(1)
    assert torch.equal(twin[1].weight, before)  # type: ignore[index]
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"^share="):
            objective.update_momentum(share)
    assert make("seed").momentum_twin(student) is None


def test_momentum_twins_draw_nothing_at_random() -> None:
    objective = make("disco")
    twin = objective.momentum_twin(nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3)))
    objective.eval().train()
    assert [module.training for module in twin] == [False, True]  # type: ignore[union-attr]


def test_a_state_resumes_to_the_bit(images: Dataset) -> None:
    first, second = (make("rekd", training_images=images) for _ in range(2))
    for objective in (first, second):
        with torch.no_grad():
            objective.distillation.projector[0].weight.normal_()
    first(**inputs(first))
    second.load_state_dict(first.state_dict())
    assert not any("_networks" in key or "teacher.backbone" in key for key in first.state_dict())
    losses = [objective(**inputs(objective))[0] for objective in (first, second)]
    assert torch.equal(*losses)


def test_parameters_are_in_groups_for_an_optimiser() -> None:
    objective = make(
        *("seed",), teacher_mode="online", proj_output_dim=5, teacher_lr=0.5, teacher_probe="on",
        num_classes=3,
    )  # fmt: skip
    groups = objective.param_groups(0.2, classifier_lr=0.1)
    assert [(group["name"], group.get("lr")) for group in groups] == [
        ("projector", None), ("teacher", 0.1), ("teacher_classifier", 0.1),
    ]  # fmt: skip
    torch.optim.SGD(groups, lr=0.2)
    grouped = {id(each) for group in groups for each in group["params"]}
    assert grouped == {id(each) for each in objective.parameters() if each.requires_grad}


def test_the_images_are_told_by_files_or_by_pixels(images: Dataset, tmp_path: Path) -> None:
    bags = {"teacher_cache": str(tmp_path), "training_images": images}
    for number in (1, 1, 2):
        if number == 2:
            images.tensors[0][5, 0, 0, 0] += 1  # type: ignore[attr-defined]
        objective = make("bingo", **bags)
        objective.begin_training(BATCH)
        assert len([*tmp_path.glob("*.safetensors")]) == number
    assert objective.distillation.bags.members.shape == (IMAGES, 5)  # type: ignore[union-attr]


def test_a_teacher_that_is_given_twice_the_same_way(images: Dataset) -> None:
    module = network(DIM)
    losses = []
    for teacher in (module, load_teacher(module)):
        objective = make("seed", teacher=teacher)
        losses.append(objective(**inputs(objective))[0])
    assert torch.equal(*losses)
