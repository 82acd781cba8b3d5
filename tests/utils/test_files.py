import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import (
    UNFINISHED,
    read_json,
    read_json_lines,
    reading,
    remove_empty,
    remove_unfinished,
    replacing,
    write_json,
    write_json_lines,
)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a+b=c.json"
    path.write_text("old")
    with replacing(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyError), replacing(path) as unfinished:
        unfinished.write_text("half")
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.png"
    message = r"nowhere\.png cannot be read: No such file"
    with pytest.raises(UserError, match=message) as caught, reading(path):
        path.read_bytes()
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_json_is_not_begun_where_a_value_is_none_of_it(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "file", {"a": 1, "b": object()})
    assert not list(tmp_path.iterdir())


def test_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    lines = [{"epoch": 0, "loss": 0.1}, {"epoch": 1, "loss": float("inf")}]
    write_json_lines(tmp_path / "file", lines)
    assert (tmp_path / "file").read_text().count("\n") == 2
    assert read_json_lines(tmp_path / "file") == lines
    assert read_json_lines(tmp_path / "none") == []


def test_a_file_that_is_not_there_or_half_there_is_nothing(tmp_path: Path) -> None:
    assert read_json(tmp_path / "none.json") is None
    (tmp_path / "half.json").write_text('{"done": 0.')
    assert read_json(tmp_path / "half.json") is None


def test_two_that_write_one_file_do_not_tear_each_others(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path) as first:
        first.write_text("the first's")
        with replacing(path) as second:
            second.write_text("the second's, which is longer")
            assert first.read_text() == "the first's"
        assert path.read_text() == "the second's, which is longer"
    assert path.read_text() == "the first's"
    assert first.name.endswith(UNFINISHED)
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_was_writing_is_removed_and_nothing_else(tmp_path: Path) -> None:
    below, run = tmp_path / "runs" / "a", tmp_path / "runs"
    below.mkdir(parents=True)
    left = [folder / f"b.json.0a1b{UNFINISHED}" for folder in (tmp_path, run, below)]
    kept = [tmp_path / "b.json", below / f"{UNFINISHED}.json"]
    for path in (*left, *kept):
        path.touch()
    remove_unfinished(tmp_path, below=False)
    assert [path.exists() for path in left] == [False, True, True]
    remove_unfinished(tmp_path)
    assert not any(path.exists() for path in left) and all(path.exists() for path in kept)


# what one of some writers of one file does next; each act that makes no sense is passed over
ACTS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(("begin", "write", "end", "fail"))), max_size=25
)


@given(ACTS, st.booleans(), st.booleans())
def test_any_writers_in_any_order_leave_the_file_of_the_last_that_ended(
    acts: list[tuple[int, str]], there: bool, killed: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, expected = Path(folder) / "file", "old" if there else None
        if there:
            path.write_text("old")
        leftover = path.with_name(f"file.0123{UNFINISHED}")  # of a process that was killed
        if killed:
            leftover.write_text("half")
        writers: dict[int, tuple[ExitStack, Path]] = {}
        for number, (writer, act) in enumerate(acts):
            stack, unfinished = writers.get(writer, (None, None))
            if act == "begin" and stack is None:
                stack = ExitStack()
                writers[writer] = stack, stack.enter_context(replacing(path, sync=bool(number % 2)))
            elif act == "write" and unfinished is not None:
                unfinished.write_text(f"{writer} at {number}")
            elif act in ("end", "fail") and stack is not None and unfinished is not None:
                written = unfinished.read_text() if unfinished.exists() else None
                error = KeyError() if act == "fail" else None
                if error is None and written is not None:
                    stack.close()
                    expected = written
                else:  # it fails, or has written nothing
                    with pytest.raises((KeyError, FileNotFoundError)), stack:
                        if error:
                            raise error
                del writers[writer]
            assert (path.read_text() if path.exists() else None) == expected
        for stack, _ in writers.values():
            with pytest.raises(KeyError), stack:
                raise KeyError
        assert (path.read_text() if path.exists() else None) == expected
        left = {each.name for each in Path(folder).iterdir()} - {path.name}
        assert left == ({leftover.name} if killed else set())


def test_empty_folders_are_removed_up_to_one_that_holds_something(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "file").touch()
    remove_empty([inner, *inner.parents])
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]
    remove_empty([tmp_path / "absent", tmp_path / "a"])
    assert (tmp_path / "a").exists()
