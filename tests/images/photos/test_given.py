"""What a run is given to train on or to look at: a folder, a list, or an index."""

from pathlib import Path

import pytest
from PIL import Image

from solo_rekd.images.photos import build_index
from solo_rekd.images.photos.given import find_photos
from solo_rekd.utils.errors import UserError


def test_photos_at_any_depth_or_in_a_list_or_an_index(tmp_path: Path) -> None:
    photos = [tmp_path / "a" / name / f"{name}.png" for name in ("0", "1", "2")]
    for photo in photos:
        photo.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(photo)
    paths = [str(photo) for photo in photos]
    assert find_photos(tmp_path / "a").paths() == paths
    listed = tmp_path / "some.txt"
    listed.write_text(f"# two\n\n{paths[2]}\n{photos[0].relative_to(tmp_path)}\n")
    assert find_photos(listed).paths() == [paths[2], paths[0]]
    index = build_index([listed], tmp_path / "index")
    assert find_photos(index.folder).paths() == [paths[2], paths[0]]


@pytest.mark.parametrize("name", ["empty", "nowhere"])
def test_no_photos_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=name):
        find_photos(tmp_path / name)
