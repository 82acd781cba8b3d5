"""ReKD without a relation is the host's MoCo v2+, in the host itself."""

import pytest
import torch

from solo_rekd import hosts


@pytest.fixture(scope="module")
def methods():
    hosts.activate()
    from solo.methods import METHODS

    return METHODS


SETTINGS = {
    "encoder": "resnet18",
    "num_classes": 4,
    "backbone_args": {"cifar": True, "zero_init_residual": False},
    "max_epochs": 1,
    "batch_size": 4,
    "optimizer": "sgd",
    "lars": False,
    "lr": 0.1,
    "weight_decay": 0,
    "classifier_lr": 0.1,
    "exclude_bias_n_norm": False,
    "accumulate_grad_batches": 1,
    "extra_optimizer_args": {},
    "scheduler": "none",
    "min_lr": 0,
    "warmup_start_lr": 0,
    "warmup_epochs": 0,
    "num_large_crops": 2,
    "num_small_crops": 0,
    "base_tau_momentum": 0.99,
    "final_tau_momentum": 1.0,
    "momentum_classifier": False,
    "crop_size": [32],
    "proj_output_dim": 8,
    "proj_hidden_dim": 16,
    "temperature": 0.2,
    "queue_size": 12,
}


def step(method, batch):
    """One training step without a trainer: loss, logged values, gradients of the student."""
    logged = {}
    method.log = lambda name, value, **kw: logged.update({name: value})
    method.log_dict = lambda values, **kw: logged.update(values)
    method.train()
    loss = method.training_step(batch, 0)
    loss.backward()
    return loss, logged, {n: p.grad for n, p in method.encoder.named_parameters()}


def test_one_step_from_the_same_weights_gives_the_hosts_loss_and_gradients(methods):
    torch.manual_seed(0)
    moco = methods["mocov2plus"](**SETTINGS)
    rekd = methods["rekd"](
        **SETTINGS, relation_weight=0.0, teacher="resnet18", teacher_stem="imagenet",
        num_prototypes=4,
    )  # fmt: skip
    for name in ("encoder", "momentum_encoder", "classifier"):
        getattr(rekd, name).load_state_dict(getattr(moco, name).state_dict())
    for name in ("projector", "momentum_projector"):
        getattr(rekd.objective, name).load_state_dict(getattr(moco, name).state_dict())
    for view, queue in enumerate(rekd.objective.queues):
        queue["student"].copy_(moco.queue[view].T)
    images = [torch.randn(4, 3, 32, 32) for _ in range(2)]
    batch = [torch.arange(4), images, torch.arange(4)]

    moco_loss, _, moco_gradients = step(moco, batch)
    loss, logged, gradients = step(rekd, batch)
    teacher_terms = logged["train_teacher_nce_loss"] + logged["train_teacher_class_loss"]
    torch.testing.assert_close(loss - teacher_terms, moco_loss, rtol=0, atol=1e-6)
    torch.testing.assert_close(gradients, moco_gradients, rtol=0, atol=1e-6)
    # and both queues hold the same keys afterwards
    for view, queue in enumerate(rekd.objective.queues):
        torch.testing.assert_close(queue["student"], moco.queue[view].T)


def test_only_two_views_are_taken(methods):
    from solo_rekd.utils.errors import UserError

    three = {"num_large_crops": 3, "num_crops_per_aug": [3]}
    with pytest.raises(UserError, match=r"num_crops_per_aug=\[3\]"):
        methods["rekd"](**SETTINGS | three, teacher="resnet18", num_prototypes=4)
