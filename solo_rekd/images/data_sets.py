"""What is known of data sets by name: their folders, sizes and normalisation.

It imports nothing, so that help can be shown without torch.
"""

CUSTOM = "custom"  # the user's own image folders
FOLDERS = (CUSTOM, "imagenet", "imagenet100")  # data sets that are there already, as folders
# px: both hosts evaluate these data sets at one size, whatever is asked for
FIXED_SIDES = {"cifar10": 32, "cifar100": 32, "stl10": 96, "imagenet": 224, "imagenet100": 224}
# training images, for methods that need no labels
NUMBERS = {"cifar10": 50_000, "cifar100": 50_000, "stl10": 105_000}
NAMES = (*FIXED_SIDES, CUSTOM)

SMALL_IMAGE = 64  # px: inputs up to this side get the small stem
LARGE_IMAGE = 224  # px: the hosts' size of anything else

Colours = tuple[float, float, float]

MEAN: Colours = (0.485, 0.456, 0.406)  # the classic host's of ImageNet
STD: Colours = (0.228, 0.224, 0.225)
CIFAR_STD: Colours = (0.247, 0.243, 0.261)
# mean and deviation of what both hosts read by torchvision
COLOURS: dict[str, tuple[Colours, Colours]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), CIFAR_STD),
    "cifar100": ((0.4914, 0.4822, 0.4465), CIFAR_STD),
    "stl10": ((0.4914, 0.4823, 0.4466), CIFAR_STD),
}


def needs_size(dataset: str) -> bool:
    """Whether the user chooses the size of a data set's images in an evaluation."""
    return dataset == CUSTOM
