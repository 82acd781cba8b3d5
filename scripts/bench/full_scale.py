"""What ImageNet would cost: an estimate for one class of GPU, from the measured steps."""

from typing import Any

import torch

from bench.page import table
from solo_rekd.backbones import build_backbone
from solo_rekd.evaluation.cost import count_macs

IMAGES, EPOCHS, GPUS = 1_281_167, 200, 8  # ImageNet's training images
GPU, PEAK = "NVIDIA A100 40 GB", 312e12  # operations a second in bf16, by its data sheet
# assumed shares of the peak: depthwise convolutions wait for the memory, dense ones far less
UTILISATION = {"student": 0.05, "teacher": 0.3}
BACKWARD = 2  # in forwards
VIEWS = 2


def forwards(row: dict[str, Any]) -> dict[str, int]:
    """How often each network's forward fits into a method's arithmetic, for one view.

    Args:
        row: of the part `steps`.

    Returns:
        For `student` its forward and backward, and its twin's forward where the loss reads it;
        for `teacher` its forward, and for a jointly trained one its backward and its twin's too.
    """
    teacher = {"frozen": 1, "online": 1 + BACKWARD + 1}.get(row["teacher"], 0)
    return {"student": 1 + BACKWARD + bool(row["twin"]), "teacher": teacher}


def device_hours(multiply_adds: dict[str, float]) -> float:
    """Hours of one GPU for the whole training, by the assumptions above.

    Args:
        multiply_adds: for one image, by network.
    """
    seconds = sum(
        2 * number * IMAGES * EPOCHS / (PEAK * UTILISATION[network])
        for network, number in multiply_adds.items()
    )
    return seconds / 3600


def tables(steps: dict[str, Any]) -> str:
    """The estimate from the last size of the part `steps`, measured on the CPU."""
    case = steps["cpu"]["cases"][-1]
    networks = case["networks"]
    image = torch.zeros(1, 3, networks["side"], networks["side"])
    macs = {
        name: count_macs(build_backbone(networks[name], networks["side"]).eval(), image)
        for name in ("student", "teacher")
    }
    first = case["rows"][0]
    rows = []
    for row in case["rows"]:
        own = {name: VIEWS * times * macs[name] for name, times in forwards(row).items()}
        hours = device_hours(own)
        whole = hours * max(1.0, row["own_ratio"])
        rows.append(
            [
                row["arm"],
                sum(own.values()) / 1e9,
                row["seconds"] / first["seconds"],
                row["own_ratio"],
                hours,
                whole,
                whole / GPUS,
            ]
        )
    said = (
        f"{case['case']} (measured there); ImageNet's {IMAGES:,} images, {EPOCHS} epochs; {GPU}: "
        f"{PEAK / 1e12:.0f} TFLOP/s in bf16 at the peak, of which {UTILISATION['student']:.0%} is "
        f"assumed for the student and {UTILISATION['teacher']:.0%} for the teacher."
    )
    head = [
        "method",
        "counted: 10^9 multiply-adds an image",
        f"measured on a CPU: step, of {first['arm']}'s",
        "measured on a CPU: step, of its own parts",
        "estimated: device hours of the arithmetic",
        "estimated: device hours of the step",
        f"estimated: hours on {GPUS} GPUs",
    ]
    return f"{said}\n\n{table(head, rows)}"
