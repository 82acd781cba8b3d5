"""Times a training step and a forward pass of networks in two ways, side by side.

`python scripts/benchmark_layout.py resnet18 timm:regnetx_002 --sides 64 224` prints a row for each
network and side: seconds in the default memory format, and channels-last as a share of that. With
`--way bfloat16` or `--way compile` it is channels-last against that and weights in bfloat16, or
compilation.
"""

import argparse
import os
import time
from collections.abc import Callable

import torch

from solo_rekd.backbones import build_backbone
from solo_rekd.memory_format import choose, lay_out

PIXELS = 8 * 64 * 64  # of a batch: 8 images at 64 px
NETWORKS = (
    "shufflenet_v2_x1_0 timm:mobilenetv2_100 mobilenet_v3_small mobilenet_v3_large "
    "efficientnet_b0 resnet50 alexnet resnet18 resnet34 timm:regnetx_002 timm:ghostnet_100 "
    "timm:tf_efficientnet_lite0 timm:convnext_atto timm:vgg11_bn timm:resnext50_32x4d "
    "timm:densenet121 timm:vit_tiny_patch16_224"
).split()
WAYS = ("channels_last", "bfloat16", "compile")

Work = Callable[[], object]


def fastest(works: list[Work], repeats: int) -> list[float]:
    """The least CPU seconds of each work, which take turns."""
    found = [float("inf")] * len(works)
    for repeat in range(repeats + 1):
        for place, work in enumerate(works):
            started = time.process_time()
            work()
            if repeat:  # the first is a warm-up
                found[place] = min(found[place], time.process_time() - started)
    return found


def make(name: str, side: int, batch: int, way: str, *, train: bool) -> Work:
    """A training step of a network, or a forward pass without gradients."""
    torch.manual_seed(0)
    network = build_backbone(name, side).train(train)
    lay_out(network, "contiguous" if way == "contiguous" else "channels_last")
    images = torch.randn(batch, 3, side, side)
    if way == "bfloat16":
        network, images = network.bfloat16(), images.bfloat16()
    if way == "compile":
        network.compile(dynamic=False)

    def step() -> None:
        network.zero_grad()
        network(images).square().sum().backward()

    @torch.inference_mode()
    def forward() -> None:
        network(images)

    return step if train else forward


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--sides", nargs="+", type=int, default=[32, 64, 224])
    parser.add_argument("--batch", type=int, help="Default: that of 32,768 pixels, up to 16")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--way", choices=WAYS, default=WAYS[0])
    args = parser.parse_args()
    before = "contiguous" if args.way == WAYS[0] else WAYS[0]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} of {os.cpu_count()} threads")
    print(f"| network | px | batch | rule | step, {args.way} | forward, {args.way} |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in args.networks:
        for side in args.sides:
            batch = args.batch or max(2, min(16, PIXELS // side**2))
            shown = []
            for train in (True, False):
                works = [make(name, side, batch, way, train=train) for way in (before, args.way)]
                first, second = fastest(works, args.repeats)
                shown.append(f"{first:.3f} s, {second / first:.2f}")
            row = [name, str(side), str(batch), choose(build_backbone(name, side)).name, *shown]
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
