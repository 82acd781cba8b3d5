"""Forms of the objective that are tried: where the target's own part comes from, and its relation.

All are one cross-entropy over a dictionary of the teacher's embeddings D, its own key k first:
`mean_i log sum_j exp(q_i.D_j / tau) - q_i.T_i / tau`, with a target T_i that is a mean of the
dictionary's entries. So a form is how T is made.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Form:
    """What decides a run, but for its data, student, seed and length.

    Attributes:
        tau: the student's temperature.
        own: weight of the own part of the target; 1 is the control without a relation.
        target: the own part: `key`, the own key alone, or `soft`, the teacher's softmax over its
            key and the dictionary, as SEED has it.
        sharp: temperature of that softmax.
        relation: of an image to the dictionary's entries. `online`, the prototype of a bank that
            follows the sum of both views; `groups`, prototypes of k-means over the whole images,
            whose members count the image itself; `soft`, a softmax of the whole images'
            similarities; `mutual`, nearest neighbours in the dictionary who are each other's;
            `views`, a softmax of the similarities to the sum of both views; `labels` and `random`
            groups.
        groups: prototypes.
        levels: banks at once, each with three times the prototypes of the one before.
        blur: temperature of `soft`, and of a soft assignment to prototypes where above 0.
        near: neighbours of `mutual`; 0: as many as the estimate of purity says.
        sure: own weight by query: the relation's share grows with its similarity to the prototype.
        schedule: of the relation's share over the training: `flat`, `fall`, `rise`, `half`, which
            stops half-way.
        reach: where the relatives are sought: among the entries of the `queue`, or once among all
            images of the `data`, whose embeddings by the teacher then stand for them.
        space: embeddings in which whole images are compared: `embedding` or `features`.
        key: whose embedding the own key is: `view` or `image`, the whole image.
        mixup: whether views are mixed, one uniform lambda a batch, keys and relation alike.
        head: `mlp` or `linear`.
        lr: for a batch of 256.
        queue: entries of the dictionary.
    """

    tau: float = 0.07
    own: float = 0.5
    target: str = "key"
    sharp: float = 0.07
    relation: str = "soft"
    groups: int = 100
    levels: int = 1
    blur: float = 0.05
    near: int = 10
    sure: bool = False
    schedule: str = "flat"
    reach: str = "queue"
    space: str = "embedding"
    key: str = "view"
    mixup: bool = False
    head: str = "mlp"
    lr: float = 0.03
    queue: int = 1024


def read_form(text: str) -> Form:
    """Reads `own=0.5+relation=soft`; what is not given has its default."""
    read: dict[str, Callable[[str], Any]] = {
        option.name: type(option.default) for option in fields(Form)
    }
    read["sure"] = read["mixup"] = lambda word: word == "True"
    given = dict(part.split("=", 1) for part in text.split("+") if part)
    return Form(**{name: read[name](value) for name, value in given.items()})
