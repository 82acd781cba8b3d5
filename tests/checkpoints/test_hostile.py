"""Some 900 hostile and damaged files, all read in one process that notes whatever runs in it."""

import gzip
import io
import itertools
import json
import os
import pickle
import random
import socket
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz_checkpoints import pack, whole_files

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz_checkpoints.py"
READ, ANY = "read", ""  # else a part of the line that refuses the file
DAMAGED = "truncated or damaged"
FLOATS = struct.pack("<4f", 1, 2, 3, 4)
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)

Files = dict[str, tuple[bytes, str]]


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def name(module: str, function: str) -> bytes:
    return f"c{module}\n{function}\n".encode()


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(
    elements: bytes = number(4),
    kind: bytes = name("torch", "FloatStorage"),
    key: bytes = text("0"),
    view: bytes = b"",
) -> bytes:
    return b"(" + text("storage") + kind + key + text("cpu") + elements + view + b"tQ"


HOOKS = name("collections", "OrderedDict") + b")R"


def tensor(
    size: bytes = numbers(4),
    stride: bytes = numbers(1),
    offset: bytes = number(0),
    held: bytes = storage(),
    hooks: bytes = HOOKS,
) -> bytes:
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return rebuild + b"(" + held + offset + size + stride + b"\x89" + hooks + b"tR"


def entries(*parts: bytes) -> bytes:
    return b"\x80\x02}(" + b"".join(parts) + b"u."


def checkpoint(extra: bytes = b"", weight: bytes | None = None) -> bytes:
    """A zip with a tensor `w` and, where given, an object beside it."""
    beside = text("x") + extra if extra else b""
    return pack(entries(text("w"), weight or tensor(), beside), {"0": FLOATS})


def legacy(weight: bytes, order: object, contents: list[tuple[int, bytes]]) -> bytes:
    pieces = [struct.pack("<q", elements) + content for elements, content in contents]
    return MAGIC + entries(text("w"), weight) + pickle.dumps(order, 2) + b"".join(pieces)


# -- code ------------------------------------------------------------------------------------------

CALLED = (
    """os system/posix system/os popen/os execv/builtins exec/builtins eval/builtins compile
builtins __import__/builtins getattr/builtins open/builtins breakpoint/__builtin__ execfile
subprocess Popen/subprocess check_output/commands getoutput/importlib import_module
runpy run_path/code interact/pty spawn/pdb run/timeit timeit/cProfile run/webbrowser open
operator attrgetter/operator methodcaller/functools partial/types FunctionType/types CodeType
ctypes CDLL/pickle loads/_pickle loads/marshal loads/shutil rmtree/socket create_connection
pathlib Path.write_text/numpy load/numpy.testing._private.utils runstring/torch load/torch.hub load
torch.storage _load_from_bytes/torch._dynamo optimize/torch.jit load/torch.utils.cpp_extension load
torch._utils _import_dotted_name/torch.serialization add_safe_globals/torch.ops load_library
solo_rekd.checkpoints.read read_file/solo_rekd.checkpoints.pickled.allowed _mapping
__main__ main/copyreg add_extension/collections namedtuple/torch.nn.modules.module Module
""".replace("\n", "/")
    .strip("/")
    .split("/")
)


