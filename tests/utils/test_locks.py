from contextlib import ExitStack
from pathlib import Path
from threading import Timer

import pytest

from solo_rekd.utils.errors import UserError
from solo_rekd.utils.locks import locked


def test_a_folder_is_for_one_process_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("solo_rekd.utils.locks.HANDOVER", 0.2)
    out = tmp_path / "new" / "out"
    refused = pytest.raises(UserError, match="another comparison is running")
    with locked(out, "comparison"), refused, locked(out, "comparison"):
        pass
    with locked(out, "distillation"):
        pass


def test_what_a_killed_process_started_may_end_first(tmp_path: Path) -> None:
    with ExitStack() as holder:
        holder.enter_context(locked(tmp_path, "comparison"))
        Timer(0.5, holder.close).start()
        with locked(tmp_path, "comparison"):
            pass


def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = pytest.raises(UserError, match="cannot be written: Not a directory")
    with refused, locked(tmp_path / "file" / "out", "comparison"):
        pass
