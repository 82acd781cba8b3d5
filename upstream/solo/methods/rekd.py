# Copyright 2023 solo-learn development team.

# Permission is hereby granted, free of charge, to any person obtaining a copy of
# this software and associated documentation files (the "Software"), to deal in
# the Software without restriction, including without limitation the rights to use,
# copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the
# Software, and to permit persons to whom the Software is furnished to do so,
# subject to the following conditions:

# The above copyright notice and this permission notice shall be included in all copies
# or substantial portions of the Software.

# THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED,
# INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR
# PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE
# FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
# OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER
# DEALINGS IN THE SOFTWARE.

import copy
from typing import Any, Dict, List, Sequence, Tuple, Union

import omegaconf
import torch
import torch.nn as nn
import torch.nn.functional as F
from solo.losses.mocov2plus import mocov2plus_loss_func
from solo.losses.rekd import rekd_loss_func
from solo.methods.base import BaseMomentumMethod
from solo.utils.misc import gather, omegaconf_select
from solo.utils.momentum import initialize_momentum_params
from solo.utils.prototypes import PrototypeBank


class ReKD(BaseMomentumMethod):
    def __init__(self, cfg: omegaconf.DictConfig):
        """Implements ReKD (https://arxiv.org/abs/2112.04174).

        A larger teacher is trained along with MoCo's loss. Its embeddings are assigned to
        prototypes that follow them, and the elements of the queue that have the query's prototype
        are positives of the student. No code was released with the paper: the update of the
        prototypes, the choice of dictionary and the defaults are of this implementation.

        Extra cfg settings:
            method_kwargs:
                proj_output_dim (int): number of dimensions of projected features.
                proj_hidden_dim (int): number of neurons of the hidden layers of the projectors.
                temperature (float): temperature for the softmax in the losses of the student.
                queue_size (int): number of samples to keep in the queue.
                teacher:
                    name (str): architecture of the teacher.
                    kwargs (dict): extra teacher kwargs.
                teacher_temperature (float): temperature for the softmax in the teacher's loss.
                teacher_warmup_epochs (int): number of epochs before the prototypes start and the
                    relation loss with them. Until then the student is trained with MoCo's loss.
                relation_weight (float): weight of the relation loss in [0,1], the rest is the
                    weight of the student's MoCo loss.
                dictionary (str): whose keys the student is compared with in the relation loss,
                    either "student", "teacher" or "both", where the teacher's have no relation.
                own_weight (Union[float, str]): target weight of the own key in the relation loss
                    in [0,1], or "uniform".
                num_prototypes (int): number of prototypes.
                prototype_momentum (float): momentum of the prototypes in [0,1].
        """

        super().__init__(cfg)

        self.temperature: float = cfg.method_kwargs.temperature
        self.queue_size: int = cfg.method_kwargs.queue_size
        self.teacher_temperature: float = cfg.method_kwargs.teacher_temperature
        self.teacher_warmup_epochs: int = cfg.method_kwargs.teacher_warmup_epochs
        self.relation_weight: float = cfg.method_kwargs.relation_weight
        self.dictionary: str = cfg.method_kwargs.dictionary
        self.own_weight: Union[float, str] = cfg.method_kwargs.own_weight
        self.num_prototypes: int = cfg.method_kwargs.num_prototypes

        proj_hidden_dim: int = cfg.method_kwargs.proj_hidden_dim
        proj_output_dim: int = cfg.method_kwargs.proj_output_dim

        # projector
        self.projector = nn.Sequential(
            nn.Linear(self.features_dim, proj_hidden_dim),
            nn.ReLU(),
            nn.Linear(proj_hidden_dim, proj_output_dim),
        )

        # momentum projector
        self.momentum_projector = copy.deepcopy(self.projector)
        initialize_momentum_params(self.projector, self.momentum_projector)

        # teacher, built as the base class builds the backbone, and its projector
        teacher_name: str = cfg.method_kwargs.teacher.name
        teacher = self._BACKBONES[teacher_name](cfg.method, **cfg.method_kwargs.teacher.kwargs)
        if teacher_name.startswith("resnet"):
            teacher_features_dim: int = teacher.inplanes
            # remove fc layer
            teacher.fc = nn.Identity()
            if cfg.data.dataset in ["cifar10", "cifar100"]:
                teacher.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=2, bias=False)
                teacher.maxpool = nn.Identity()
        else:
            teacher_features_dim: int = teacher.num_features
        self.teacher = nn.Sequential(
            teacher,
            nn.Linear(teacher_features_dim, proj_hidden_dim),
            nn.ReLU(),
            nn.Linear(proj_hidden_dim, proj_output_dim),
        )

        # momentum teacher
        self.momentum_teacher = copy.deepcopy(self.teacher)
        initialize_momentum_params(self.teacher, self.momentum_teacher)

        # create the queues, a position holds the same image in all of them
        for name in ["queue", "teacher_queue"]:
            queue = torch.randn(2, proj_output_dim, self.queue_size)
            self.register_buffer(name, F.normalize(queue, dim=1))
        self.register_buffer("queue_ids", torch.full((self.queue_size,), -1))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))
        self.register_buffer("queue_full", torch.zeros(1, dtype=torch.bool))

        # create the prototypes, those that are left without samples in the queues are moved
        self.prototypes = PrototypeBank(
            self.num_prototypes,
            proj_output_dim,
            momentum=cfg.method_kwargs.prototype_momentum,
            patience=self.queue_size,
        )

    @staticmethod
    def add_and_assert_specific_cfg(cfg: omegaconf.DictConfig) -> omegaconf.DictConfig:
        """Adds method specific default values/checks for config.

        Args:
            cfg (omegaconf.DictConfig): DictConfig object.

        Returns:
            omegaconf.DictConfig: same as the argument, used to avoid errors.
        """

        cfg = super(ReKD, ReKD).add_and_assert_specific_cfg(cfg)

        cfg.method_kwargs.proj_output_dim = omegaconf_select(
            cfg, "method_kwargs.proj_output_dim", 128
        )
        cfg.method_kwargs.proj_hidden_dim = omegaconf_select(
            cfg, "method_kwargs.proj_hidden_dim", 2048
        )
        cfg.method_kwargs.temperature = omegaconf_select(cfg, "method_kwargs.temperature", 0.2)
        cfg.method_kwargs.queue_size = omegaconf_select(cfg, "method_kwargs.queue_size", 65536)
        cfg.method_kwargs.teacher = omegaconf_select(cfg, "method_kwargs.teacher", {})
        cfg.method_kwargs.teacher.name = omegaconf_select(
            cfg, "method_kwargs.teacher.name", "resnet50"
        )
        cfg.method_kwargs.teacher.kwargs = omegaconf_select(cfg, "method_kwargs.teacher.kwargs", {})
        cfg.method_kwargs.teacher_temperature = omegaconf_select(
            cfg, "method_kwargs.teacher_temperature", 0.2
        )
        cfg.method_kwargs.teacher_warmup_epochs = omegaconf_select(
            cfg, "method_kwargs.teacher_warmup_epochs", 10
        )
        cfg.method_kwargs.relation_weight = omegaconf_select(
            cfg, "method_kwargs.relation_weight", 1.0
        )
        cfg.method_kwargs.dictionary = omegaconf_select(cfg, "method_kwargs.dictionary", "both")
        cfg.method_kwargs.own_weight = omegaconf_select(cfg, "method_kwargs.own_weight", 0.5)
        cfg.method_kwargs.num_prototypes = omegaconf_select(
            cfg, "method_kwargs.num_prototypes", 100
        )
        cfg.method_kwargs.prototype_momentum = omegaconf_select(
            cfg, "method_kwargs.prototype_momentum", 0.9
        )

        kwargs = cfg.method_kwargs
        assert kwargs.teacher.name in BaseMomentumMethod._BACKBONES
        assert kwargs.dictionary in ["student", "teacher", "both"]
        assert kwargs.own_weight == "uniform" or 0 <= kwargs.own_weight <= 1
        assert 0 <= kwargs.relation_weight <= 1
        assert kwargs.num_prototypes <= kwargs.queue_size

        return cfg

    @property
    def learnable_params(self) -> List[dict]:
        """Adds projector and teacher parameters together with parent's learnable parameters.

        Returns:
            List[dict]: list of learnable parameters.
        """

        extra_learnable_params = [
            {"name": "projector", "params": self.projector.parameters()},
            {"name": "teacher", "params": self.teacher.parameters()},
        ]
        return super().learnable_params + extra_learnable_params

    @property
    def momentum_pairs(self) -> List[Tuple[Any, Any]]:
        """Adds (projector, momentum_projector) and (teacher, momentum_teacher) to the parent's
        momentum pairs.

        Returns:
            List[Tuple[Any, Any]]: list of momentum pairs.
        """

        extra_momentum_pairs = [
            (self.projector, self.momentum_projector),
            (self.teacher, self.momentum_teacher),
        ]
        return super().momentum_pairs + extra_momentum_pairs

    @torch.no_grad()
    def _dequeue_and_enqueue(
        self, keys: torch.Tensor, teacher_keys: torch.Tensor, ids: torch.Tensor
    ):
        """Adds new samples and removes old samples from the queues in a fifo manner.

        Args:
            keys (torch.Tensor): 2xNxD output features of the momentum backbone.
            teacher_keys (torch.Tensor): 2xNxD output features of the momentum teacher.
            ids (torch.Tensor): N prototypes of the images.
        """

        batch_size = keys.shape[1]
        ptr = int(self.queue_ptr)  # type: ignore
        assert self.queue_size % batch_size == 0  # for simplicity

        # replace the samples at ptr (dequeue and enqueue)
        self.queue[:, :, ptr : ptr + batch_size] = keys.permute(0, 2, 1)
        self.teacher_queue[:, :, ptr : ptr + batch_size] = teacher_keys.permute(0, 2, 1)
        self.queue_ids[ptr : ptr + batch_size] = ids
        ptr = (ptr + batch_size) % self.queue_size  # move pointer
        self.queue_ptr[0] = ptr  # type: ignore
        self.queue_full |= ptr == 0

    def forward(self, X: torch.Tensor) -> Dict[str, Any]:
        """Performs the forward pass of the online backbone and projector.

        Args:
            X (torch.Tensor): a batch of images in the tensor format.

        Returns:
            Dict[str, Any]: a dict containing the outputs of the parent and query.
        """

        out = super().forward(X)
        z = F.normalize(self.projector(out["feats"]), dim=-1)
        out.update({"z": z})
        return out

    @torch.no_grad()
    def momentum_forward(self, X: torch.Tensor) -> Dict:
        """Performs the forward pass of the momentum backbone and projector.

        Args:
            X (torch.Tensor): batch of images in tensor format.

        Returns:
            Dict[str, Any]: a dict containing the outputs of the parent and the key.
        """

        out = super().momentum_forward(X)
        z = F.normalize(self.momentum_projector(out["feats"]), dim=-1)
        out.update({"z": z})
        return out

    def teacher_forward(self, X: torch.Tensor) -> torch.Tensor:
        """Performs the forward pass of the teacher.

        Args:
            X (torch.Tensor): batch of images in tensor format.

        Returns:
            torch.Tensor: the query of the teacher.
        """

        if not self.no_channel_last:
            X = X.to(memory_format=torch.channels_last)
        return F.normalize(self.teacher(X), dim=-1)

    @torch.no_grad()
    def momentum_teacher_forward(self, X: torch.Tensor) -> torch.Tensor:
        """Performs the forward pass of the momentum teacher.

        Args:
            X (torch.Tensor): batch of images in tensor format.

        Returns:
            torch.Tensor: the key of the teacher.
        """

        if not self.no_channel_last:
            X = X.to(memory_format=torch.channels_last)
        return F.normalize(self.momentum_teacher(X), dim=-1)

    def training_step(self, batch: Sequence[Any], batch_idx: int) -> torch.Tensor:
        """Training step for ReKD reusing BaseMomentumMethod training step.

        Args:
            batch (Sequence[Any]): a batch of data in the format of [img_indexes, [X], Y], where
                [X] is a list of size num_crops containing batches of images.
            batch_idx (int): index of the batch.

        Returns:
            torch.Tensor: total loss composed of the MoCo losses of teacher and student, the
                relation loss of the student and the classification loss.
        """

        out = super().training_step(batch, batch_idx)
        class_loss = out["loss"]
        # a key that overflows in 16 bits must not stay in the queues or in the prototypes
        z, momentum_z = out["z"], torch.stack(out["momentum_z"]).nan_to_num(0, 0, 0)

        X = batch[1][: self.num_large_crops]
        teacher_z = [self.teacher_forward(x) for x in X]
        momentum_teacher_z = torch.stack([self.momentum_teacher_forward(x) for x in X])
        momentum_teacher_z = momentum_teacher_z.nan_to_num(0, 0, 0)

        # ------- prototypes of the images, by the teacher's embeddings of both views -------
        warmed_up = self.current_epoch >= self.teacher_warmup_epochs
        if warmed_up and self.queue_full and not self.prototypes.started:
            queued = F.normalize(self.teacher_queue.sum(0).T, dim=-1)
            self.prototypes.start(queued)
            self.queue_ids.copy_(self.prototypes.assign(queued))
        ids = self.prototypes.assign(F.normalize(momentum_teacher_z.sum(0), dim=-1))

        # ------- contrastive and relation losses -------
        queue = self.queue.clone().detach()
        teacher_queue = self.teacher_queue.clone().detach()
        # the teacher's key of a query is that of the same view, hence the flip
        student_dictionary = (momentum_z, queue)
        teacher_dictionary = (momentum_teacher_z.flip(0), teacher_queue)
        # with both, the teacher's dictionary has no relation, which adds nothing there
        terms = {
            "student": [(*student_dictionary, self.own_weight)],
            "teacher": [(*teacher_dictionary, self.own_weight)],
            "both": [(*student_dictionary, self.own_weight), (*teacher_dictionary, 1.0)],
        }[self.dictionary]
        relation_weight = self.relation_weight if self.prototypes.started else 0

        teacher_nce_loss = nce_loss = relation_loss = 0
        # symmetric, the queries of view v meet the keys of view w
        for v, w in [(0, 1), (1, 0)]:
            teacher_nce_loss += 0.5 * mocov2plus_loss_func(
                teacher_z[v], momentum_teacher_z[w], teacher_queue[w], self.teacher_temperature
            )
            nce_loss += 0.5 * mocov2plus_loss_func(z[v], momentum_z[w], queue[w], self.temperature)
            if relation_weight > 0:
                for keys, key_queue, own_weight in terms:
                    relation_loss += (0.5 / len(terms)) * rekd_loss_func(
                        z[v],
                        keys[w],
                        key_queue[w],
                        ids,
                        self.queue_ids,
                        self.num_prototypes,
                        self.temperature,
                        own_weight,
                    )
        loss = (1 - relation_weight) * nce_loss + relation_weight * relation_loss

        metrics = {"train_nce_loss": nce_loss, "train_teacher_nce_loss": teacher_nce_loss}
        if relation_weight > 0:
            # number of samples in the queue that have each prototype
            counts = torch.bincount(self.queue_ids + 1, minlength=self.num_prototypes + 1)[1:]
            metrics["train_relation_loss"] = relation_loss
            metrics["train_positives_per_query"] = counts[ids].float().mean()
            metrics["train_active_prototypes"] = (counts > 0).sum().float()
        self.log_dict(metrics, on_epoch=True, sync_dist=True)

        # ------- update queues and prototypes -------
        momentum_z = gather(momentum_z, dim=1)
        momentum_teacher_z = gather(momentum_teacher_z, dim=1)
        ids = gather(ids)
        self._dequeue_and_enqueue(momentum_z, momentum_teacher_z, ids)
        if self.prototypes.started:
            self.prototypes.update(F.normalize(momentum_teacher_z.sum(0), dim=-1), ids)

        return loss + teacher_nce_loss + class_loss
