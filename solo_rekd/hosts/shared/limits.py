"""Limits of a host's numbers: both hosts accept any, and fail late with a traceback or continue."""

from math import inf

Limits = dict[str, tuple[float, float]]

LIMITS: Limits = {
    "batch_size": (1, inf),
    "max_epochs": (1, inf),
    "num_workers": (0, 1024),  # processes: more exhaust a machine before its first batch
    "lr": (0, inf),
    "classifier_lr": (0, inf),
    "weight_decay": (0, inf),
    "crop_size": (1, inf),
    "resize_to": (1, inf),
    "min_scale": (0, 1),
    "max_scale": (0, 1),
    "brightness": (0, inf),
    "contrast": (0, inf),
    "saturation": (0, inf),
    "hue": (0, 0.5),
    "mean": (0, 1),  # of colours from 0 to 1, not to 255
    "std": (1e-3, 1),
    "proj_hidden_dim": (1, inf),
    "proj_output_dim": (1, inf),
    "queue_size": (1, inf),
    "knn_k": (1, inf),
    "checkpoint_frequency": (1, inf),
    "temperature": (1e-4, inf),
    "limit_train_batches": (0, inf),
    "limit_val_batches": (0, inf),
    "accumulate_grad_batches": (1, inf),
    "check_val_every_n_epoch": (1, inf),
    "gradient_clip_val": (0, inf),
    "num_nodes": (1, inf),
}
KNN_K, KNN_TEMPERATURE = 20, 0.07  # unless they are given
KNN_LIMITS = LIMITS | {
    "k": (1, inf),
    "temperature": (0.02, inf),  # the votes, exp(similarity / temperature), are float32
}
