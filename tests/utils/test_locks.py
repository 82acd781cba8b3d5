from pathlib import Path

import pytest

from solo_rekd.utils.errors import UserError
from solo_rekd.utils.locks import locked


def test_a_folder_is_for_one_process_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    refused = pytest.raises(UserError, match="another comparison is running")
    with locked(out, "comparison"), refused, locked(out, "comparison"):
        pass
    with locked(out, "distillation"):
        pass


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = pytest.raises(UserError, match="cannot be written: Not a directory")
    with refused, locked(tmp_path / "file" / "out", "comparison"):
        pass
