"""One run: a student learns from views and embeddings that are known, and is judged on `tune`."""

import math
import time
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from search.forms import Form
from search.relations import Miner, Related
from search.views import BATCH, normalised
from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints import two_layer_projector
from solo_rekd.evaluation.knn import weighted_knn
from solo_rekd.evaluation.linear_probe import linear_probe
from solo_rekd.losses import target_contrast_loss
from solo_rekd.memory_format import choose, lay_out
from solo_rekd.modules.prototypes import PrototypeBank

IMAGES, HEAD = 32, 2048  # of a step; width of the head
WARMUP = 0.1  # share of the training in which the rate rises


class Score(NamedTuple):
    """What a run ends with: top-1 on `tune` in percent, and the purity of its relation."""

    linear: float
    knn: float
    purity: float


class Queue:
    """The newest entries of one view: their embeddings and the images' places."""

    def __init__(self, size: int, width: int) -> None:
        self.keys = normalize(torch.randn(size, width), dim=1)
        self.places = torch.full((size,), -1)
        self.at = self.seen = 0

    def push(self, keys: Tensor, places: Tensor) -> None:
        """Takes a batch that divides the size."""
        end = self.at + len(keys)
        self.keys[self.at : end], self.places[self.at : end] = keys, places
        self.at = end % len(self.keys)
        self.seen += len(keys)

    @property
    def full(self) -> bool:
        """Whether no random entry is left."""
        return self.seen >= len(self.keys)


def train(form: Form, drawn: dict[str, Tensor], student: str, seed: int, epochs: int) -> Score:
    """Trains and judges one student.

    Args:
        form: see `Form`.
        drawn: what `views.read` gives.
        student: name of a backbone.
        seed: of weights and order.
        epochs: of the training; each takes the next two views of an image.
    """
    torch.manual_seed(seed)
    pixels, keys = drawn["views.pixels"], drawn["views.embeddings"]
    number, views = pixels.shape[:2]
    whole = drawn["train.embeddings"]
    if form.space == "features":
        whole = normalize(drawn["train.features"], dim=1)
    mates = keys[:, :2]
    if form.space == "features":
        mates = normalize(drawn["views.features"][:, :2].float(), dim=2)
    miner = Miner(form, whole, drawn["train.labels"], mates)
    of_images = drawn["train.embeddings"]

    backbone = build_backbone(student, pixels.shape[-1], stem="imagenet").train()
    lay_out(backbone, choose(backbone).name)
    width, out = int(backbone.num_features), keys.shape[-1]  # type: ignore[arg-type]
    head = two_layer_projector(width, HEAD, out) if form.head == "mlp" else nn.Linear(width, out)
    network = nn.Sequential(backbone, head)
    rate = form.lr * IMAGES / 256
    optimizer = torch.optim.SGD(network.parameters(), rate, momentum=0.9, weight_decay=1e-4)
    steps = number // IMAGES
    total = steps * epochs
    queues = [Queue(form.queue, out) for _ in range(2)]
    purities: list[float] = []
    for epoch in range(epochs):
        pair = (2 * epoch % views, (2 * epoch + 1) % views)
        for step, places in enumerate(torch.randperm(number)[: steps * IMAGES].split(IMAGES)):
            done = (epoch * steps + step) / total
            for group in optimizer.param_groups:
                warm = done / WARMUP
                after = (done - WARMUP) / (1 - WARMUP)
                group["lr"] = rate * (warm if warm < 1 else (1 + math.cos(math.pi * after)) / 2)
            batch = [pixels[places, view] for view in pair]
            taught = [keys[places, view] for view in pair]
            if form.key == "image":
                taught = [drawn["train.embeddings"][places]] * 2
            images = normalised(torch.cat(batch))
            lam, order = 1.0, torch.arange(len(places))
            if form.mixup:
                lam, order = float(torch.rand(())), torch.randperm(len(places))
                images = torch.cat([lam * x + (1 - lam) * x[order] for x in images.chunk(2)])
                taught = [normalize(lam * t + (1 - lam) * t[order], dim=1) for t in taught]
            queries = normalize(network(images), dim=1).chunk(2)
            loss = torch.zeros(())
            for view, query in enumerate(queries):
                queue = queues[1 - view]
                target = own_target(form, taught[view], queue)
                share = share_of_relation(form, done) if queue.full else 0.0
                if share > 0:
                    if miner.table is None:
                        related, entries = relate(form, miner, places, taught, queue), queue.keys
                        others = queue.places
                    else:
                        related = Related(miner.table.weights[places], miner.table.sure[places])
                        entries, others = of_images, torch.arange(number)
                    if view == 0:
                        purities.append(purity(related, places, others, drawn["train.labels"]))
                    found = related.weights @ entries
                    sure = share * related.sure[:, None]
                    if form.mixup:
                        found = lam * found + (1 - lam) * found[order]
                    target = (1 - sure) * target + sure * found
                own = taught[view]
                loss = loss + target_contrast_loss(query, own, queue.keys, target, form.tau) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            for queue, embeddings in zip(queues, taught, strict=True):
                queue.push(embeddings, places)
            if miner.bank is not None:
                summed = normalize(taught[0] + taught[1], dim=1)
                miner.bank.update(summed, miner.bank.assign(summed))
    linear, knn = judge(backbone, drawn)
    return Score(linear, knn, sum(purities) / max(1, len(purities)))


