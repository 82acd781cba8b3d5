"""Files of features, written batch by batch: `.npy` with the paths beside it, or `.parquet`."""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from solo_rekd.distilling.embedding import Batch
from solo_rekd.utils.errors import UserError, refuse, refuse_missing
from solo_rekd.utils.files import replacing

NPY, PARQUET = ".npy", ".parquet"
PATHS = ".paths.txt"  # replaces .npy


def refuse_target(target: Path) -> None:
    """Refuses a target before anything is embedded.

    Raises:
        UserError: its suffix is not supported, or its folder or pyarrow is missing.
    """
    if target.suffix not in (NPY, PARQUET):
        raise refuse("target", str(target), f"a file name ending in {NPY} or {PARQUET}")
    if not target.absolute().parent.is_dir():
        raise refuse("target", str(target), "a file in a folder that exists")
    if target.suffix == PARQUET:
        refuse_missing(("pyarrow",), "parquet")


def write_features(target: Path, paths: Sequence[str], batches: Iterable[Batch]) -> tuple[int, int]:
    """Writes features as they come; the file is complete or absent.

    Args:
        target: `.npy`, float32 of shape (N, f), with a path per line in `.paths.txt` beside it; or
            `.parquet`, with the columns `path` and `embedding`.
        paths: paths of all photos, including those that could not be read.
        batches: batches of their features.

    Returns:
        N and f.

    Raises:
        UserError: a file cannot be written; or as `embed` raises.
    """
    write = _write_parquet if target.suffix == PARQUET else _write_npy
    try:
        return write(target, paths, batches)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}") from error


def _write_npy(target: Path, paths: Sequence[str], batches: Iterable[Batch]) -> tuple[int, int]:
    number = width = 0
    with ExitStack() as stack:
        names = stack.enter_context(replacing(target.with_suffix(PATHS)))
        unfinished = stack.enter_context(replacing(target))
        lines = stack.enter_context(names.open("w", encoding="utf-8", errors="surrogateescape"))
        file = stack.enter_context(unfinished.open("wb"))
        for batch in batches:
            if not number:
                width = batch.features.shape[1]
                file.write(_header(len(paths), width))
            file.write(np.ascontiguousarray(batch.features.numpy(), dtype="<f4").tobytes())
            lines.writelines(f"{_one_line(paths[place])}\n" for place in batch.places)
            number += len(batch.places)
        file.seek(0)
        file.write(_header(number, width))  # numpy leaves room for any number of rows
        file.flush()
        lines.flush()
    return number, width


def _one_line(path: str) -> str:
    return path.replace("\\", "\\\\").replace("\n", "\\n") if "\n" in path else path


def _header(number: int, width: int) -> bytes:
    buffer = io.BytesIO()
    form = {"descr": "<f4", "fortran_order": False, "shape": (number, width)}
    np.lib.format.write_array_header_1_0(buffer, form)
    return buffer.getvalue()


def _write_parquet(target: Path, paths: Sequence[str], batches: Iterable[Batch]) -> tuple[int, int]:
    number = width = 0
    with replacing(target) as unfinished, _parquet(unfinished) as write:
        for batch in batches:
            width = batch.features.shape[1]
            # the format requires UTF-8, which a path need not be
            names = [os.fsencode(paths[place]).decode(errors="replace") for place in batch.places]
            write(names, batch.features.numpy())
            number += len(names)
    return number, width


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow
    from pyarrow import parquet

    writer: Any = None

    def write(names: list[str], features: np.ndarray) -> None:
        nonlocal writer
        flat = pyarrow.array(features.reshape(-1), pyarrow.float32())
        columns = [
            pyarrow.array(names, pyarrow.string()),
            pyarrow.FixedSizeListArray.from_arrays(flat, features.shape[1]),
        ]
        table = pyarrow.table(columns, names=["path", "embedding"])
        if writer is None:
            writer = parquet.ParquetWriter(str(path), table.schema)
        writer.write_table(table)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()
