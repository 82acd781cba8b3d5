"""The complete list of names that a file may use. Nothing else is ever called."""

from argparse import Namespace
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from solo_rekd.checkpoints.pickled import keys, tensors
from solo_rekd.checkpoints.pickled.arrays import Array, Dtype, scalar
from solo_rekd.checkpoints.pickled.errors import Unreadable
from solo_rekd.checkpoints.pickled.inert import Foreign, Inert
from solo_rekd.checkpoints.pickled.tensors import DTYPES, StorageType, TensorType, refusing


@dataclass(frozen=True)
class Allowed:
    """A name on the list.

    Attributes:
        call: our own function, which replaces the one that the file names.
    """

    call: Callable[..., Any]


def _mapping(*args: Any) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for arg in args:
        if isinstance(arg, dict):
            made.update(arg)
        elif isinstance(arg, list | tuple):
            if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in arg):
                raise Unreadable
            keys.add(made, [key for key, _ in arg], [value for _, value in arg])
    return made


def _ordered(*args: Any) -> OrderedDict[Any, Any]:
    return OrderedDict(_mapping(*args))


def _counter(*args: Any) -> Counter[Any]:
    return Counter(_mapping(*args))


def _sequence(items: Any = (), *_: Any) -> list[Any]:
    return list(items) if isinstance(items, list | tuple) else []


def _set(items: Any = ()) -> set[Any]:
    if not isinstance(items, list | tuple):
        raise Unreadable
    return {keys.checked(item) for item in items}


def _bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Unreadable
    return text.encode("latin-1")


def _size(lengths: Any = ()) -> torch.Size:
    if not isinstance(lengths, tuple) or len(lengths) > tensors.MOST_DIMENSIONS:
        raise Unreadable
    if not all(type(length) is int and abs(length) < tensors.LARGEST for length in lengths):
        raise Unreadable
    return torch.Size(lengths)


def _device(kind: Any = "cpu", index: Any = None) -> Any:
    if not isinstance(kind, str) or not isinstance(index, int | None):
        raise Unreadable
    try:
        return torch.device(kind if index is None else f"{kind}:{index}")
    except (RuntimeError, ValueError):  # of a kind that this torch does not know
        return Inert("torch.device")


def _layout(name: Any) -> str:
    if not isinstance(name, str):
        raise Unreadable
    return name


def _complex(real: Any, imaginary: Any) -> complex:
    if not (isinstance(real, float) and isinstance(imaginary, float)):
        raise Unreadable
    return complex(real, imaginary)


def _namespace() -> Namespace:
    return Namespace()  # training scripts save their arguments: it only ever holds attributes


def _instance(kind: Any, *_: Any) -> Any:
    """What Python's own `copyreg` makes of a class."""
    if isinstance(kind, Allowed) and kind.call in (_namespace, _mapping, _ordered, _sequence):
        return kind.call()
    if not isinstance(kind, Foreign):
        raise Unreadable
    return Inert(kind.name)


_SPARSE = refusing("holds a sparse tensor: save to_dense() of it")
_META = refusing("holds a tensor without values, of the meta device: save the model with its own")
_QUANTISED = refusing(tensors.QUANTISED)

# what the file names: our own function, which is called in its place
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": tensors.rebuild,
    "torch._utils._rebuild_tensor_v2": tensors.rebuild,
    "torch._utils._rebuild_tensor_v3": tensors.rebuild_v3,
    "torch._utils._rebuild_parameter": tensors.rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": tensors.rebuild_parameter,
    "torch._utils._rebuild_xla_tensor": tensors.from_numpy,
    "torch._utils._rebuild_device_tensor_from_numpy": tensors.from_numpy,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": tensors.from_cpu,
    "torch._tensor._rebuild_from_type": tensors.from_type,
    "torch._tensor._rebuild_from_type_v2": tensors.from_type,
    "torch.tensor._rebuild_from_type": tensors.from_type,
    "torch._utils._rebuild_sparse_tensor": _SPARSE,
    "torch._utils._rebuild_sparse_csr_tensor": _SPARSE,
    "torch._utils._rebuild_nested_tensor": refusing("holds a nested tensor: save unbind() of it"),
    "torch._utils._rebuild_qtensor": _QUANTISED,
    "torch._utils._rebuild_meta_tensor_no_storage": _META,
    "torch.distributed._shard.sharded_tensor.api.ShardedTensor": refusing(tensors.SHARDED),
    "torch.Size": _size,
    "torch.device": _device,
    "torch.serialization._get_layout": _layout,
    "collections.OrderedDict": _ordered,
    "collections.Counter": _counter,
    "argparse.Namespace": _namespace,
    "_codecs.encode": _bytes,
    "builtins.set": _set,
    "builtins.frozenset": _set,
    "builtins.bytes": _bytes,
    "builtins.complex": _complex,
    "copyreg._reconstructor": _instance,
    "copyreg.__newobj__": _instance,
    "copyreg.__newobj_ex__": _instance,
}

# classes that torch's own safe reading refuses, of which the plain content is kept
CONTENTS: dict[str, Callable[..., Any]] = {
    "collections.defaultdict": _mapping,
    "collections.deque": _sequence,
    "easydict.EasyDict": _mapping,
    "pytorch_lightning.utilities.parsing.AttributeDict": _mapping,
    "lightning.fabric.utilities.data.AttributeDict": _mapping,
    "lightning_fabric.utilities.data.AttributeDict": _mapping,
    "yacs.config.CfgNode": _mapping,
    "numpy.dtype": Dtype,
    "numpy.core.multiarray.scalar": scalar,
    "numpy._core.multiarray.scalar": scalar,
    "numpy.core.multiarray._reconstruct": Array,
    "numpy._core.multiarray._reconstruct": Array,
}

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "UntypedStorage": torch.uint8,
    "QInt8Storage": torch.qint8,
    "QUInt8Storage": torch.quint8,
    "QInt32Storage": torch.qint32,
}
# what Python 2 called its modules
RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}

# what the file names without calling it: a value of ours
VALUES: dict[str, Any] = {
    **DTYPES,
    **{
        f"{module}.{name}": StorageType(dtype)
        for module in ("torch", "torch.cuda", "torch.storage")
        for name, dtype in STORAGES.items()
    },
    "torch.Tensor": TensorType(),
    "torch._tensor.Tensor": TensorType(),
    "torch.tensor.Tensor": TensorType(),
    "torch.nn.parameter.Parameter": TensorType(),
}


def find(name: str) -> Any:
    """Returns our replacement for the function or class of this full name."""
    if name in VALUES:
        return VALUES[name]
    call = FUNCTIONS.get(name) or CONTENTS.get(name)
    return Foreign(name) if call is None else Allowed(call)


def is_foreign(name: str) -> bool:
    """Whether torch's own unpickler would have needed code to read this name."""
    return name not in VALUES and name not in FUNCTIONS
