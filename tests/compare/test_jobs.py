import os
from collections.abc import Mapping

import pytest

from solo_rekd.compare.arms import UNTRAINED, parse_arm
from solo_rekd.compare.checks import refuse_jobs
from solo_rekd.compare.jobs import linear_job, refuse_settings, student_job, teacher_job
from solo_rekd.compare.plan import Run
from solo_rekd.hosts.classic.flags import linear_flags, pretraining_flags
from solo_rekd.hosts.jobs import Progress, to_json
from solo_rekd.objectives import OBJECTIVES
from solo_rekd.utils.errors import UserError

LEARNING = ["mocov2plus", "simclr", *OBJECTIVES]


def as_dict(words: list[str]) -> Mapping[str, str]:
    """The value of each flag; a flag given twice is an error here."""
    values: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            assert word[2:] not in values
            values[word[2:]] = last = []
        else:
            last.append(word)
    return {name: " ".join(value) for name, value in values.items()}


@pytest.fixture(scope="module")
def student(methods):
    """The job of an arm: student(plan, "rekd", seed=3, checkpoint="t.ckpt")."""

    def make(plan, arm, seed=0, checkpoint=None):
        return student_job(plan, Run(parse_arm(arm), seed), checkpoint, methods)

    return make


@pytest.fixture(scope="module")
def student_flags(student):
    """The same as the classic host's flags."""

    def make(*args, **kwargs):
        return as_dict(pretraining_flags(student(*args, **kwargs)))

    return make


def test_an_arm_with_a_preset_has_its_settings(plan, student_flags):
    found = student_flags(plan(), "seed:lightly+temperature=0.1", 3, "t.ckpt")
    wanted = {"target_temperature": "0.07", "mixup": "1.0", "projector": "linear"}
    wanted |= {"queue_first": "on", "temperature": "0.1", "teacher_mode": "frozen", "name": "seed"}
    assert wanted.items() <= found.items()


def judged_flags(plan, seed=0, **who):
    return as_dict(linear_flags(linear_job(plan, seed, "s.ckpt", **who)))


def test_what_every_arm_shares(plan, student_flags):
    every = [student_flags(plan(), method, 3, "t.ckpt") for method in LEARNING]
    shared = set(every[0].items()).intersection(*(flags.items() for flags in every))
    expected = (
        "dataset=custom data_dir=/nowhere train_dir=train val_dir=val num_workers=0 crop_size=32 "
        "batch_size=8 encoder=alexnet num_crops_per_aug=2 brightness=0.4 contrast=0.4 "
        "saturation=0.2 hue=0.1 gray_scale_prob=0.2 min_scale=0.2 gaussian_prob=0.0 optimizer=sgd "
        "color_jitter_prob=0.8 solarization_prob=0.0 horizontal_flip_prob=0.5 max_scale=1.0 "
        "scheduler=warmup_cosine lr=0.3 classifier_lr=0.1 weight_decay=0.0001 warmup_epochs=2 "
        "warmup_start_lr=0.0046875 max_epochs=20 seed=3 "
        "proj_hidden_dim=2048 proj_output_dim=128"
    )
    pairs = {tuple(pair.split("=")) for pair in expected.split()}
    assert shared == pairs | {("mean", "0.5 0.4 0.3"), ("std", "0.2 0.2 0.2")}


def test_queue_and_momentum_are_one_for_all_that_have_them(plan, student_flags):
    for method in LEARNING:
        flags = student_flags(plan(), method, checkpoint="t.ckpt")
        assert (flags["method"], flags["name"]) == (method, method)
        own = [flags.get(f"{name}_tau_momentum") for name in ("base", "final")]
        if method == "simclr":
            assert ("queue_size" in flags, own) == (False, [None, None])
        else:
            assert (flags["queue_size"], own) == ("128", ["0.99", "0.999"])


def test_a_method_of_ours_keeps_its_own_temperature(plan, student_flags):
    given = {m: student_flags(plan(), m, checkpoint="t").get("temperature") for m in LEARNING}
    assert {m for m, value in given.items() if value} == {"mocov2plus", "simclr"}
    assert given["simclr"] == given["mocov2plus"] == "0.2"


