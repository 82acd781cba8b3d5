import logging

import pytest
import torch
from torch import nn

from solo_rekd.checkpoints import build_projector


def test_layers_weights_and_activations():
    source = nn.Sequential(
        nn.Linear(6, 5, bias=False),
        nn.BatchNorm1d(5),
        nn.ReLU(),
        nn.Linear(5, 4),
        nn.BatchNorm1d(4, affine=False),
    )
    source(torch.randn(9, 6))  # moves the running statistics
    projector = build_projector(source.state_dict())
    x = torch.randn(7, 6)
    assert [type(layer) for layer in projector] == [type(layer) for layer in source]
    torch.testing.assert_close(projector.eval()(x), source.eval()(x))


def test_dino_has_gelu_and_no_prototypes():
    head = {"mlp.0.weight": torch.randn(5, 6), "mlp.2.weight": torch.randn(4, 5)}
    projector = build_projector(head | {"last_layer.weight_v": torch.randn(100, 4)})
    assert isinstance(projector[1], nn.GELU) and projector(torch.ones(1, 6)).shape == (1, 4)


def test_an_early_batchnorm_without_its_counter():
    state = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)).state_dict()
    del state["1.num_batches_tracked"]
    assert isinstance(build_projector(state)[1], nn.BatchNorm1d)


def test_no_head():
    assert build_projector({}) is None


W = torch.ones(4, 4)
UNCLEAR = {
    "two layers left out": {"0.weight": W, "3.weight": W},
    "first layer left out": {"1.weight": W},
    "LayerNorm": {"0.weight": W, "1.weight": torch.ones(4), "1.bias": torch.ones(4)},
    "convolution": {"0.weight": torch.ones(4, 4, 1, 1)},
    "only prototypes": {"last_layer.weight_g": torch.ones(4, 1), "last_layer.weight_v": W},
    "nested": {"layer1.0.weight": W},
    "weight norm": {"0.weight_g": torch.ones(4, 1), "0.weight_v": W},
    "unknown entry": {"0.weight": W, "0.scale": torch.ones(4)},
    "widths that do not follow": {"0.weight": W, "2.weight": torch.ones(4, 3)},
    "BatchNorm alone": nn.Sequential(nn.BatchNorm1d(4)).state_dict(),
    "BatchNorm of other widths": {"0.weight": W, "1.running_mean": W[0], "1.running_var": W[0, :2]},
}


@pytest.mark.parametrize("why", UNCLEAR)
def test_none_and_a_warning_rather_than_a_guess(why, caplog):
    with caplog.at_level(logging.WARNING, "solo_rekd"):
        assert build_projector(UNCLEAR[why]) is None
    assert "pooled features take its place" in caplog.text
