import numpy as np

from solo_rekd.images.decoded import index
from solo_rekd.images.decoded.index import Place, find, make_index

NAMES = [f"class {number % 7}/{number}.jpg" for number in range(500)]
PLACES = [Place(3_000_000_000 + number, number + 1, 70_000 - number) for number in range(500)]


def test_every_image_is_found_and_no_other():
    table = make_index(NAMES, PLACES)
    assert [find(table, name) for name in NAMES] == PLACES
    assert find(table, "class 0/500.jpg") is None
    assert find(table[:0], NAMES[0]) is None


def test_a_name_may_hold_any_byte():
    name = b"\xff\xfe/caf\xc3\xa9.jpg".decode(errors="surrogateescape")
    assert find(make_index([name], PLACES[:1]), name) == PLACES[0]


def test_half_a_hash_may_be_shared(monkeypatch):
    numbers = {name: (number % 2, number) for number, name in enumerate(NAMES)}
    monkeypatch.setattr(index, "_hash", lambda name: numbers.get(name, (1, 1000)))
    table = make_index(NAMES, PLACES)
    assert [find(table, name) for name in NAMES] == PLACES
    assert find(table, "other") is None


def test_it_can_be_mapped_from_a_file(tmp_path):
    np.save(tmp_path / "index.npy", make_index(NAMES, PLACES))
    table = np.load(tmp_path / "index.npy", mmap_mode="r")
    assert find(table, NAMES[7]) == PLACES[7]