def test_an_arm_with_a_learning_rate_of_its_own(plan, student_flags, names_only):
    for method in LEARNING:
        flags = student_flags(plan(), f"{method}+lr=0.032", checkpoint="t.ckpt")
        assert flags["lr"] == "0.032"
        assert float(flags["warmup_start_lr"]) == pytest.approx(0.032 * 8 / 256 / 2)
    refuse_settings(plan(arms="rekd+lr=0.032,simclr+lr=0.032"), names_only)


@pytest.mark.parametrize(("epochs", "standing"), [(2, "2"), (200, "5")])
def test_the_untrained_student_is_mocos_that_stands_still(plan, epochs, standing, student_flags):
    still = student_flags(plan(epochs=epochs), UNTRAINED, seed=3)
    told = {name: still[name] for name in ("method", "name", "lr", "scheduler", "max_epochs")}
    assert told == {
        "method": "mocov2plus",
        "name": UNTRAINED,
        "lr": "0.0",
        "scheduler": "none",
        "max_epochs": standing,
    }
    moving = student_flags(plan(), "mocov2plus", seed=3)
    assert still["encoder"] == moving["encoder"]
    assert still["seed"] == moving["seed"]


def test_a_frozen_teacher_is_the_shared_one(plan, student_flags):
    flags = student_flags(plan(), "disco", checkpoint="/t.ckpt")
    told = {name: value for name, value in flags.items() if name.startswith("teacher")}
    shared = {"teacher": "resnet50", "teacher_mode": "frozen", "teacher_checkpoint": "/t.ckpt"}
    assert told == shared | {"teacher_stem": "auto"}


def test_an_arm_learns_from_the_network_that_the_report_judges(plan, student_flags):
    made = plan(teacher="mobilenet_v3_large", teacher_stem="imagenet", crop_size=32)
    judged = judged_flags(made, of_teacher=True)
    assert judged["stem"] == student_flags(made, "rekd", checkpoint="t")["teacher_stem"]


FILE = "teacher_checkpoint"


def test_a_file_of_its_own_has_a_stem_of_its_own(plan, student_flags):
    made = plan(teacher_stem="imagenet", teacher_checkpoint=os.path.abspath("plans.pt"))
    for file, stem in (("t.pt", None), ("plans.pt", "imagenet")):
        for arm in (f"rekd+teacher_checkpoint={file}", f"seed+teacher_mode=online+{FILE}={file}"):
            assert student_flags(made, arm).get("teacher_stem") == stem


def test_a_frozen_teacher_of_its_own(plan, student_flags):
    arm = "disco+teacher=resnet18+teacher_checkpoint=/own.pt"
    flags = student_flags(plan(), arm)
    assert (flags["teacher"], flags["teacher_checkpoint"]) == ("resnet18", "/own.pt")
    assert flags["teacher_mode"] == "frozen"


def test_an_online_teacher_starts_anew_with_the_plans_stem(plan, student_flags):
    flags = student_flags(plan(teacher_stem="imagenet"), "seed+teacher_mode=online")
    told = {name: value for name, value in flags.items() if name.startswith("teacher")}
    online = {"teacher": "resnet50", "teacher_mode": "online", "teacher_stem": "imagenet"}
    assert told == online


@pytest.mark.parametrize(
    ("epochs", "arm", "warmup"),
    [
        (20, "rekd+teacher_mode=online", None),  # the configuration's default follows the epochs
        (20, "rekd+teacher_mode=online+teacher_warmup_epochs=7", "7"),
        (20, "rekd", None),
        (20, "rekd+teacher_mode=online+teacher_checkpoint=t", None),
    ],
)
def test_an_online_teacher_trains_alone_as_the_arm_says(epochs, arm, warmup, plan, student_flags):
    flags = student_flags(plan(epochs=epochs), arm, checkpoint="t")
    assert flags.get("teacher_warmup_epochs") == warmup


@pytest.mark.parametrize(("epochs", "warmup"), [(1, "1"), (11, "2"), (100, "10"), (800, "10")])
def test_the_learning_rate_rises_for_a_tenth(epochs, warmup, plan, student_flags):
    assert student_flags(plan(epochs=epochs), "simclr")["warmup_epochs"] == warmup