def code(folder: Path) -> Iterator[tuple[str, bytes, str]]:
    argument = text(f"open({str(folder / 'canary')!r}, 'w')")
    for called in CALLED:
        module, function = called.split()
        known, args = name(module, function), argument + b"\x85"
        stacked = b"\x8c" + bytes([len(module)]) + module.encode()
        stacked += b"\x8c" + bytes([len(function)]) + function.encode() + b"\x93"
        call = known + args + b"R"
        yield f"reduce {called}", checkpoint(call), READ
        yield f"stack global {called}", checkpoint(stacked + args + b"R"), READ
        inst = b"(" + argument + f"i{module}\n{function}\n".encode()
        yield f"inst {called}", checkpoint(inst), READ
        yield f"obj {called}", checkpoint(b"(" + known + argument + b"o"), READ
        yield f"newobj {called}", checkpoint(known + args + b"\x81"), READ
        yield f"newobj_ex {called}", checkpoint(known + args + b"}\x92"), READ
        state = b"}" + text("__setstate__") + known + b"s"
        yield f"setstate {called}", checkpoint(known + b")\x81" + state + b"b" + args + b"b"), READ
        yield f"slots {called}", checkpoint(HOOKS + b"N" + state + b"\x86b"), READ
        yield f"chain {called}", checkpoint(known + args + b"R" + args + b"R" + args + b"R"), READ
        appended = known + args + b"R" + argument + b"a(" + argument + call + b"u"
        yield f"append {called}", checkpoint(appended), READ
        yield f"hooks {called}", checkpoint(weight=tensor(hooks=call)), READ
        yield f"size {called}", checkpoint(weight=tensor(size=call)), DAMAGED
        yield f"storage {called}", checkpoint(weight=tensor(held=call)), DAMAGED
        yield f"kind {called}", checkpoint(weight=tensor(held=storage(kind=known))), DAMAGED
        on_tensor = tensor() + b"}" + text("__setstate__") + known + b"sb" + args + b"b"
        yield f"tensor's state {called}", checkpoint(weight=on_tensor), READ
        subclass = name("torch._tensor", "_rebuild_from_type_v2") + b"(" + known
        subclass += name("torch", "Tensor") + args + b"NtR"
        yield f"rebuilder {called}", checkpoint(subclass), DAMAGED
        yield f"top {called}", pack(b"\x80\x02" + call + b"."), "pickled object"
        yield f"plain pickle {called}", b"\x80\x02" + call + b".", "is not a checkpoint"
    for width in (b"\x82\x01", b"\x83\x01\0", b"\x84\x01\0\0\0"):
        yield f"extension {width!r}", checkpoint(width + b")R"), READ


# -- damage ----------------------------------------------------------------------------------------


def damage(_: Path) -> Iterator[tuple[str, bytes, str]]:
    rng = random.Random(0)
    for index, content in enumerate(whole_files()):
        for share in (0, 0.003, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99):
            # what follows the last storage of a file of torch.save is not needed
            yield f"{index} cut at {share}", content[: int(share * len(content))], "checkpoint"
        for flip in range(12):
            flipped = bytearray(content)
            flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            yield f"{index} flip {flip}", bytes(flipped), ANY


