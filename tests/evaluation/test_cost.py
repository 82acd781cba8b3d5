import pytest
import torch

from solo_rekd.evaluation.cost import LATENCY_PROTOCOL, REPEATS, measure
from solo_rekd.utils.errors import UserError

# channels in and out, kernel, side of the output, of AlexNet on 32 px by hand
ALEXNET = [(3, 64, 3, 16), (64, 192, 5, 7), (192, 384, 3, 3), (384, 256, 3, 3), (256, 256, 3, 3)]


def test_alexnet_counted_by_hand() -> None:
    found = measure("alexnet", 32)
    weights = [inner * outer * kernel**2 for inner, outer, kernel, _ in ALEXNET]
    assert found["macs"] == sum(
        weight * layer[3] ** 2 for weight, layer in zip(weights, ALEXNET, strict=True)
    )
    batch_norm = sum(2 * layer[1] for layer in ALEXNET)
    assert found["parameters"] == sum(weights) + batch_norm
    assert found["name"] == "alexnet"


def test_attention_is_counted() -> None:
    tokens, width, heads = (32 // 16) ** 2 + 1, 192, 3
    layer = tokens * (width * 3 * width + width * width + 2 * width * 4 * width)
    attention = 2 * heads * tokens**2 * (width // heads)
    patches = (tokens - 1) * 3 * 16**2 * width
    found = measure("timm:vit_tiny_patch16_224", 32)
    assert found["macs"] == patches + 12 * (layer + attention)


def test_stem_is_the_one_asked_for() -> None:
    by_size, small, large = (
        measure("resnet18", 32, stem)["macs"] for stem in ("auto", "small", "imagenet")
    )
    assert by_size == small > 10 * large
    with pytest.raises(UserError, match=r"^stem='tiny' is not allowed"):
        measure("resnet18", 32, "tiny")


def test_latency_is_of_one_thread_and_grows_with_the_work() -> None:
    threads = torch.get_num_threads()
    small, large = (measure("resnet18", size, "imagenet")["latency_ms"] for size in (32, 224))
    assert 0 < small < large
    assert torch.get_num_threads() == threads
    assert f"median of {REPEATS} " in LATENCY_PROTOCOL