def learning_rates(plan, epochs, student):
    """The host's learning rate of each epoch, from its own scheduler."""
    import torch
    from pl_bolts.optimizers.lr_scheduler import LinearWarmupCosineAnnealingLR

    job = student(plan(epochs=epochs, batch_size=64, queue_size=128), "simclr").optimizer
    scaled = job.lr
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=scaled)
    scheduler = LinearWarmupCosineAnnealingLR(
        optimiser, job.warmup_epochs, epochs, warmup_start_lr=job.warmup_start_lr
    )
    rates = []
    for _ in range(epochs):
        rates.append(optimiser.param_groups[0]["lr"] / scaled)
        optimiser.step()
        scheduler.step()
    return rates


@pytest.mark.filterwarnings("ignore")
def test_no_epoch_of_a_short_training_is_lost_to_the_warm_up(plan, student):
    assert learning_rates(plan, 4, student)[:2] == pytest.approx([1, 1])
    assert learning_rates(plan, 20, student)[:3] == pytest.approx([0.5, 1, 1])


@pytest.mark.parametrize(("side", "blur"), [(64, "0.0"), (65, "0.5")])
def test_small_images_are_not_blurred(side, blur, plan, student_flags):
    assert student_flags(plan(crop_size=side), "simclr")["gaussian_prob"] == blur


def test_the_arm_wins_over_extra_words_and_these_over_the_plan(plan, student):
    words = ("--min_scale", "0.4", "method_kwargs.temperature=0.3", "optimizer.name=lars")
    job = student(plan(extra=words), "simclr+temperature=0.1")
    assert job.views[0].min_scale == 0.4
    assert (job.settings["temperature"], job.optimizer.name) == ("0.1", "lars")
    assert student(plan(extra=words), "simclr").settings["temperature"] == 0.3


def test_extra_words_do_not_move_the_untrained_student(plan, student):
    extra = ("--scheduler", "warmup_cosine")  # which starts above a rate of 0
    optimizer = student(plan(extra=extra), UNTRAINED).optimizer
    assert (optimizer.schedule, optimizer.lr, optimizer.weight_decay) == ("none", 0, 0)


def test_the_teacher_is_trained_as_the_arms_are(plan, student_flags, methods):
    made = plan(extra=("--lars",), teacher="resnet18")
    teacher = as_dict(pretraining_flags(teacher_job(made, methods)))
    student = student_flags(made, "mocov2plus")
    differing = {name for name, _ in set(teacher.items()) ^ set(student.items())}
    assert differing == {"encoder", "stem", "max_epochs", "warmup_epochs", "warmup_start_lr"}
    assert teacher["encoder"] == "resnet18"
    assert teacher["stem"] == "small"
    assert (teacher["max_epochs"], teacher["warmup_epochs"]) == ("30", "3")


@pytest.mark.parametrize(
    ("network", "asked", "side", "stem"),
    [
        ("resnet18", "auto", 64, "small"),
        ("resnet50", "auto", 65, "imagenet"),
        ("resnet50", "imagenet", 32, "imagenet"),
        ("alexnet", "auto", 32, None),
        ("alexnet", "imagenet", 224, "imagenet"),
    ],
)
def test_the_hosts_networks_are_given_their_stem(network, asked, side, stem, plan, student_flags):
    made = plan(student=network, stem=asked, crop_size=side)
    assert student_flags(made, "simclr").get("stem") == stem
    assert judged_flags(made).get("stem") == stem


def test_evaluation_sees_the_images_as_pretraining_does(plan, student_flags):
    pretrained, linear = student_flags(plan(), "simclr", seed=4), judged_flags(plan(), 4)
    for name in "data_dir train_dir val_dir encoder crop_size mean std batch_size".split():
        assert linear[name] == pretrained[name]
    own = ("optimizer", "scheduler", "weight_decay", "lr", "max_epochs", "seed")
    assert [linear[name] for name in own] == ["sgd", "cosine", "0.0", "0.1", "5", "4"]
    assert linear["check_val_every_n_epoch"] == "5"


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_dali_loads_for_every_job_of_a_host(device, plan, student, methods):
    made = plan(dali=device)
    jobs = [student(made, method, checkpoint="t.ckpt") for method in (UNTRAINED, *LEARNING)]
    jobs += [teacher_job(made, methods), linear_job(made, 0, "s.ckpt")]
    for job in jobs:
        assert to_json(job)["images"]["dali"] == device
        words = pretraining_flags(job) if hasattr(job, "method") else linear_flags(job)
        assert as_dict(words).items() >= {"dali": "", "dali_device": device}.items()


def test_without_dali_no_job_names_it(plan, student_flags):
    assert not [name for name in student_flags(plan(), "simclr") if "dali" in name]