def zipped(*members: tuple[str, bytes, int]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for named, content, method in members:
            archive.writestr(zipfile.ZipInfo(named), content, method)
    return buffer.getvalue()


def patched(content: bytes, old: bytes, new: bytes) -> bytes:
    assert old in content and len(old) == len(new)
    return content.replace(old, new)


def zips(_: Path) -> Iterator[tuple[str, bytes, str]]:
    stored, deflated = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
    body = entries(text("w"), tensor())
    whole = (("a/data.pkl", body, stored), ("a/data/0", FLOATS, stored))
    foreign = "did not write it"
    yield "whole", zipped(*whole), READ
    yield "extra member", zipped(*whole, ("a/more", b"1" * 99, stored)), READ
    yield "extra folder", zipped(*whole, ("b/c/data.pkl", b"1" * 99, stored)), READ
    yield "path that climbs", zipped(("../data.pkl", body, stored), ("../data/0", FLOATS, 0)), READ
    yield "two pickles", zipped(*whole, ("b/data.pkl", body, stored)), foreign
    yield "no pickle", zipped(whole[1]), foreign
    yield "pickle at the top", zipped(("data.pkl", body, stored), whole[1]), foreign
    yield "renamed pickle", zipped(("a/date.pkl", body, stored), whole[1]), foreign
    yield "no storage", zipped(whole[0]), DAMAGED
    yield "renamed storage", zipped(whole[0], ("a/data/1", FLOATS, stored)), DAMAGED
    yield "short storage", zipped(whole[0], ("a/data/0", FLOATS[:-1], stored)), DAMAGED
    yield "program", zipped(*whole, ("a/constants.pkl", b"", stored)), "TorchScript"
    yield "byte order", zipped(*whole, ("a/byteorder", b"middle", stored)), DAMAGED
    yield "big endian", zipped(*whole, ("a/byteorder", b"big", stored)), READ
    yield "empty zip", zipped(), foreign
    yield "compressed", zipped(whole[0], ("a/data/0", FLOATS, deflated)), "compressed"
    bomb = bytes(1 << 27)
    yield "storage bomb", zipped(whole[0], ("a/data/0", bomb, deflated)), DAMAGED
    yield "pickle bomb", zipped(("a/data.pkl", bomb, deflated), whole[1]), DAMAGED
    content = zipped(*whole)
    long = struct.pack("<II", len(FLOATS), len(FLOATS))
    for size in (17, 2**20, 2**31, 2**32 - 2):
        lie = patched(content, long, struct.pack("<II", size, size))
        yield f"header of {size} bytes", lie, DAMAGED
    yield "header of other sizes", patched(content, long, struct.pack("<II", 16, 32)), DAMAGED
    yield "other content", patched(content, FLOATS, bytes(16)), DAMAGED
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        central = archive.start_dir
    encrypted = bytearray(content)
    encrypted[central + 8] |= 1
    yield "encrypted", bytes(encrypted), "encrypted"
    for at in (0, 2**20, 2**32 - 2):
        moved = bytearray(content)
        moved[central + 42 : central + 46] = struct.pack("<I", at)
        yield f"pickle at {at}", bytes(moved), READ if at == 0 else DAMAGED
    twice = zipped(*whole, ("a/data/1", FLOATS, stored)).replace(b"a/data/1", b"a/data/0")
    yield "one name twice", twice, DAMAGED


def views(_: Path) -> Iterator[tuple[str, bytes, str]]:
    lies = {
        "offset": tensor(offset=number(1)),
        "negative offset": tensor(offset=number(-1)),
        "stride": tensor(stride=numbers(2)),
        "negative stride": tensor(stride=numbers(-1)),
        "size": tensor(size=numbers(5)),
        "negative size": tensor(size=numbers(-4)),
        "huge size": tensor(size=numbers(2**62)),
        "overflowing size": tensor(size=numbers(2**32, 2**32), stride=numbers(0, 0)),
        "overflowing empty": tensor(numbers(0, 2**61, 2**61), numbers(1, 1, 1)),
        "more bits than 64": tensor(size=numbers(2**80)),
        "overflowing stride": tensor(size=numbers(2, 2), stride=numbers(2**61, 2**61)),
        "fewer strides": tensor(size=numbers(2, 2)),
        "a list": tensor(size=b"](K\x04e"),
        "a text": tensor(size=text("4") + b"\x85"),
        "a truth": tensor(size=b"\x88\x85", stride=numbers(1)),
        "a fraction": tensor(size=b"G" + struct.pack(">d", 4) + b"\x85"),
        "65 sizes": tensor(numbers(*[1] * 65), numbers(*[1] * 65)),
        "no arguments": name("torch._utils", "_rebuild_tensor_v2") + b")R",
        "more elements": tensor(held=storage(number(5))),
        "wider elements": tensor(held=storage(kind=name("torch", "DoubleStorage"))),
        "negative elements": tensor(held=storage(number(-1))),
        "2**62 elements": tensor(held=storage(number(2**62))),
        "no number of elements": tensor(held=storage(text("4"))),
        "a key of no text": tensor(held=storage(key=number(0))),
        "a dtype for a storage": tensor(held=storage(kind=name("torch", "float32"))),
        "a storage without id": tensor(held=numbers(1) + b"Q"),
        "a storage of a number": tensor(held=number(3)),
        "an id of text": tensor(held=b"P0\n"),
    }
    for what, weight in lies.items():
        yield f"view: {what}", checkpoint(weight=weight), DAMAGED
    expanded = tensor(size=numbers(2**14, 2**14), stride=numbers(0, 0))
    yield "view: expanded", checkpoint(weight=expanded), "many times its size"
    many = b"](" + tensor(size=numbers(2**20), stride=numbers(0)) * 40 + b"e"
    yield "view: many expanded", checkpoint(many), "many times its size"
    yield "view: a few expanded", checkpoint(tensor(numbers(64, 4), numbers(0, 1)) * 1), READ
    yield "view: shared", checkpoint(tensor()), READ
    yield "view: empty", checkpoint(tensor(numbers(0, 2**40), numbers(1, 1))), READ
    quantised = storage(kind=name("torch", "QInt8Storage"))
    yield "quantised", checkpoint(weight=tensor(held=quantised)), "quantised"
    for what, kind in {"sparse": "sparse", "q": "quantised", "nested": "nested"}.items():
        rebuild = name(
            "torch._utils", f"_rebuild_{what}tensor" if what == "q" else f"_rebuild_{what}_tensor"
        )
        yield f"{what} by name", checkpoint(rebuild + b"NN\x86R"), kind
    meta = name("torch._utils", "_rebuild_meta_tensor_no_storage")
    yield "meta", checkpoint(meta + name("torch", "float32") + numbers(4) + b"\x86R"), "meta"
    nan = struct.pack("<4f", *[float("nan")] * 4)
    yield "nan", pack(entries(text("w"), tensor()), {"0": nan}), READ


def pickles(_: Path) -> Iterator[tuple[str, bytes, str]]:
    laughs = b"]" + b"".join(b"q%c0](h%ch%ce" % (i, i, i) for i in range(60))
    keyed = b"K\x01" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
    some = b"](" + b"K\x01" * 5000 + b"eq\x010"
    sets = b"(" + (name("builtins", "set") + b"h\x01\x85R") * 2000 + b"l"
    string = text("a" * 100_000) + b"q\x010"
    strings = (
        b"(" + (name("_codecs", "encode") + b"h\x01" + text("latin1") + b"\x86R") * 2000 + b"l"
    )
    inert = name("a", "b") + b")R"
    space = name("argparse", "Namespace") + b")\x81"
    cases = {
        "laughs": (laughs, "too many objects"),
        "laughs of tuples": (keyed, "too many objects"),
        "laughing key": (b"}" + keyed + b"K\x01s", DAMAGED),
        "laughing set": (b"(" + keyed + b"\x91", DAMAGED),
        "laughing attributes": (space + b"}" + text("a") + laughs + b"sb", "too many objects"),
        "copies of a list": (some + sets, DAMAGED),
        "copies of a text": (string + strings, DAMAGED),
        "repeated text": (string + b"(" + b"h\x01" * 20_000 + b"l", "too many objects"),
        "deep lists": (b"]" * 200 + b"a" * 199, "too deeply"),
        "very deep lists": (b"]" * 100_000 + b"a" * 99_999, "too deeply"),
        "very deep tuples": (b")" + b"\x85" * 100_000, "too deeply"),
        "deep key": (b"})" + b"\x85" * 100_000 + b"K\x01s", DAMAGED),
        "marks": (b"(" * 100_000 + b"l" * 100_000, "too deeply"),
        "list in itself": (b"]q\x01h\x01a", "nested in themselves"),
        "dictionary in itself": (b"}q\x01" + text("a") + b"h\x01s", "nested in themselves"),
        "namespace in itself": (space + b"q\x01}" + text("a") + b"h\x01sb", "nested in themselves"),
        "placeholder in itself": (inert + b"q\x01h\x01b", READ),
        "deep placeholders": (inert * 20_000 + b"b" * 19_999, READ),
        "long integer": (b"\x8b" + struct.pack("<i", 2000) + b"\x01" * 2000, DAMAGED),
        "longer than the file": (b"\x8b" + struct.pack("<i", 2**31 - 1), DAMAGED),
        "negative length": (b"\x8b" + struct.pack("<i", -1), DAMAGED),
        "long digits": (b"L" + b"9" * 5000 + b"L\n", DAMAGED),
        "no digits": (b"Ix\n", DAMAGED),
        "endless line": (b"S'" + b"a" * 200_000, DAMAGED),
        "long key": (b"}" + number(2**70) + b"K\x01s", DAMAGED),
        "list as key": (b"}]K\x01s", DAMAGED),
        "dictionary in a set": (b"(}\x91", DAMAGED),
        "text of 2**60": (b"\x8d" + struct.pack("<Q", 2**60), DAMAGED),
        "text of 4 GB": (b"X" + struct.pack("<I", 2**32 - 1), DAMAGED),
        "bytes of 2**62": (b"\x8e" + struct.pack("<Q", 2**62), DAMAGED),
        "bytes of 3 GB": (b"B" + struct.pack("<I", 3 << 30), DAMAGED),
        "bytearray of 2**60": (b"\x96" + struct.pack("<Q", 2**60), DAMAGED),
        "frame of 2**60": (b"\x95" + struct.pack("<Q", 2**60) + b"N", READ),
        "place 2**32 in the memo": (b"Nr" + struct.pack("<I", 2**32 - 1), READ),
        "place -1 in the memo": (b"Np-1\n", READ),
        "nothing in the memo": (b"h\x63", DAMAGED),
        "surrogates": (b"X" + struct.pack("<I", 3) + b"\xed\xa0\x80", READ),
        "no UTF-8": (b"X" + struct.pack("<I", 2) + b"\xff\xfe", DAMAGED),
        "too few values": (b"}(K\x01u", DAMAGED),
        "items of a number": (b"K\x01K\x02a", DAMAGED),
        "keys of a list": (b"]K\x01K\x02s", DAMAGED),
        "called number": (b"K\x01)R", DAMAGED),
        "called text": (text("os") + b")R", DAMAGED),
        "called tensor": (tensor() + b")R", DAMAGED),
        "no tuple of arguments": (name("a", "b") + b"]R", DAMAGED),
        "out of band": (b"\x97", DAMAGED),
        "unknown opcode": (b"\xff", DAMAGED),
        "nothing to build": (b"}b" * 50, DAMAGED),
        "no object": (b"(o", DAMAGED),
        "name of no text": (b"K\x01K\x02\x93", DAMAGED),
        "name of lines": (text("a\nb\x1b[2J") + text("c\r\n") + b"\x93", READ),
        "long name": (text("a" * 10_000) + text("b") + b"\x93", READ),
        "pairs that are none": (name("collections", "OrderedDict") + b"](K\x01e\x85R", DAMAGED),
        "attributes of no name": (space + b"}K\x01K\x01sb", DAMAGED),
        "attributes of a list": (b"]}" + text("append") + b"Nsb", READ),
        "metadata": (HOOKS + b"}" + text("_metadata") + laughs + b"sb", READ),
        "size of a list": (name("torch", "Size") + b"]\x85R", DAMAGED),
        "size of laughs": (name("torch", "Size") + keyed + b"\x85R", DAMAGED),
        "device of laughs": (name("torch", "device") + laughs + b"\x85R", DAMAGED),
        "unknown device": (name("torch", "device") + text("moon") + b"\x85R", READ),
        "layout of laughs": (
            name("torch.serialization", "_get_layout") + laughs + b"\x85R",
            DAMAGED,
        ),
        "encoding": (name("_codecs", "encode") + text("a") + text("zlib") + b"\x86R", DAMAGED),
        "dtype of objects": (name("numpy", "dtype") + text("O8") + b"\x85R", READ),
        "scalar of 3 bytes": (
            name("numpy.core.multiarray", "scalar")
            + name("numpy", "dtype") + text("f8") + b"\x85R" + text("abc") + b"\x86R",
            DAMAGED,
        ),
    }  # fmt: skip
    for what, (extra, expected) in cases.items():
        yield f"pickle: {what}", checkpoint(extra), expected
    body = entries(text("w"), tensor())
    for what, whole in {
        "no stop": body[:-1],
        "early stop": b"\x80\x02}(.",
        "empty": b"",
        "nothing": b"\x80\x02.",
        "left over": b"\x80\x02}}.",
        "protocol 99": b"\x80\x63" + body[2:],
    }.items():
        fine = what == "protocol 99"
        yield f"pickle: {what}", pack(whole, {"0": FLOATS}), READ if fine else DAMAGED
    yield "pickle: a list", pack(b"\x80\x02](" + tensor() + b"e.", {"0": FLOATS}), "list"
    yield "pickle: a tensor", pack(b"\x80\x02" + tensor() + b".", {"0": FLOATS}), "Tensor"


def old(_: Path) -> Iterator[tuple[str, bytes, str]]:
    weight = tensor(held=storage(view=b"N"))
    one = [(4, FLOATS)]
    yield "old: whole", legacy(weight, ["0"], one), READ
    yield "old: with more behind", legacy(weight, ["0"], one) + b"more", READ
    yield "old: fewer bytes", legacy(weight, ["0"], [(4, FLOATS[:-1])]), DAMAGED
    yield "old: no bytes", legacy(weight, ["0"], []), DAMAGED
    yield "old: other number", legacy(weight, ["0"], [(3, FLOATS)]), DAMAGED
    yield "old: huge number", legacy(weight, ["0"], [(2**62, FLOATS)]), DAMAGED
    yield "old: negative number", legacy(weight, ["0"], [(-4, FLOATS)]), DAMAGED
    yield "old: no order", legacy(weight, [], []), DAMAGED
    yield "old: other order", legacy(weight, ["1"], one), DAMAGED
    yield "old: longer order", legacy(weight, ["0", "0"], one * 2), DAMAGED
    yield "old: order of numbers", legacy(weight, [0], one), DAMAGED
    yield "old: order of a dictionary", legacy(weight, {"0": 1}, one), DAMAGED
    for elements in (2**20, 2**40, 2**62, -1):
        claim = tensor(held=storage(number(elements), view=b"N"))
        yield f"old: {elements} claimed", legacy(claim, ["0"], one), DAMAGED
    part = text("v") + number(1) + number(2) + b"\x87"
    inside = tensor(numbers(2), held=storage(view=part))
    yield "old: a view", legacy(inside, ["0"], one), READ
    beyond = tensor(numbers(3), held=storage(view=part))
    yield "old: beyond its view", legacy(beyond, ["0"], one), DAMAGED
    outside = storage(view=text("v") + number(3) + number(2) + b"\x87")
    yield "old: a view outside", legacy(tensor(numbers(2), held=outside), ["0"], one), DAMAGED
    yield "old: storage without view", legacy(tensor(), ["0"], one), DAMAGED
    module = b"(" + text("module") + name("os", "system") + text("f") + text("source") + b"tQ"
    both = b"\x80\x02}(" + text("w") + weight + text("x") + module + text("f") + b"\x85Ru."
    yield "old: module", MAGIC + both + pickle.dumps(["0"], 2) + struct.pack("<q", 4) + FLOATS, READ
    whole = legacy(weight, ["0"], one)
    yield "old: other version", whole.replace(pickle.dumps(1001, 2), pickle.dumps(1002, 2)), DAMAGED
    yield "old: magic alone", pickle.dumps(0x1950A86A20F9469CFC6C, 2), DAMAGED


def safetensors(_: Path) -> Iterator[tuple[str, bytes, str]]:
    def build(header: str | bytes, data: bytes = FLOATS, size: int | None = None) -> bytes:
        header = header.encode() if isinstance(header, str) else header
        return struct.pack("<Q", len(header) if size is None else size) + header + data

    def entry(start: int = 0, end: int = 16, dtype: str = "F32", shape: str = "[4]") -> str:
        return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}'

    bad = "not safetensors"
    whole = build(f'{{"w":{entry()}}}')
    yield "safe: whole", whole, READ
    yield "safe: metadata", build(f'{{"__metadata__":{{"a":"b"}},"w":{entry()}}}'), READ
    yield "safe: beyond", build(f'{{"w":{entry(0, 32, shape="[8]")}}}'), bad
    yield "safe: shape", build(f'{{"w":{entry(shape="[5]")}}}'), bad
    yield "safe: huge shape", build(f'{{"w":{entry(shape=f"[{2**63},{2**63}]")}}}'), bad
    yield "safe: negative shape", build(f'{{"w":{entry(shape="[-4]")}}}'), bad
    yield "safe: dtype", build(f'{{"w":{entry(dtype="OS")}}}'), bad
    yield "safe: overlap", build(f'{{"a":{entry()},"w":{entry()}}}'), bad
    yield "safe: hole", build(f'{{"a":{entry(8, 24)}}}', bytes(24)), bad
    yield "safe: reversed", build(f'{{"a":{entry(16, 0)}}}'), bad
    yield "safe: more behind", whole + b"more", bad
    yield "safe: less", whole[:-1], bad
    yield "safe: no JSON", build("{no"), bad
    yield "safe: no UTF-8", build(b'{"\xff":1}'), bad
    yield "safe: deep", build('{"a":' * 50_000 + "1" + "}" * 50_000), bad
    yield "safe: number as metadata", build('{"__metadata__":{"a":1}}', b""), bad
    yield "safe: sizes of text", build(f'{{"w":{entry(shape=chr(34) + "4" + chr(34))}}}'), bad
    for dtype in ("F4", "F8_E8M0", "F6_E2M3", "C64", "U16", "BF16", "F8_E4M3"):
        yield f"safe: 16 bytes of {dtype}", build(f'{{"w":{entry(dtype=dtype)}}}'), ANY
    for size in (0, 1, 2**31, 2**62, 2**64 - 1):
        yield f"safe: header of {size}.safetensors", build("{}", size=size), bad


