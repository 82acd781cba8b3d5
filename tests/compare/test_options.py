import pytest

from solo_rekd.compare.options import make_parser, read_options
from solo_rekd.utils.errors import UserError

NEEDED = ["--data", "d", "--out", "o"]


def test_what_follows_two_dashes_is_the_hosts():
    options, extra = read_options([*NEEDED, "--seeds", "3", "--", "--precision", "16"])
    assert options.seeds == 3
    assert extra == ("--precision", "16")
    assert read_options(NEEDED)[1] == ()


@pytest.mark.parametrize(
    "typed",
    ["-- -- --precision 16", "-- --precision 16 --", "-- --precision -- 16"],
)
def test_a_bare_double_dash_among_the_hosts_flags_means_nothing(typed):
    _, extra = read_options([*NEEDED, *typed.split()])
    assert extra == ("--precision", "16")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--data", "d"], "the following arguments are required: --out"),
        ([*NEEDED, "--epochs", "0"], "argument --epochs: 0 is less than 1"),
        ([*NEEDED, "--epochs", "1.5"], "argument --epochs: invalid whole number value: '1.5'"),
        ([*NEEDED, "--lr", "nan"], "argument --lr: nan is no number"),
        ([*NEEDED, "--num_workers", "-1"], "argument --num_workers: -1 is less than 0"),
        ([*NEEDED, "--knn_temperature", "0"], "argument --knn_temperature: 0 is less than 0.02"),
        ([*NEEDED, "--epoch", "3"], "unrecognized arguments: --epoch 3"),
        ([*NEEDED, "--stem", "tiny"], "stem='tiny' is not allowed: expected auto"),
    ],
)
def test_a_mistake_is_one_line(argv, message):
    with pytest.raises(UserError) as raised:
        read_options(argv)
    assert str(raised.value).startswith(message)


def test_the_help_tells_every_default():
    parser = make_parser()
    text = parser.format_help()
    for action in parser._actions:
        if action.option_strings[-1] not in ("--help", "--data", "--out"):
            assert action.help and "Default: " in action.help
            assert action.option_strings[-1] in text
