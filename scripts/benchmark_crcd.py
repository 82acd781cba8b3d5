"""Memory and time of CRCD's relation contrast, value and gradient: in chunks, and all at once.

Every row is a process of its own, whose peak is its resident memory beyond that of its inputs.

Usage: OMP_NUM_THREADS=1 python scripts/benchmark_crcd.py [--batches 64 128 256] [--queue 4096]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch import Tensor
from torch.nn.functional import normalize

from solo_rekd.losses.relation_difference import relation_difference_loss, sum_over_anchors

DIM, TEMPERATURE, REPEATS = 128, 0.05, 3


def all_at_once(
    student: Tensor,
    teacher: Tensor,
    student_queue: Tensor,
    teacher_queue: Tensor,
    temperature: float,
) -> Tensor:
    """The same formula with the graph of all anchors."""
    products = student @ teacher_queue.T, teacher @ student_queue.T
    inputs = student, teacher, student_queue, teacher_queue, *products
    pairs = len(student) * (len(student) - 1)
    return sum_over_anchors(teacher, torch.arange(len(student)), *inputs, temperature) / pairs


FORMS = {"chunks": relation_difference_loss, "all at once": all_at_once}


def peak_bytes() -> int:
    """Largest resident memory of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def measure(form: str, batch: int, queue: int) -> dict[str, float]:
    """Loss, the gradient's norm, MiB and the median of the seconds of one form in this process."""
    torch.manual_seed(0)
    inputs = [normalize(torch.randn(size, DIM), dim=1) for size in (batch, batch, queue, queue)]
    student = inputs[0].requires_grad_()
    (inputs[2] @ inputs[3][:1].T).sum()  # the matrix library's own buffers
    before, seconds = peak_bytes(), []
    for _ in range(REPEATS):
        started = time.perf_counter()
        loss = FORMS[form](*inputs, TEMPERATURE)
        (gradient,) = torch.autograd.grad(loss, student)
        seconds.append(time.perf_counter() - started)
    return {
        "loss": loss.item(),
        "gradient": gradient.norm().item(),
        "mib": (peak_bytes() - before) / 2**20,
        "seconds": statistics.median(seconds),
    }


def main() -> None:
    """Prints one row a batch size and form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--queue", type=int, default=4096)
    parser.add_argument("--one", choices=FORMS, help="measure this form in this process")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.batches[0], args.queue)))
        return
    print(f"{'B':>4} {'form':<12}{'MiB':>8}{'seconds':>9}{'loss':>11}{'|gradient|':>12}")
    for batch in args.batches:
        for form in FORMS:
            command = [sys.executable, __file__, "--one", form]
            command += ["--batches", str(batch), "--queue", str(args.queue)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            if done.returncode:
                print(f"{batch:>4} {form:<12} stopped with exit code {done.returncode}")
                continue
            row = json.loads(done.stdout)
            print(
                f"{batch:>4} {form:<12}{row['mib']:>8.0f}{row['seconds']:>9.2f}"
                f"{row['loss']:>11.5f}{row['gradient']:>12.6f}"
            )


if __name__ == "__main__":
    main()
