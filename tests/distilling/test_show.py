from typing import Any

from solo_rekd.distilling.choices import Choice
from solo_rekd.distilling.show import epoch_line, loss_of, table_lines

TOOK = {"epoch": 1, "seconds": 4.0, "images": 200, "waiting": 0.25}


def test_a_table_has_setting_value_and_reason_in_columns() -> None:
    lines = table_lines([Choice("lr", 0.1, "a sweep"), Choice("batch_size", 64, "given")])
    assert [line.split(maxsplit=2) for line in lines[2:]] == [
        ["lr", "0.1", "a sweep"],
        ["batch_size", "64", "given"],
    ]
    assert (
        len({line.index(word) for line, word in zip(lines[2:], ("a sweep", "given"), strict=True)})
        == 1
    )


def test_an_epoch_says_what_its_line_has() -> None:
    said = epoch_line(TOOK | {"train_nce_loss": 1.5}, 3)
    for text in ("epoch 2/3", "loss 1.500", "50 images/s", "25%"):
        assert text in said
    assert "agreement" not in said and "floor" not in said
    signal: dict[str, Any] = {"agreement": 0.4, "agreement_chance": 0.01, "agreement_ceiling": 0.8}
    said = epoch_line(TOOK | signal | {"train_nce_loss": 1.5, "loss_floor": 0.5}, 3)
    for text in ("0.400", "0.010", "0.800", "floor 0.500"):
        assert text in said


def test_the_loss_is_the_students() -> None:
    line = {"train_class_loss": 3.0, "train_student_loss": 1.0, "train_nce_loss": 2.0}
    assert loss_of(line) == ("train_student_loss", 1.0)
    assert loss_of(line | {"loss": 0.5}) == ("loss", 0.5)
    assert loss_of({"train_class_loss": 3.0, "train_kl_loss": 2.0}) == ("train_kl_loss", 2.0)
    assert loss_of({"train_class_loss": 3.0}) is None
