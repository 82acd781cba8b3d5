"""Adapter to solo-learn's main branch for `hosts/jobs.py`: its unedited scripts do the jobs.

A job becomes Hydra overrides on one of our recipes, and `main_pretrain.py` or `main_linear.py`
runs with them in this process.
"""

import inspect
import shlex
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from solo.args import linear as linear_settings
from solo.args import pretrain as pretrain_settings
from solo.methods import METHODS
from solo.methods.linear import LinearModel

from solo_rekd.backbones import HOST_NAMES, settle_stem
from solo_rekd.checkpoints.formats import CURRENT_HOST
from solo_rekd.checkpoints.read import read_file
from solo_rekd.checkpoints.run_record import KEY, read_settings, record_of, settings_of
from solo_rekd.checkpoints.run_settings import CIFAR, read_student
from solo_rekd.checkpoints.split import split_state_dict
from solo_rekd.hosts.current import (
    backbones,
    method_settings,
    overrides,
    plugin,
    recipes,
    watch,
)
from solo_rekd.hosts.current.callbacks import LinearAccuracy
from solo_rekd.hosts.current.machine import count_processes
from solo_rekd.hosts.current.run import RULE
from solo_rekd.hosts.current.script import mistakes, refusals, run_script
from solo_rekd.hosts.jobs import (
    Accuracy,
    Host,
    Job,
    LinearEvaluation,
    Pretrained,
    Pretraining,
    Progress,
)
from solo_rekd.hosts.shared import ownership
from solo_rekd.hosts.shared.resume import decisive
from solo_rekd.objectives import OBJECTIVES
from solo_rekd.utils.errors import UserError, nearest_first, refuse
from solo_rekd.utils.files import missing_folders, remove_empty
from solo_rekd.utils.versions import commit_of

PRETRAIN, LINEAR = "main_pretrain.py", "main_linear.py"
RECIPES = {PRETRAIN: "protocol", LINEAR: "linear"}
READ_BY_SCRIPT = (".ckpt", ".pth", ".pt")
# in a process of our commands: no logging of Hydra's, the bar is ours
QUIET = ["hydra/job_logging=none", "hydra/hydra_logging=none"]


def connect(root: Path) -> Host:
    """Makes every run of this process ours, and activates the plug-in in the host.

    Args:
        root: folder of a checkout, with the package `solo` and its scripts.

    Raises:
        UserError: the scripts are missing.
    """
    if not (root / PRETRAIN).is_file():
        raise UserError(
            f"{root} holds solo-learn's main branch without its scripts ({PRETRAIN}): "
            "give --host DIR, the folder of a checkout"
        )
    ownership.claim()
    plugin.activate()
    recipes.store_defaults()
    return MainHost(root)


