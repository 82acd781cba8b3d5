from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from command import command
from PIL import Image
from sklearn.datasets import load_digits

from solo_rekd import demo
from solo_rekd.utils.errors import UserError


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "digits"
    demo.write_digits(folder)
    return folder


def test_every_digit_is_written_once_under_its_label(digits):
    images, labels = load_digits(return_X_y=True)
    seen = {}
    for path in digits.glob("*/*/*.png"):
        seen[int(path.stem)] = path
    assert sorted(seen) == list(range(len(labels)))
    assert len(list(digits.glob("val/*/*.png"))) == 360
    for index in (0, 100, 1796):
        path = seen[index]
        assert path.parent.name == str(labels[index])
        image = Image.open(path)
        assert (image.size, image.mode) == ((32, 32), "RGB")
        # shrunk back, the written image is the digit again
        small = np.asarray(image.convert("L").resize((8, 8), Image.Resampling.BOX), dtype=float)
        assert np.corrcoef(small.ravel(), images[index])[0, 1] > 0.95


def test_a_second_call_writes_nothing(digits):
    before = {path: path.stat().st_mtime_ns for path in digits.glob("*/*/*.png")}
    demo.write_digits(digits)
    assert before == {path: path.stat().st_mtime_ns for path in digits.glob("*/*/*.png")}
    assert list(digits.parent.iterdir()) == [digits]


def test_two_demos_at_once_write_one_set_of_digits(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(demo.write_digits, [tmp_path / "digits"] * 2))
    assert len(list(tmp_path.glob("digits/*/*/*.png"))) == 1797
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_a_folder_that_cannot_be_is_a_mistake(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--out .*file/out cannot be written: Not a directory"):
        command("demo", "--out", str(tmp_path / "file" / "out"))


@pytest.mark.trial
def test_the_demo_ends_with_one_table_of_three_methods(tmp_path, capsys):
    short = ["--epochs", "1", "--teacher_epochs", "1", "--seeds", "1"]
    command("demo", "--out", str(tmp_path), *short)
    lines = capsys.readouterr().out.splitlines()
    (start,) = (number for number, line in enumerate(lines) if line.startswith("arm "))
    table = [line.split() for line in lines[start + 1 : start + 6]]
    methods = [row[0].partition("+")[0] for row in table]
    assert methods == ["rekd", "simclr", "mocov2plus", "untrained", "teacher"]
    for row in table:
        seeds, linear, cached, knn, few, share = map(float, row[1:7])
        assert seeds == 1
        assert all(0 < figure <= 100 for figure in (linear, cached, knn, few, share))
    # in one epoch BatchNorm's statistics settle in the teacher alone
    _, _, cached, knn, few, _ = map(float, table[4][1:7])
    assert cached > 60 and knn > 60 and few > 30
    assert "weighted kNN, cosine, k 20" in "".join(lines[start:])
    assert "gap closed" in lines[start]
    assert str(tmp_path / "report.html") in lines
    page = (tmp_path / "report.html").read_text()
    assert "Handwritten digits" in page and "mocov2plus" in page
    assert "top-1 with 3 labels per class" in page


def test_every_method_has_a_learning_rate_of_its_own_sweep():
    arms = dict(arm.partition("+lr=")[::2] for arm in demo.METHODS.split(","))
    assert set(arms) == {"rekd", "simclr", "mocov2plus", "untrained"}
    assert all(float(rate) > 0 for name, rate in arms.items() if name != "untrained")
