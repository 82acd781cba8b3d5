import pytest
import torch

from solo_rekd.distilling.neighbours import agree, chance, nearest, neighbours_of, plane


def test_agreement_is_the_share_of_the_teachers_nearest() -> None:
    teachers = torch.tensor([[1, 2], [0, 2], [0, 1]])
    assert agree(teachers.flip(1), teachers) == 1
    assert agree(torch.tensor([[1, 3], [3, 4], [3, 4]]), teachers) == pytest.approx(1 / 6)


@pytest.mark.parametrize(("number", "k"), [(2, 1), (6, 1), (7, 2), (31, 10), (1000, 10)])
def test_few_photos_have_fewer_neighbours_than_all_others(number: int, k: int) -> None:
    assert neighbours_of(number) == k
    assert nearest(torch.randn(number, 3)).shape == (number, k)
    assert chance(number) == k / (number - 1)


def test_a_map_keeps_the_largest_directions() -> None:
    along = torch.linspace(-1, 1, 20)
    features = torch.stack([torch.ones(20), along, 0.01 * along.square()], 1)
    points, explained = plane(features)
    assert points.shape == (20, 2) and explained > 0.99
    assert points.min() == 0 and points.max() == 1
    steps = points[1:, 0] - points[:-1, 0]
    assert (steps > 0).all() or (steps < 0).all()


def test_a_map_of_photos_that_are_all_the_same() -> None:
    points, explained = plane(torch.ones(4, 1))
    assert points.shape == (4, 2) and explained != explained
