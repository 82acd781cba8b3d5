"""Properties of reading, over any content and any damage."""

import io
import tempfile
from pathlib import Path
from typing import Any

import torch
from fuzz_checkpoints import pack, unpack, whole_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from solo_rekd.checkpoints.read import read_file
from solo_rekd.utils.errors import UserError

SETTINGS = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,  # the same examples in every run
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
KEYS = st.one_of(st.text(max_size=5), st.integers(-(2**63), 2**63), st.booleans())
LEAVES = st.one_of(
    st.none(),
    st.integers(-(2**200), 2**200),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=20),
    KEYS,
)
CONTENTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(KEYS, inner, max_size=4),
        st.sets(KEYS, max_size=4),
    ),
    max_leaves=20,
)
DTYPES = st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool])


@st.composite
def tensors(draw: Any) -> torch.Tensor:
    """A view of any kind of a storage of 48 elements."""
    base = torch.arange(48).to(draw(DTYPES)).reshape(2, 3, 4, 2)
    base = base.permute(draw(st.permutations(range(4))))
    for dimension in range(4):
        length = base.shape[dimension]
        start = draw(st.integers(0, length))
        step = draw(st.integers(1, 2))
        base = base[(slice(None),) * dimension + (slice(start, None, step),)]
    return base


def read(content: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder, "t.pth")).write_bytes(content)
        return read_file(path)


@SETTINGS
@given(
    content=CONTENTS,
    views=st.lists(tensors(), min_size=1, max_size=3),
    is_zip=st.booleans(),
    protocol=st.integers(2, 5),
)
def test_what_is_saved_is_what_is_read(content, views, is_zip, protocol) -> None:
    saved = {"content": content, "views": [*views, views[0]]}
    torch.save(
        saved,
        buffer := io.BytesIO(),
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=is_zip,
    )
    held = read(buffer.getvalue())
    assert held.content["content"] == content and held.inert == ()
    found = held.content["views"]
    assert all(map(torch.equal, found, saved["views"])) and found[0] is found[-1]


@SETTINGS
@given(
    start=st.integers(0, 3000),
    new=st.binary(max_size=8),
    left_out=st.integers(0, 8),
    whole=st.sampled_from([each for each in whole_files() if each.startswith(b"PK")]),
)
def test_a_damaged_pickle_is_read_or_refused_in_one_line(start, new, left_out, whole) -> None:
    body, storages = unpack(whole)
    start = min(start, len(body))
    try:
        assert read(pack(body[:start] + new + body[start + left_out :], storages)).content
    except UserError as error:
        assert "\n" not in str(error)


@SETTINGS
@given(st.binary(max_size=60))
def test_any_bytes_as_a_pickle(body: bytes) -> None:
    try:
        read(pack(b"\x80\x02" + body))
    except UserError as error:
        assert "\n" not in str(error)
