from pathlib import Path

import numpy as np
import pytest
import torch

from solo_rekd.distilling.embedded import refuse_target, write_features
from solo_rekd.distilling.embedding import Batch, Photos, collate, embed
from solo_rekd.utils.errors import UserError

PATHS = [f"/photos/{place}.jpg" for place in range(5)]
BATCHES = [Batch([0, 1], torch.randn(2, 3)), Batch([4], torch.randn(1, 3))]


def test_features_come_in_the_order_of_the_paths_beside_them(tmp_path: Path) -> None:
    target = tmp_path / "all.npy"
    assert write_features(target, PATHS, iter(BATCHES)) == (3, 3)
    stored = np.load(target)
    assert stored.dtype == np.float32
    assert np.array_equal(stored, torch.cat([batch.features for batch in BATCHES]).numpy())
    lines = (tmp_path / "all.paths.txt").read_text().splitlines()
    assert lines == [PATHS[0], PATHS[1], PATHS[4]]  # those of photos that could be read


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield BATCHES[0]
        raise UserError("no photo can be read")

    for name in ("all.npy",):
        with pytest.raises(UserError):
            write_features(tmp_path / name, PATHS, broken())
    assert not [*tmp_path.iterdir()]


def test_parquet_has_a_column_of_paths(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert write_features(tmp_path / "all.parquet", PATHS, iter(BATCHES)) == (3, 3)
    table = parquet.read_table(tmp_path / "all.parquet").to_pydict()
    assert table["path"] == [PATHS[0], PATHS[1], PATHS[4]]
    assert np.allclose(table["embedding"], torch.cat([batch.features for batch in BATCHES]))


def test_a_target_that_cannot_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("all.csv", "nowhere/all.npy"):
        with pytest.raises(UserError, match=r"^target="):
            refuse_target(tmp_path / name)
    monkeypatch.setattr("solo_rekd.utils.errors.is_installed", lambda package: False)
    with pytest.raises(UserError, match=r"pyarrow.*solo-rekd\[parquet\]"):
        refuse_target(tmp_path / "all.parquet")


def test_photos_that_cannot_be_read_are_left_out_and_named(
    photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [str(path) for path in sorted(photos.glob("*.PNG"))[:6]]
    Path(paths[2]).write_bytes(b"broken")
    loaded = Photos(paths, 32, (0.5,) * 3, (0.5,) * 3)
    batches = [*embed(lambda images: images.mean((2, 3)), loaded, batch_size=3)]
    assert [batch.places for batch in batches] == [[0, 1], [3, 4, 5]]
    assert paths[2] in caplog.text and "1 photos" in caplog.text
    whole = [loaded[place][1] for place in (0, 1)]
    assert torch.equal(batches[0].features, torch.stack(whole).mean((2, 3)))
    broken = Photos([paths[2]], 32, (0.5,) * 3, (0.5,) * 3)
    assert collate([broken[0]])[1] is None
    with pytest.raises(UserError, match="no photo can be read"):
        [*embed(lambda images: images, broken)]