class MainHost:
    """See `Host`; `root` is the folder of the checkout."""

    name = "main"

    def __init__(self, root: Path) -> None:
        self.root = root

    def methods(self) -> Mapping[str, Collection[str]]:
        """Returns the names of all methods, each with the settings that it takes."""
        return method_settings.takes(self.root)

    def check(self, job: Job) -> Mapping[str, Any]:
        """Reads a job as its run will, see `Host`."""
        cfg = self._compose(job)
        with refusals():
            if isinstance(job, Pretraining):
                cfg = pretrain_settings.parse_cfg(cfg)
                if cfg.method in OBJECTIVES:
                    cfg = METHODS[cfg.method].add_and_assert_specific_cfg(cfg)
                else:
                    cfg = _read_settings(cfg)
            else:
                cfg = LinearModel.add_and_assert_specific_cfg(linear_settings.parse_cfg(cfg))
        settings: Any = OmegaConf.to_container(cfg, resolve=True)
        settings.pop(KEY, None)  # of a run
        return decisive(settings, RULE)

    def pretrain(
        self, job: Pretraining, folder: Path | None, resume: Path | None, progress: Progress
    ) -> Pretrained:
        """Pretrains, see `Host`."""
        self.check(job)
        more: dict[str, Any] = {"resume_from_checkpoint": str(resume)} if resume else {}
        run = self._run(job, folder, more, progress)
        trainer = run.trainer
        saved = _last_checkpoint(trainer) or resume
        images = run.counter.batches * job.batch_size * trainer.world_size
        return Pretrained(
            checkpoint=Path(saved) if folder and saved else None,
            seconds=run.seconds,
            images_per_second=images / run.seconds,
            metrics=run.metrics,
        )

    def linear(self, job: LinearEvaluation, folder: Path | None, progress: Progress) -> Accuracy:
        """Evaluates linearly, see `Host`."""
        pl.seed_everything(job.seed)  # the host's script sets none
        with readable(job) as of_host:
            trainer = self._run(of_host, folder, {}, progress).trainer
        last = next(each for each in trainer.callbacks if isinstance(each, LinearAccuracy))
        top1, top5 = last.top()
        optimizer = job.optimizer
        return Accuracy(
            top1,
            top5,
            last.protocol(trainer, job.epochs, optimizer.name, optimizer.lr, job.batch_size),
        )

    def command(self, job: Job) -> str:
        """Returns the command that repeats a job, with the host's own script."""
        script = _script(job)
        words = ["--config-name", RECIPES[script], *self._words(job)]
        return shlex.join(["python", str(self.root / script), *words])

    def versions(self) -> Mapping[str, str]:
        """Returns the host's commit and the version of Lightning."""
        return {"solo-learn": f"main{_commit(self.root)}", "lightning": pl.__version__}

    def _run(
        self, job: Job, folder: Path | None, more: Mapping[str, Any], progress: Progress
    ) -> watch.Watch:
        """Runs the script of a job, and returns its `Watch`."""
        script = _script(job)
        quiet = not job.host.get("enable_progress_bar", True)
        watched = watch.Watch(
            job.seed, replace(progress, title=None) if quiet else progress, script == PRETRAIN
        )
        with _logs(job, folder) as logs:
            settings = {
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "default_root_dir": logs,
                **more,
            }
            if folder is not None:
                settings |= {"checkpoint.enabled": True, "checkpoint.dir": str(folder)}
            words = [*self._words(job), *overrides.words_of(settings), *QUIET]
            argv = ["--config-name", RECIPES[script], *words]
            with watch.watching(watched), mistakes():
                run_script(self.root / script, argv, watched)
        return watched

    def _words(self, job: Job) -> list[str]:
        return overrides.words_of(self._settings(job))

    def _settings(self, job: Job) -> dict[str, Any]:
        trainer = inspect.signature(pl.Trainer.__init__).parameters
        trained = {} if isinstance(job, Pretraining) else read_student(Path(job.checkpoint))
        recipe: Any = OmegaConf.load(_recipe(job))
        side = job.images.size or trained.get("crop_size") or recipe.get("crop_size", 224)
        view: Mapping[str, Any] = {}
        of_method: Mapping[str, Any] = {}
        by = None
        if isinstance(job, Pretraining):
            self._refuse_method(job)
            content: Any = OmegaConf.to_container(recipe, resolve=True)
            view = content["augmentations"][0]
            of_method = method_settings.of_recipe(self.root, job.method, job.network.name, side)
        else:
            by = read_settings(Path(job.checkpoint)).get("method")
        around = overrides.Surroundings(
            view=view,
            method=of_method,
            trainer=[name for name in trainer if name != "self"],
            kwargs=_backbone_kwargs(job, side, trained),
            trained_by=by,
        )
        of_host = overrides.host_settings(job.host, around.trainer)
        processes = count_processes(of_host) * int(of_host.get("num_nodes") or 1)
        settings = overrides.settings_of(job, around._replace(processes=processes))
        if "checkpoint.enabled" not in of_host:
            settings["checkpoint.enabled"] = False
        return settings

    def _refuse_method(self, job: Pretraining) -> None:
        """Raises a UserError for an unknown method or an unknown setting of it."""
        methods = self.methods()
        if job.method not in methods:
            raise refuse("method", job.method, nearest_first(job.method, list(methods)))
        for name, value in job.settings.items():
            if name not in methods[job.method]:
                allowed = nearest_first(name, list(methods[job.method]))
                raise refuse(name, value, f"a setting of {job.method}: {allowed}")

    def _compose(self, job: Job) -> DictConfig:
        recipe = _recipe(job)
        with mistakes(), initialize_config_dir(str(recipe.parent), version_base="1.2"):
            cfg = compose(recipe.stem, self._words(job))
        OmegaConf.set_struct(cfg, False)  # as the host's scripts do
        return cfg


