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


@pytest.mark.parametrize(
    ("activation", "layer"), [("gelu", nn.GELU), ("relu", nn.ReLU), (None, nn.ReLU)]
)
def test_the_activation_is_the_format_s_or_a_guess(activation, layer, caplog):
    head = {"0.weight": torch.randn(5, 6), "2.weight": torch.randn(4, 5)}
    projector = build_projector(head, activation)
    assert isinstance(projector[1], layer) and projector(torch.ones(1, 6)).shape == (1, 4)
    assert ("ReLU is assumed" in caplog.text) == (activation is None)


def test_no_activation_no_guess(caplog):
    assert build_projector({"weight": torch.randn(5, 6)}) is not None and not caplog.text


def test_openmmlab_s_neck_has_a_relu_before_every_layer_but_the_first():
    head = {f"fc{i}.weight": torch.randn(6, 6) for i in range(3)}
    head |= {
        f"bn{i}.{key}": torch.ones(6) for i in (0, 2) for key in ("running_mean", "running_var")
    }
    kinds = [type(layer) for layer in build_projector(head, "relu")]
    fc, bn, relu = nn.Linear, nn.BatchNorm1d, nn.ReLU
    assert kinds == [fc, bn, relu, fc, relu, fc, bn]


def test_vissl_s_heads_follow_one_another():
    head = {"0.clf.0.weight": torch.randn(5, 6), "1.clf.0.weight": torch.randn(4, 5)}
    assert [type(one) for one in build_projector(head)] == [nn.Linear, nn.ReLU, nn.Linear]


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
    assert "the projector is left out" in caplog.text