def test_the_teacher_is_judged_as_a_student_is(plan):
    student, teacher = judged_flags(plan()), judged_flags(plan(), of_teacher=True)
    assert teacher == student | {"encoder": "resnet50", "stem": "small"}


def test_a_method_of_the_host_is_given_what_it_takes(plan, student):
    settings = student(plan(), "byol+pred_hidden_dim=64").settings
    assert settings == {"pred_hidden_dim": "64"}  # all else is the host's default


@pytest.mark.parametrize("arm", ["untrained", "simclr", "rekd"])
def test_memory_format_and_compilation_are_one_for_all(arm, plan, student_flags):
    fast = plan(memory_format="contiguous", compile=True)
    assert student_flags(fast, arm)["memory_format"] == "contiguous"
    assert "compile" in student_flags(fast, arm)
    judged = judged_flags(fast)
    assert judged["memory_format"] == "contiguous" and "compile" not in judged
    for default in (student_flags(plan(), arm), judged_flags(plan())):
        assert not {"memory_format", "compile"} & default.keys()


def test_a_job_names_no_flag(plan, student):
    text = str(to_json(student(plan(extra=("--precision", "16")), "rekd", checkpoint="t.ckpt")))
    assert "--" not in text


@pytest.mark.parametrize(
    ("arms", "changes", "message"),
    [
        ("rekd+own_weight=2", {}, "rekd+own_weight=2: own_weight=2.0 is not allowed"),
        ("disco+consistency_weight=a", {}, "consistency_weight='a' is not allowed: expected a num"),
        ("rekd+teacher_mode=on", {}, "teacher_mode='on' is not allowed: expected online, frozen"),
        ("bingo+teacher_mode=online", {}, "teacher_mode='online' is not allowed: expected frozen"),
        (
            "rekd+relation_view=views+num_prototypes=100",
            {"queue_size": 64},
            "num_prototypes=100 is not allowed: expected at most queue_s",
        ),
        ("simclr", {"queue_size": 100}, "queue_size=100 is not allowed: expected a multiple of "),
        ("mocov2plus+queue_size=12", {}, "queue_size='12' is not allowed: expected a multiple of"),
        ("simclr", {"extra": ("--crop_size=64",)}, "crop_size after -- is set by the compari"),
        ("simclr", {"extra": ("--max_ep", "3")}, "max_ep after -- is set by the comparison"),
        ("simclr", {"extra": ("--se=3",)}, "se after -- is set by the comparison"),
        ("simclr", {"extra": ("--gpus", "0,1")}, "gpus after -- is set by the comparison"),
        ("rekd", {"extra": ("--teacher_mode", "online")}, "teacher_mode after -- is set by the"),
        ("simclr", {"extra": ("max_epochs=3",)}, "max_epochs after -- is set by the comparison"),
        ("simclr", {"extra": ("optimizer.lr=3",)}, "optimizer.lr after -- is set by the compari"),
        ("simclr", {"extra": ("3",)}, "3 after -- belongs to no flag"),
        ("simclr", {"extra": ("-x",)}, "-x after -- belongs to no flag"),
        ("mocov3", {}, "methods='mocov3' is not allowed: expected mocov2plus, or another of"),
        ("rekt", {}, "methods='rekt' is not allowed: expected rekd, or another of untrained"),
        ("rekd+dictonary=teacher", {}, "rekd+dictonary='teacher' is not allowed: expected dict"),
        ("simclr+queue_size=8", {}, "simclr+queue_size='8' is not allowed: expected lr, proj_hi"),
        ("untrained+lr=1", {}, "untrained+lr='1' is not allowed: expected no setting"),
        ("simclr", {"extra": ("--dali",)}, "dali after -- is set by the comparison"),
        ("simclr", {"extra": ("data.format=dali",)}, "data.format after -- is set by the compari"),
        ("simclr", {"extra": ("--dali_device", "cpu")}, "dali_device after -- is set by the comp"),
        ("simclr", {"extra": ("--auto_resume",)}, "auto_resume after -- is set by the compari"),
    ],
)
def test_a_wrong_setting_is_found_before_any_training(arms, changes, message, plan, names_only):
    with pytest.raises(UserError) as raised:
        refuse_settings(plan(arms=arms, **changes), names_only)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_right_settings_pass(plan, names_only, student_flags):
    extra = ("--precision", "16", "--limit_val_batches", "0", "--min_scale", "0.4")
    arms = [UNTRAINED, *LEARNING, "byol", "mocov2plus+queue_size=16"]
    made = plan(arms=",".join(arms), extra=extra)
    refuse_settings(made, names_only)
    for run in made.runs:  # the host gets them all
        given = student_flags(made, run.arm.name, checkpoint="t.ckpt")
        told = {name: given[name] for name in ("precision", "limit_val_batches", "min_scale")}
        assert told == {"precision": "16", "limit_val_batches": "0", "min_scale": "0.4"}