@contextmanager
def readable(job: LinearEvaluation) -> Iterator[LinearEvaluation]:
    """Yields the job with a checkpoint that the host's script can read, perhaps a converted copy.

    A file in no known format is kept, because the script's preparation reports why it is refused.
    """
    content = _in_format(Path(job.checkpoint))
    if content is None:
        yield job
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = str(Path(folder) / "weights.ckpt")
        torch.save(content, copy)
        try:
            yield replace(job, checkpoint=copy)
        except UserError as error:
            raise UserError(str(error).replace(copy, job.checkpoint)) from error


def _in_format(path: Path) -> dict[str, Any] | None:
    """Converts the content of a file to the host's format; None if the host can read the file."""
    try:
        read = read_file(path)
        split = split_state_dict(read.content)
    except UserError:
        return None
    if split.format == CURRENT_HOST and path.suffix in READ_BY_SCRIPT and read.is_plain:
        return None
    state = {f"backbone.{name}": tensor for name, tensor in split.backbone.items()}
    # the format's sign, of which the script reads nothing
    state["classifier.weight"] = torch.zeros(1)
    settings = settings_of(read.content, path)
    return {"state_dict": state, KEY: {**record_of(read.content), "settings": settings}}


def _read_settings(cfg: DictConfig) -> DictConfig:
    """Returns the settings as the host's method completes them."""
    build = METHODS[cfg.method]
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):  # shapes alone
                return build(cfg).cfg
        except RuntimeError:  # some networks read numbers: MAE's by timm 1.0.20 and older
            return build(cfg).cfg


@contextmanager
def _logs(job: Job, folder: Path | None) -> Iterator[str]:
    """Yields the folder of Lightning's own logs: the job's, or a temporary one.

    A run that fails before it has written anything leaves no empty folder.
    """
    chosen = job.host.get("default_root_dir") or folder
    if not chosen:
        with tempfile.TemporaryDirectory() as logs:
            yield logs
        return
    made = missing_folders(Path(chosen))  # by the logger, before any callback
    try:
        yield str(chosen)
    except BaseException:
        remove_empty(made)
        raise


def _script(job: Job) -> str:
    return PRETRAIN if isinstance(job, Pretraining) else LINEAR


def _recipe(job: Job) -> Path:
    name = f"{RECIPES[_script(job)]}.yaml"
    return next(path for each in recipes.folders() if (path := each.absolute() / name).is_file())


def _backbone_kwargs(job: Job, side: int, trained: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of the backbone's factory that the plug-in does not fill in.

    Args:
        job: job with the backbone.
        side: side of the images, in px.
        trained: for a linear evaluation, what its checkpoint records about the student.

    Raises:
        UserError: the network has no such stem.
    """
    name, stem = job.network.name, job.network.stem
    if stem == "auto" and trained.get("encoder") == name:
        stem = trained.get("stem", "auto")
    if name not in HOST_NAMES:
        if name not in backbones.HOST_BACKBONES:
            return {} if stem == "auto" else {"stem": stem}
        if stem != "auto":
            raise refuse("stem", stem, f"auto with {name}, which has one stem only")
        return {"img_size": side} if name.startswith(backbones.SEES_SIZE) else {}
    chosen = settle_stem(name, side, stem)
    if job.images.dataset not in CIFAR:
        return {"stem": chosen}
    if chosen != "small":
        raise refuse("stem", stem, f"small with {job.images.dataset}, which {name} has there")
    return {}


def _last_checkpoint(trainer: Any) -> str | None:
    found = [getattr(each, "last_ckpt", None) for each in trainer.callbacks]
    return next((path for path in found if path), None)


def _commit(root: Path) -> str:
    commit = commit_of(root)
    return ", no commit known" if commit is None else f" at {commit}"
