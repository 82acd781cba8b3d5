"""Times a training step and a forward pass of networks in both memory formats, side by side.

`python scripts/benchmark_layout.py resnet18 timm:regnetx_002 --sides 64 224` prints a row for each
network and side: seconds in the default format, and channels-last as a share of that.
"""

import argparse
import os
import time
from collections.abc import Callable

import torch
from torch import nn

from solo_rekd.backbones import build_backbone
from solo_rekd.memory_format import choose

IMAGES = 8 * 64 * 64  # pixels of a batch: 8 images at 64 px
NETWORKS = (
    "shufflenet_v2_x1_0 timm:mobilenetv2_100 mobilenet_v3_small mobilenet_v3_large "
    "efficientnet_b0 resnet50 alexnet resnet18 resnet34 timm:regnetx_002 timm:ghostnet_100 "
    "timm:tf_efficientnet_lite0 timm:convnext_atto timm:vgg11_bn timm:resnext50_32x4d "
    "timm:densenet121 timm:vit_tiny_patch16_224"
).split()
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def fastest(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The least CPU seconds of each work, which take turns."""
    found = dict.fromkeys(works, float("inf"))
    for repeat in range(repeats + 1):
        for name, work in works.items():
            started = time.process_time()
            work()
            if repeat:  # the first is a warm-up
                found[name] = min(found[name], time.process_time() - started)
    return found


def make(name: str, side: int, batch: int, *, train: bool) -> dict[str, Callable[[], object]]:
    """A step, or a forward pass, in each memory format."""

    def work(memory_format: torch.memory_format) -> Callable[[], object]:
        torch.manual_seed(0)
        network: nn.Module = build_backbone(name, side)
        network.to(memory_format=memory_format).train(train)  # type: ignore[call-overload]
        images = torch.randn(batch, 3, side, side)

        def step() -> None:
            network.zero_grad()
            network(images.to(memory_format=memory_format)).square().sum().backward()

        @torch.inference_mode()
        def forward() -> None:
            network(images.to(memory_format=memory_format))

        return step if train else forward

    return {label: work(memory_format) for label, memory_format in FORMATS.items()}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--sides", nargs="+", type=int, default=[32, 64, 224])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"torch {torch.__version__}, {threads} thread(s), {os.cpu_count()} cores")
    print("| network | px | batch | rule | step | forward |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in args.networks:
        for side in args.sides:
            batch = max(2, min(16, IMAGES // side**2))
            try:
                columns = [
                    fastest(make(name, side, batch, train=train), args.repeats)
                    for train in (True, False)
                ]
                network = build_backbone(name, side)
            except (AssertionError, RuntimeError, ValueError) as error:  # a ViT has its own side
                print(f"| {name} | {side} | | {str(error)[:40]} | | |", flush=True)
                continue
            shown = [
                f"{each['contiguous']:.3f} s, {each['channels_last'] / each['contiguous']:.2f}"
                for each in columns
            ]
            rule = choose(network).name
            row = [name, str(side), str(batch), rule, *shown]
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
