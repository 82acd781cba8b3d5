"""How a run of ours reads its images in the current host, and how many classes they have."""

from pathlib import Path
from types import ModuleType

from omegaconf import DictConfig
from solo.data import classification_dataloader, pretrain_dataloader

from solo_rekd.hosts.current.overrides import WITHOUT_DALI
from solo_rekd.hosts.shared import data_sets
from solo_rekd.hosts.shared.changes import RUN
from solo_rekd.images.broken import skip_broken
from solo_rekd.images.data_sets import FOLDERS
from solo_rekd.images.decoded.chosen import prepare_folders
from solo_rekd.images.decoded.flags import AUTO, OFF
from solo_rekd.images.files import list_classes
from solo_rekd.utils.errors import refuse

SKIP_BROKEN = "skip_broken"  # of the section `data`


def read_images(arguments: ModuleType, data: DictConfig) -> None:
    """Prepares the host for the images of a run of ours.

    Args:
        arguments: the host's module that reads the script's configuration.
        data: the section `data` of that configuration.

    Raises:
        UserError: an image cannot be decoded, or a setting is not allowed.
    """
    skip = data.get(SKIP_BROKEN, False)
    if not isinstance(skip, bool):
        raise refuse(f"data.{SKIP_BROKEN}", skip, "true or false")
    if skip:
        if data.dataset not in FOLDERS or data.get("format") == "h5":
            limit = "none but with class folders: the files of other data sets are whole"
            raise refuse(f"data.{SKIP_BROKEN}", skip, limit)
        skip_broken()
    data_sets.choose(pretrain_dataloader, classification_dataloader)
    if data.dataset in FOLDERS and data.get("format", WITHOUT_DALI) == WITHOUT_DALI:
        paths = [data.get("train_path"), data.get("val_path")]
        where, transforms = data.get("decoded_images", OFF), data.get("transforms", AUTO)
        prepare_folders(paths, not data.get("no_labels", False), where, transforms)
    unlabelled = data.get("no_labels", False)
    if data.dataset == "custom" and (unlabelled or Path(data.train_path).is_dir()):
        # the host counts every folder of a data set that is not in this table, hidden ones too
        number = 1 if unlabelled else max(1, len(list_classes(data.train_path)))
        RUN.set(arguments._N_CLASSES_PER_DATASET, "custom", number)