def special(folder: Path) -> Iterator[tuple[str, bytes, str]]:
    yield "text", b"hello world", "is not a checkpoint"
    yield "web page", b"<!DOCTYPE html>", "web page"
    yield "pointer", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"
    yield "gzip", gzip.compress(checkpoint()), "unpack it first"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"))
    yield "tar", buffer.getvalue(), "unpack it first"
    yield "zip of a folder", zipped(("a/b.pth", checkpoint(), zipfile.ZIP_STORED)), "did not write"
    yield "empty", b"", "is empty"
    (folder / "folder").mkdir()
    (folder / "distributed").mkdir()
    (folder / "distributed" / ".metadata").write_bytes(b"")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(folder)  # a socket's path is short
        server.bind("socket")
        os.chdir(before)
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "zeros").symlink_to("/dev/zero")
    (folder / "to text").symlink_to("text")
    (folder / "to whole").symlink_to("whole")


SPECIAL = {
    "folder": "is a directory",
    "distributed": "dcp_to_torch_save",
    "pipe": "not a regular file",
    "socket": "not a regular file",
    "loop": "cannot be read",
    "dangling": "does not exist",
    "zeros": "not a regular file",
    "to text": "is not a checkpoint",
    "to whole": READ,
}
MAKERS = (code, damage, zips, views, pickles, old, safetensors, special)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, dict[str, object]]]:
    """By file's name: what is expected and what became of it."""
    folder = tmp_path_factory.mktemp("hostile")
    files, expected = folder / "files", dict(SPECIAL)
    files.mkdir()
    for what, content, line in itertools.chain(*(make(files) for make in MAKERS)):
        assert what not in expected
        (files / what).write_bytes(content)
        expected[what] = line
    run = subprocess.run(
        [sys.executable, SCRIPT, "--files", files],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    outcomes = {each["name"]: each for each in map(json.loads, run.stdout.splitlines())}
    assert outcomes.keys() == expected.keys(), run.stderr[-2000:]
    assert not (files / "canary").exists()
    return {what: (expected[what], outcome) for what, outcome in outcomes.items()}


def test_no_code_runs_and_memory_time_and_lines_are_bounded(judged) -> None:
    assert len(judged) >= 900
    assert {
        what: out["text"] for what, (_, out) in judged.items() if out["result"] == "fault"
    } == {}


def test_each_file_is_read_or_refused_as_it_should(judged) -> None:
    wrong = {}
    for what, (expected, outcome) in judged.items():
        if expected == READ:
            right = outcome["result"] == "read" and outcome["tensors"] > 0
        else:
            right = expected == ANY or expected in outcome["text"]
        if not right:
            wrong[what] = (expected, outcome["text"])
    assert wrong == {}


def test_files_damaged_at_random(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--seed", "0", "--count", "1000"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0 and "seed 0: 1000 files" in run.stdout, run.stdout + run.stderr
