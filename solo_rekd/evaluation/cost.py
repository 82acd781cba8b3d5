"""The cost of a network: parameters, multiply-accumulates, and latency on one CPU core."""

import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from solo_rekd.backbones import build_backbone

WARM_UP = 5  # forward passes
REPEATS = 30  # forward passes
LATENCY_PROTOCOL = (
    f"median of {REPEATS} forward passes of one image after {WARM_UP} to warm up, "
    "eval mode, float32, one CPU thread"
)


def measure(name: str, img_size: int, stem: str = "auto") -> dict[str, Any]:
    """Measures a backbone without its classifier.

    Args:
        name: a name that `solo_rekd.backbones.build_backbone` knows.
        img_size: side of the square input, in px.
        stem: `small`, `imagenet`, or `auto`.

    Returns:
        name; parameters; macs, the multiply-accumulates of convolutions, linear layers and
        attention for one image; latency_ms, by `LATENCY_PROTOCOL`.

    Raises:
        UserError: the name or the stem is unknown, or the network cannot take inputs that small.
    """
    network = build_backbone(name, img_size, stem).eval()
    image = torch.zeros(1, 3, img_size, img_size)
    return {
        "name": name,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "macs": count_macs(network, image),
        "latency_ms": latency_ms(network, image),
    }


@torch.no_grad()
def count_macs(network: nn.Module, image: Tensor) -> int:
    """Counts multiply-accumulates of one forward pass.

    Args:
        network: the network, in eval mode.
        image: its input, shape (1, 3, H, W).
    """
    # a CPU's fused attention is not counted; plain attention counts as two matrix products
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        network(image)
    return int(counter.get_total_flops()) // 2


@torch.no_grad()
def latency_ms(network: nn.Module, image: Tensor) -> float:
    """Measures one forward pass in milliseconds, by `LATENCY_PROTOCOL`.

    Args:
        network: the network, in eval mode and on the CPU.
        image: its input, shape (1, 3, H, W).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = []
        for _ in range(WARM_UP + REPEATS):
            started = time.perf_counter()
            network(image)
            seconds.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return 1000 * statistics.median(seconds[WARM_UP:])
