"""Part `losses`: value and gradient of each loss, against the host's MoCo loss."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bench.memory import peak_bytes
from bench.page import table
from bench.timing import in_turns
from solo_rekd import hosts
from solo_rekd.losses import (
    bag_contrast_loss,
    gradient_relation_loss,
    info_nce_gradient,
    info_nce_loss,
    relation_contrast_loss,
    relation_difference_loss,
    similarity_distillation_loss,
)
from solo_rekd.modules.prototypes import soft_assign

DIM, BAG, NEGATIVES = 128, 5, 4096  # the defaults of the settings
HOST = "the host's MoCo"
SIZES = {"batch": 256, "queue": 65_536, "prototypes": 3_000}
QUICK = {"batch": 4, "queue": 256, "prototypes": 8}
ROUNDS = 5

Loss = Callable[[], Tensor]


def units(rows: int, device: torch.device | str = "cpu", dim: int = DIM) -> Tensor:
    """Random unit vectors, shape (rows, dim)."""
    return normalize(torch.randn(rows, dim, device=device), dim=1)


def make_losses(
    batch: int, queue: int, prototypes: int, device: torch.device | str = "cpu"
) -> dict[str, Loss]:
    """Every loss on the same random queries, keys and queue.

    Args:
        batch: queries.
        queue: keys in the queue; CRCD's relation contrast takes the newest `NEGATIVES` of them.
        prototypes: of the relation contrast.
        device: where they are.
    """
    hosts.activate()
    from solo.losses.moco import moco_loss_func

    query = units(batch, device).requires_grad_()
    key, taught, entries = (units(rows, device) for rows in (batch, batch, queue))
    taught_entries = units(queue, device)
    bank = units(prototypes, device)
    ids, entry_ids = (
        torch.randint(0, prototypes, (rows,), device=device) for rows in (batch, queue)
    )
    bags = units(batch * (1 + BAG), device).view(batch, 1 + BAG, DIM)
    host_queue = entries.T.contiguous()
    newest, taught_newest = entries[:NEGATIVES], taught_entries[:NEGATIVES]

    def relation(shares: Tensor | None) -> Tensor:
        return relation_contrast_loss(
            query, key, entries, ids, entry_ids, prototypes, 0.2, 0.5, shares
        )

    return {
        HOST: lambda: moco_loss_func(query, key, host_queue, 0.2),
        "InfoNCE": lambda: info_nce_loss(query, key, entries, 0.2),
        "relation contrast, hard": lambda: relation(None),
        "relation contrast, soft": lambda: relation(soft_assign(bank, taught, 0.1)),
        "similarity distillation": lambda: similarity_distillation_loss(
            query, entries, taught, entries, 0.2, 0.01, own=taught
        ),
        "bag contrast": lambda: bag_contrast_loss(query, bags, entries, 0.2).sum(),
        "CRCD's gradient relation": lambda: gradient_relation_loss(
            info_nce_gradient(query, key, entries, 0.2),
            info_nce_gradient(taught, key, taught_entries, 0.2),
        ),
        f"CRCD's relation contrast, {len(newest):,} entries": lambda: relation_difference_loss(
            query, taught, newest, taught_newest, 0.05
        ),
    }


def differentiate(loss: Loss) -> None:
    """Computes a loss and its gradient."""
    loss().backward()


def works(losses: Mapping[str, Loss]) -> dict[str, Callable[[], None]]:
    """Value and gradient of each loss, as something to be measured."""
    return {name: partial(differentiate, loss) for name, loss in losses.items()}


def measure(device: torch.device, quick: bool) -> dict[str, Any]:
    """Median seconds and peak bytes of value and gradient."""
    torch.manual_seed(0)
    sizes = QUICK if quick else SIZES
    losses = make_losses(**sizes, device=device)
    each = works(losses)
    taken = in_turns(each, 1 if quick else ROUNDS, device)
    rows = {
        name: {"seconds": taken[name], "bytes": peak_bytes(work, device)}
        for name, work in each.items()
    }
    return {"sizes": sizes, "rows": rows}


def tables(results: dict[str, Any]) -> str:
    """The table of the part's results."""
    sizes, rows = results["sizes"], results["rows"]
    base = rows[HOST]
    said = ", ".join(f"{name} {number:,}" for name, number in sizes.items())
    return f"Value and gradient, {said}.\n\n" + table(
        ["loss", "seconds", "/ the host's", "peak MiB", "/ the host's"],
        [
            [
                name,
                row["seconds"],
                row["seconds"] / base["seconds"],
                row["bytes"] / 2**20,
                row["bytes"] / base["bytes"],
            ]
            for name, row in rows.items()
        ],
    )
