"""A table of names: a job's field, the classic host's flag, and the current host's key."""

from typing import NamedTuple


class Name(NamedTuple):
    """The names of a setting in both hosts.

    Attributes:
        classic: the flag of solo-learn 1.0.2, without its dashes.
        current: the dotted key of solo-learn's main branch.
    """

    classic: str
    current: str


NETWORK = {"name": Name("encoder", "backbone.name")}
IMAGES = {
    "dataset": Name("dataset", "data.dataset"),
    "workers": Name("num_workers", "data.num_workers"),
    "dali": Name("dali_device", "dali.device"),  # beside which both hosts have a switch
}
OPTIMIZER = {
    "name": Name("optimizer", "optimizer.name"),
    "weight_decay": Name("weight_decay", "optimizer.weight_decay"),
    "schedule": Name("scheduler", "scheduler.name"),
    "decay_epochs": Name("lr_decay_steps", "scheduler.lr_decay_steps"),
}
# only for pretraining; neither host scales these rates by the batch
WARMUP = {
    "warmup_epochs": Name("warmup_epochs", "scheduler.warmup_epochs"),
    "warmup_start_lr": Name("warmup_start_lr", "scheduler.warmup_start_lr"),
    "min_lr": Name("min_lr", "scheduler.min_lr"),
}
JOB = {
    "batch_size": Name("batch_size", "optimizer.batch_size"),
    "epochs": Name("max_epochs", "max_epochs"),
}
PRETRAINING = {
    "method": Name("method", "method"),
    "classifier_lr": Name("classifier_lr", "optimizer.classifier_lr"),
    "student_checkpoint": Name("student_checkpoint", "student_checkpoint"),
    "seed": Name("seed", "seed"),
}
VIEW = {  # the current host's keys are those of one entry of `augmentations`
    "crops": Name("num_crops_per_aug", "num_crops"),
    "size": Name("crop_size", "crop_size"),
    "min_scale": Name("min_scale", "rrc.crop_min_scale"),
    "max_scale": Name("max_scale", "rrc.crop_max_scale"),
    "jitter": Name("color_jitter_prob", "color_jitter.prob"),
    "brightness": Name("brightness", "color_jitter.brightness"),
    "contrast": Name("contrast", "color_jitter.contrast"),
    "saturation": Name("saturation", "color_jitter.saturation"),
    "hue": Name("hue", "color_jitter.hue"),
    "grayscale": Name("gray_scale_prob", "grayscale.prob"),
    "blur": Name("gaussian_prob", "gaussian_blur.prob"),
    "solarization": Name("solarization_prob", "solarization.prob"),
    "flip": Name("horizontal_flip_prob", "horizontal_flip.prob"),
}
# entries of `Pretraining.settings` that are not settings of the method
MOMENTUM = {
    "base_tau_momentum": Name("base_tau_momentum", "momentum.base_tau"),
    "final_tau_momentum": Name("final_tau_momentum", "momentum.final_tau"),
    "momentum_classifier": Name("momentum_classifier", "momentum.classifier"),
}
DALI_DEVICES = ("cpu", "gpu")
DALI = Name("dali", "data.format")  # the switch: True in one, `dali` in the other
# entries of a job's `host`; Lightning's flags, which have the same name in both, are not listed
HOST = {
    name.classic: name
    for name in (
        Name("name", "name"),
        Name("project", "wandb.project"),
        Name("entity", "wandb.entity"),
        Name("wandb", "wandb.enabled"),
        Name("offline", "wandb.offline"),
        Name("knn_eval", "knn_eval.enabled"),
        Name("knn_k", "knn_eval.k"),
        Name("save_checkpoint", "checkpoint.enabled"),
        Name("checkpoint_dir", "checkpoint.dir"),
        Name("checkpoint_frequency", "checkpoint.frequency"),
        Name("auto_resume", "auto_resume.enabled"),
        Name("auto_resumer_max_hours", "auto_resume.max_hours"),
        Name("auto_umap", "auto_umap.enabled"),
        Name("auto_umap_dir", "auto_umap.dir"),
        Name("auto_umap_frequency", "auto_umap.frequency"),
        Name("dali_device", "dali.device"),
        Name("encode_indexes_into_labels", "dali.encode_indexes_into_labels"),
        Name("gpus", "devices"),  # a tuple of their numbers
        Name("zero_init_residual", "backbone.kwargs.zero_init_residual"),
        Name("patch_size", "backbone.kwargs.patch_size"),
        Name("eta_lars", "optimizer.kwargs.eta"),
        Name("grad_clip_lars", "optimizer.kwargs.clip_lr"),
        Name("exclude_bias_n_norm", "optimizer.kwargs.exclude_bias_n_norm"),
        Name("memory_format", "memory_format"),
        Name("compile", "compile"),
    )
}

# keys of the current host without a field of their own in a job
OTHERS = (
    Name("devices", "devices"),  # not `gpus`
    Name("lr", "optimizer.lr"),
    Name("train_dir", "data.train_path"),
    Name("val_dir", "data.val_path"),
    Name("no_labels", "data.no_labels"),
    Name("skip_broken", "data.skip_broken"),
    Name("crop_size", "data.augmentations.crop_size"),
    Name("mean", "data.augmentations.mean"),
    Name("std", "data.augmentations.std"),
)
CURRENT_TO_CLASSIC = {
    name.current: name.classic
    for table in (NETWORK, IMAGES, OPTIMIZER, WARMUP, JOB, PRETRAINING, MOMENTUM, HOST)
    for name in table.values()
} | {name.current: name.classic for name in OTHERS}


def as_flag(key: str) -> str:
    """Returns our commands' flag for a key of the current host; the key if there is none."""
    return CURRENT_TO_CLASSIC.get(key) or key.removeprefix("method_kwargs.")
