"""What a host's numbers may be: both hosts take any, and stop late with a traceback, or go on."""

from solo_rekd.errors import INFINITY

Limits = dict[str, tuple[float, float]]

LIMITS: Limits = {
    "batch_size": (1, INFINITY),
    "max_epochs": (1, INFINITY),
    "num_workers": (0, INFINITY),
    "lr": (0, INFINITY),
    "classifier_lr": (0, INFINITY),
    "weight_decay": (0, INFINITY),
    "crop_size": (1, INFINITY),
    "min_scale": (0, 1),
    "max_scale": (0, 1),
    "brightness": (0, INFINITY),
    "contrast": (0, INFINITY),
    "saturation": (0, INFINITY),
    "hue": (0, 0.5),
    "proj_hidden_dim": (1, INFINITY),
    "proj_output_dim": (1, INFINITY),
    "queue_size": (1, INFINITY),
    "temperature": (1e-4, INFINITY),
}
KNN_LIMITS = LIMITS | {
    "k": (1, INFINITY),
    "temperature": (0.02, INFINITY),  # the votes, exp(similarity / temperature), are float32
}
