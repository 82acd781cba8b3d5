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

import torch
import torch.nn as nn
import torch.nn.functional as F


class PrototypeBank(nn.Module):
    def __init__(self, num_prototypes: int, dim: int, momentum: float, patience: int):
        """Prototypes on the hypersphere that follow the embeddings that are assigned to them. They
        are the same in all processes if they are given the same embeddings.

        Args:
            num_prototypes (int): number of prototypes.
            dim (int): number of dimensions of the embeddings.
            momentum (float): momentum of the prototypes towards the mean of their members.
            patience (int): a prototype that has not been chosen by this number of embeddings in a
                row is put onto one of them.
        """

        super().__init__()

        self.momentum = momentum
        self.patience = patience

        self.register_buffer("prototypes", torch.zeros(num_prototypes, dim))
        self.register_buffer("idle", torch.zeros(num_prototypes, dtype=torch.long))
        # number of updates, -1 until the prototypes are started
        self.register_buffer("step", torch.full((1,), -1))

    @property
    def started(self) -> bool:
        """Whether the prototypes have been started."""

        return int(self.step) >= 0

    @torch.no_grad()
    def start(self, embeddings: torch.Tensor, iters: int = 20):
        """Starts the prototypes with spherical k-means, initialized as in k-means++.

        Args:
            embeddings (torch.Tensor): NxD Tensor containing normalized embeddings.
            iters (int, optional): number of iterations of k-means. Defaults to 20.
        """

        similarity = -embeddings.new_ones(len(embeddings))
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = embeddings.to(self.prototypes.dtype)
            for c in range(len(self.prototypes)):
                self.prototypes[c] = self._draw(embeddings, similarity, 1, seed=c)[0]
                similarity = torch.maximum(similarity, embeddings @ self.prototypes[c])

        self.step.zero_()
        for i in range(iters):
            self._move(embeddings, self.assign(embeddings), momentum=0, patience=1, seed=i)

    @torch.no_grad()
    def assign(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Finds the most similar prototype of each embedding, in the precision of the prototypes.

        Args:
            embeddings (torch.Tensor): ...xD Tensor containing normalized embeddings.

        Returns:
            torch.Tensor: ... Tensor containing the prototypes, -1 until they are started.
        """

        with torch.autocast(embeddings.device.type, enabled=False):
            ids = (embeddings.to(self.prototypes.dtype) @ self.prototypes.T).argmax(dim=-1)
        return ids if self.started else ids.fill_(-1)

    @torch.no_grad()
    def update(self, embeddings: torch.Tensor, ids: torch.Tensor):
        """Moves the prototypes towards their new members.

        Args:
            embeddings (torch.Tensor): NxD Tensor containing normalized embeddings.
            ids (torch.Tensor): N Tensor containing the prototypes of the embeddings.
        """

        self.step += 1
        self._move(embeddings, ids, self.momentum, self.patience, seed=int(self.step))

    def _move(
        self, embeddings: torch.Tensor, ids: torch.Tensor, momentum: float, patience: int, seed: int
    ):
        """Moves the prototypes towards the mean of their members, and those that have been idle
        for long onto an embedding.

        Args:
            embeddings (torch.Tensor): NxD Tensor containing normalized embeddings.
            ids (torch.Tensor): N Tensor containing the prototypes of the embeddings.
            momentum (float): momentum of the prototypes.
            patience (int): number of embeddings for which a prototype can be idle.
            seed (int): seed to draw the embeddings.
        """

        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = embeddings.to(self.prototypes.dtype)
            # a matrix product is deterministic on gpu, so that all processes get the same means
            members = F.one_hot(ids, len(self.prototypes)).to(embeddings.dtype)
            counts = members.sum(dim=0)
            means = members.T @ embeddings / counts.clamp(min=1).unsqueeze(1)

        similarity = (embeddings * self.prototypes[ids]).sum(dim=1)
        moved = F.normalize(momentum * self.prototypes + (1 - momentum) * means, dim=1)
        active = counts > 0
        self.prototypes[active] = moved[active]

        self.idle += len(embeddings)
        self.idle[active] = 0
        stale = self.idle >= patience
        if stale.any():
            self.prototypes[stale] = self._draw(embeddings, similarity, int(stale.sum()), seed)
            self.idle[stale] = 0

    @staticmethod
    def _draw(
        embeddings: torch.Tensor, similarity: torch.Tensor, n: int, seed: int
    ) -> torch.Tensor:
        """Draws embeddings to put prototypes onto, the less similar to their own the likelier.

        Args:
            embeddings (torch.Tensor): NxD Tensor containing normalized embeddings.
            similarity (torch.Tensor): N Tensor containing their similarities to their prototypes.
            n (int): number of embeddings to draw.
            seed (int): seed of the draw.

        Returns:
            torch.Tensor: nxD Tensor containing the embeddings.
        """

        generator = torch.Generator().manual_seed(seed)
        weights = (1 - similarity).clamp(min=1e-6).float().cpu()
        idxs = torch.multinomial(weights, n, n > len(weights), generator=generator)
        return embeddings[idxs.to(embeddings.device)]
