"""Resizing on tensors beside the same on pictures: equal draws, pixels equal but for rounding."""

import copy
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms.functional import InterpolationMode, pil_to_tensor

from solo_rekd.images.tensors import ResizedOnTensors, on_tensors
from solo_rekd.images.transforms import evaluation_pipeline

CUBIC, LINEAR = InterpolationMode.BICUBIC, InterpolationMode.BILINEAR
LEVELS = 2  # of 255, by which two ways to resize may round otherwise


def picture(height: int, width: int) -> Image.Image:
    """A smooth picture, as photographs are."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def crop(side: int, interpolation: InterpolationMode) -> transforms.RandomResizedCrop:
    return transforms.RandomResizedCrop(side, scale=(0.2, 1.0), interpolation=interpolation)


@pytest.mark.parametrize("size", [(300, 400), (375, 90), (40, 40)])
@pytest.mark.parametrize("side", [32, 64, 224])
@pytest.mark.parametrize("interpolation", [CUBIC, LINEAR])
def test_the_same_numbers_are_drawn_and_the_same_crops_made(size, side, interpolation):
    image = picture(*size)
    step = crop(side, interpolation)
    fitted = on_tensors(step)
    for seed in range(10):
        torch.manual_seed(seed)
        expected, drawn = step(image), torch.rand(1)
        torch.manual_seed(seed)
        made = fitted(pil_to_tensor(image))
        assert torch.equal(torch.rand(1), drawn)
        assert (made.mode, made.size) == ("RGB", (side, side))
        difference = np.abs(np.asarray(made, int) - np.asarray(expected, int))
        assert difference.max() <= LEVELS
        assert difference.mean() < 0.6


@pytest.mark.parametrize("size", [(300, 400), (375, 90), (41, 40)])
@pytest.mark.parametrize("target", [32, 73, (64, 48)])
def test_a_plain_resizing_is_the_same(size, target):
    image, step = picture(*size), transforms.Resize(target)
    made = on_tensors(step)(pil_to_tensor(image))
    expected = step(image)
    assert made.size == expected.size
    assert np.abs(np.asarray(made, int) - np.asarray(expected, int)).max() <= LEVELS


def test_a_picture_is_resized_as_before():
    image, step = picture(50, 60), crop(32, CUBIC)
    torch.manual_seed(0)
    expected = np.asarray(step(image))
    torch.manual_seed(0)
    np.testing.assert_array_equal(np.asarray(on_tensors(step)(image)), expected)


def test_evaluation_sees_the_same():
    image = picture(300, 400)
    plain = evaluation_pipeline(224, (0.5,) * 3, (0.25,) * 3)
    for name, pipeline in plain.items():
        torch.manual_seed(0)
        expected = pipeline(image)
        torch.manual_seed(0)
        made = on_tensors(pipeline)(pil_to_tensor(image))
        torch.testing.assert_close(made, expected, rtol=0, atol=LEVELS / 255 / 0.25 + 1e-6), name


class Several:
    """As the hosts' classes of several crops are."""

    def __init__(self, *parts):
        self.transforms = list(parts)


class Around:
    """As the hosts' classes around one augmentation are."""

    def __init__(self, part):
        self.transform = part


def test_what_lies_in_a_hosts_classes_is_found_and_the_host_keeps_its_own():
    flip = transforms.RandomHorizontalFlip()
    parts = [Around(Around(transforms.Compose([crop(side, CUBIC), flip]))) for side in (32, 48)]
    whole = Several(*parts)
    before = copy.deepcopy(whole)
    made = on_tensors(whole)
    for part, own in zip(made.transforms, before.transforms, strict=True):
        first, second = part.transform.transform.transforms
        assert isinstance(first, ResizedOnTensors)
        assert first.step.size == own.transform.transform.transforms[0].size
        assert second is flip
    steps = [each.transform.transform.transforms[0] for each in whole.transforms]
    assert [type(step) for step in steps] == [transforms.RandomResizedCrop] * 2
    assert on_tensors(made).transforms[0].transform.transform.transforms[1] is flip


@pytest.mark.parametrize(
    "transform",
    [
        None,
        transforms.ToTensor(),
        transforms.Compose([]),
        transforms.Compose([transforms.RandomHorizontalFlip(), crop(32, CUBIC)]),
        Several(Around(crop(32, CUBIC)), Around(transforms.ToTensor())),
        lambda image: image,
    ],
)
def test_what_does_not_resize_first_stays_with_pictures(transform):
    assert on_tensors(transform) is None


def test_it_can_be_pickled():
    made = pickle.loads(pickle.dumps(on_tensors(transforms.Compose([crop(32, CUBIC)]))))
    assert made(pil_to_tensor(picture(50, 60))).size == (32, 32)


@pytest.mark.parametrize("step", [crop(32, CUBIC), transforms.Resize(32)])
def test_it_says_what_the_step_is(step):
    # caches tell transforms apart by it
    assert repr(step) in repr(on_tensors(transforms.Compose([step, transforms.ToTensor()])))