@pytest.mark.parametrize("method", LEARNING)
def test_the_host_reads_the_job_of_every_method(method, classic, student, plan, data):
    made = plan(data=str(data), student="resnet18", extra=("--precision", "16"))
    args = classic.parse(student(made, method, seed=5, checkpoint="t.ckpt"))
    assert (args.method, args.seed, args.max_epochs) == (method, 5, 20)
    assert args.lr == pytest.approx(0.3 * 8 / 256)  # as the host scales it
    assert args.backbone_args["cifar"] is True  # the small stem
    assert (args.mean, args.precision) == ([0.5, 0.4, 0.3], 16)
    if method != "simclr":
        assert (args.queue_size, args.final_tau_momentum) == (128, 0.999)
    if method not in ("simclr", "mocov2plus"):
        assert (args.teacher, args.teacher_checkpoint) == ("resnet50", "t.ckpt")


def test_every_method_of_the_host_is_an_arm(classic, plan, data):
    arms = [UNTRAINED, *classic.methods()]
    assert {"byol", "barlow_twins", "dino", "simsiam", "nnclr", "ressl", "swav", "vicreg"} < {*arms}
    made = plan(data=str(data), arms=",".join(arms))
    refuse_settings(made, classic)
    with pytest.raises(
        UserError, match=r"dino: .*warmup_teacher_temperature_epochs=50 .*at most 20"
    ):
        refuse_jobs(made, classic)
    arms[arms.index("dino")] = "dino+warmup_teacher_temperature_epochs=20"
    refuse_jobs(plan(data=str(data), arms=",".join(arms)), classic)


def test_every_arm_starts_from_the_same_student(classic, student, plan, data):
    import pytorch_lightning as pl
    import torch
    from solo.methods import METHODS as HOST_METHODS

    def first_weights(method: str, seed: int) -> torch.Tensor:
        made = plan(data=str(data), teacher="timm:resnet10t")
        args = classic.parse(student(made, method, seed))
        pl.seed_everything(args.seed)
        model = HOST_METHODS[method.partition("+")[0]](**vars(args))
        return torch.cat([weights.flatten() for weights in model.encoder.parameters()])

    expected = first_weights("mocov2plus", 0)
    for arm in ("simclr", "rekd+teacher_mode=online", "crcd+teacher_mode=online"):
        assert torch.equal(first_weights(arm, 0), expected)
    assert not torch.equal(first_weights("simclr", 1), expected)


def test_the_untrained_student_keeps_its_first_weights(classic, student, plan, data, tmp_path):
    import torch

    from solo_rekd.checkpoints import read_checkpoint

    def train(arm: str) -> dict[str, torch.Tensor]:
        made = plan(data=str(data), epochs=1, batch_size=8, queue_size=8)
        path = classic.pretrain(student(made, arm), tmp_path / arm, None, Progress()).checkpoint
        assert path.name.endswith("-ep=0.ckpt")
        return read_checkpoint(path)[0]["state_dict"]

    untrained, trained = train(UNTRAINED), train("mocov2plus")
    names = [name for name in untrained if name.startswith("encoder.")]
    moved = [name for name in names if not torch.equal(untrained[name], trained[name])]
    parameters = [name for name in names if "running" not in name and "num" not in name]
    assert parameters
    assert set(parameters) < set(moved)
    # drawn and never trained: BatchNorm's own parameters are as they begin, its statistics not
    for name in parameters:
        if untrained[name].ndim == 1:
            assert untrained[name].unique().tolist() in ([0], [1])
    assert untrained["encoder.features.1.running_mean"].any()
    # the momentum twin was equal at the start, and has had nothing to follow
    for name in parameters:
        torch.testing.assert_close(untrained[f"momentum_{name}"], untrained[name])
