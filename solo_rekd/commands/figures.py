"""How the commands print figures."""


def print_accuracy(name: str, top1: float, top5: float, protocol: str) -> None:
    """Prints one evaluation; accuracies in percent."""
    print(f"{name} top-1 {top1:.2f}, top-5 {top5:.2f} ({protocol})")