def own_target(form: Form, own: Tensor, queue: Queue) -> Tensor:
    """The own part of the target, (B, d)."""
    if form.target == "key":
        return own
    logits = torch.cat([torch.ones(len(own), 1), own @ queue.keys.T], dim=1) / form.sharp
    weights = logits.softmax(1)
    return weights[:, :1] * own + weights[:, 1:] @ queue.keys


def share_of_relation(form: Form, done: float) -> float:
    """The relation's share of the target after a part of the training."""
    shape = {
        "flat": 1.0,
        "fall": (1 + math.cos(math.pi * done)) / 2,
        "rise": (1 - math.cos(math.pi * done)) / 2,
        "half": float(done < 0.5),
    }
    return (1 - form.own) * shape[form.schedule]


def relate(form: Form, miner: Miner, places: Tensor, taught: list[Tensor], queue: Queue) -> Related:
    """The relation of a batch, by what is known of its images or by the views."""
    ones = torch.ones(len(places))
    if form.relation == "online":
        summed = normalize(taught[0] + taught[1], dim=1)
        if miner.bank is None:
            miner.bank = PrototypeBank(form.groups, summed.shape[1], 0.9, patience=len(queue.keys))
            miner.bank.start(queue.keys)
        ids, others = miner.bank.assign(summed), miner.bank.assign(queue.keys)
        same = (ids[:, None] == others).float()
        return Related(same / same.sum(1, keepdim=True).clamp(min=1), (same.sum(1) > 0).float())
    if form.relation == "views":
        summed = normalize(taught[0] + taught[1], dim=1)
        return Related((summed @ queue.keys.T / form.blur).softmax(1), ones)
    return miner.relate(places, queue.places)


def purity(related: Related, places: Tensor, others: Tensor, labels: Tensor) -> float:
    """Share of the relation's weight on entries, by their places, of the image's class."""
    same = labels[places][:, None] == labels[others]
    total = related.weights.sum()
    return float((related.weights * same).sum() / total) if total > 0 else 0.0


@torch.no_grad()
def judge(backbone: nn.Module, drawn: dict[str, Tensor]) -> tuple[float, float]:
    """Top-1 of logistic regression and of kNN on `tune`, in percent."""
    backbone.eval()
    sides = []
    for part in ("train", "tune"):
        split = drawn[f"{part}.pixels"].split(BATCH)
        features = torch.cat([backbone(normalised(pixels)) for pixels in split])
        sides.append((features, drawn[f"{part}.labels"]))
    (train_x, train_y), (tune_x, tune_y) = sides
    with torch.enable_grad():
        linear = linear_probe((train_x.numpy(), train_y.numpy()), (tune_x.numpy(), tune_y.numpy()))
    knn, _ = weighted_knn(train_x, train_y, tune_x, tune_y)
    return linear["top1"], knn


def timed(*args: object) -> tuple[Score, float]:
    """The score of `train` and its minutes."""
    start = time.monotonic()
    score = train(*args)  # type: ignore[arg-type]
    return score, (time.monotonic() - start) / 60
