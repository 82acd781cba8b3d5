import pytest

from solo_rekd.compare.arms import parse_arm, parse_arms
from solo_rekd.config import PRESETS
from solo_rekd.utils.errors import UserError


def test_an_arm_is_a_method_and_its_settings():
    text = "rekd+teacher_mode=online+dictionary=teacher"
    arm = parse_arm(text)
    assert (arm.name, arm.method) == (text, "rekd")
    assert arm.settings == {"teacher_mode": "online", "dictionary": "teacher"}


def test_a_value_may_hold_an_equals_sign():
    arm = parse_arm("disco+teacher_checkpoint=/a/t-ep=3.ckpt")
    assert arm.settings == {"teacher_checkpoint": "/a/t-ep=3.ckpt"}


def test_a_preset_stands_for_its_settings_and_a_setting_that_is_given_wins():
    arm = parse_arm("seed:lightly+temperature=0.1+lr=0.2")
    bundle = {name: str(value) for name, value in PRESETS["seed"]["lightly"].items()}
    assert (arm.name, arm.method) == ("seed:lightly+temperature=0.1+lr=0.2", "seed")
    assert arm.settings == bundle | {"temperature": "0.1", "lr": "0.2"}
    assert arm.shares_teacher and arm.lr == 0.2
    # a teacher's name has a colon too
    assert parse_arm("rekd+teacher_mode=online+teacher=timm:resnet10t").method == "rekd"
    assert parse_arm("rekd:no-relation").settings == {"own_weight": "1.0"}


@pytest.mark.parametrize(
    ("text", "distils", "online", "shares"),
    [
        ("untrained", False, False, False),
        ("mocov2plus", False, False, False),
        ("simclr+temperature=0.1", False, False, False),
        ("rekd", True, False, True),
        ("rekd+teacher_mode=frozen", True, False, True),
        ("rekd+teacher_mode=online", True, True, False),
        ("rekd+teacher_mode=online+teacher=resnet18", True, True, False),
        ("bingo+teacher_checkpoint=t.ckpt+teacher=resnet18", True, False, False),
    ],
)
def test_whose_teacher_an_arm_has(text, distils, online, shares):
    arm = parse_arm(text)
    assert (arm.distils, arm.online, arm.shares_teacher) == (distils, online, shares)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rekd+dictionary", "NAME=VALUE after a plus, not 'dictionary'"),
        ("rekd+=3", "NAME=VALUE after a plus, not '=3'"),
        ("rekd+dictionary=", "NAME=VALUE after a plus, not 'dictionary='"),
        ("rekd+", "NAME=VALUE after a plus, not ''"),
        ("rekd+own_weight=1+own_weight=0", "own_weight is given twice"),
        ("rekd+lr=fast", "rekd+lr='fast' is not allowed: expected a number above 0"),
        ("simclr+lr=0", "simclr+lr='0' is not allowed: expected a number above 0"),
        ("simclr+lr=inf", "simclr+lr='inf' is not allowed: expected a number above 0"),
        ("disco+teacher=resnet18", "needs +teacher_checkpoint=FILE"),
        ("seed:lightli", "preset of seed='lightli' is not allowed: expected lightly"),
        ("seed:", "preset of seed='' is not allowed: expected lightly"),
        ("seed:no-relation+lr=1", "preset of seed='no-relation' is not allowed: expected lightly"),
        ("disco:lightly", "expected none: disco has no preset"),
        ("untrained:lightly", "expected none: untrained has no preset"),
    ],
)
def test_what_is_no_arm_is_refused(text, message):
    with pytest.raises(UserError) as raised:
        parse_arm(text)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_list_keeps_its_order():
    names = ["rekd+own_weight=1", "simclr", "rekd"]
    assert [arm.name for arm in parse_arms(" rekd+own_weight=1, simclr,rekd,")] == names


@pytest.mark.parametrize("text", ["", ",", "rekd,simclr,rekd"])
def test_an_arm_twice_or_none_is_refused(text):
    with pytest.raises(UserError, match="list of different arms"):
        parse_arms(text)
