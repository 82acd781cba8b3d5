"""Interprets the opcodes of a pickle on plain containers."""

import pickletools
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any, cast

from solo_rekd.checkpoints.pickled import keys
from solo_rekd.checkpoints.pickled.allowed import RENAMED, Allowed, find, is_foreign
from solo_rekd.checkpoints.pickled.arrays import Array
from solo_rekd.checkpoints.pickled.errors import Unreadable
from solo_rekd.checkpoints.pickled.inert import LONGEST_NAME, Foreign, Inert
from solo_rekd.checkpoints.pickled.source import Source

MOST_OPERATIONS = 10_000_000  # a checkpoint of a large network has some 100,000
CONTAINER = 5  # operations that one counts for which makes a container, of up to 216 bytes
LONGEST_INTEGER = 2**13  # bits; Python does not print longer ones

# opcodes that push their own argument
LITERALS = set(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 STRING BINSTRING SHORT_BINSTRING BINBYTES "
    "SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 FLOAT "
    "BINFLOAT".split()
)
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
}
COPIED = (str, bytes, list, tuple, dict, set, Array)  # by our functions, where they are arguments
CONTAINERS = set(
    "EMPTY_LIST EMPTY_DICT EMPTY_SET MARK TUPLE1 TUPLE2 TUPLE3 REDUCE NEWOBJ NEWOBJ_EX".split()
)
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Machine:
    """Reads one pickle.

    Args:
        source: stands at the first opcode, and after `run` behind the last.
        storage: gives what a persistent id stands for.
        operations: how many opcodes there may be, `CONTAINER` for each container.

    Attributes:
        foreign: the names that the pickle uses and torch's safe unpickler would refuse.
    """

    def __init__(
        self,
        source: Source,
        storage: Callable[[Any], Any] | None = None,
        operations: int = MOST_OPERATIONS,
    ) -> None:
        self.foreign: dict[str, None] = {}
        self._source = source
        self._storage = storage
        self._operations = operations
        # each byte may be copied into a container of ours a few times, and not once per mention
        self._copies = 4 * len(source) + 2**20
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Reads the pickle.

        Raises:
            Unreadable: it is damaged, too large, or holds tensors that are not read.
        """
        for opcode, argument, _ in pickletools.genops(cast(IO[bytes], self._source)):
            name = opcode.name
            self._operations -= CONTAINER if name in CONTAINERS else 1
            if self._operations < 0:
                raise Unreadable("holds too many objects for a checkpoint")
            if name in LITERALS:
                if isinstance(argument, int) and argument.bit_length() > LONGEST_INTEGER:
                    raise Unreadable
                self._stack.append(argument)
            elif name in CONSTANTS:
                self._stack.append(CONSTANTS[name])
            elif name in EMPTY:
                self._stack.append(EMPTY[name]())
            elif name in TUPLES:
                taken = [self._pop() for _ in range(TUPLES[name])]
                self._stack.append(tuple(reversed(taken)))
            elif name == "STOP":
                break
            elif name not in ("PROTO", "FRAME"):
                action = ACTIONS.get(name)
                if action is None:
                    raise Unreadable
                action(self, argument)
        result = self._pop()
        if self._stack or self._outer:
            raise Unreadable
        return result

    def _pop(self) -> Any:
        if not self._stack:
            raise Unreadable
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack:
            raise Unreadable
        return self._stack[-1]

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _mark(self, _: Any) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        if not self._outer:
            raise Unreadable
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _drop(self, _: Any) -> None:
        # POP takes a mark away where nothing lies on it
        if self._stack:
            self._stack.pop()
        else:
            self._since_mark()

    def _drop_all(self, _: Any) -> None:
        self._since_mark()

    def _put(self, index: Any) -> None:
        self._memo[len(self._memo) if index is None else index] = self._top()

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise Unreadable
        self._push(self._memo[index])

    def _find(self, module: Any, name: Any) -> Any:
        if not (isinstance(module, str) and isinstance(name, str)):
            raise Unreadable
        full = f"{RENAMED.get(module, module)[:LONGEST_NAME]}.{name[:LONGEST_NAME]}"
        found = find(full)
        if is_foreign(full):
            self.foreign[Foreign(full).name] = None
        return found

    def _global(self, names: str) -> None:
        self._push(self._find(*names.split(" ", 1)))

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        self._push(self._find(module, name))

    def _extension(self, code: int) -> None:
        self._push(self._find("copyreg", f"extension_{code}"))

    def _make(self, kind: Any, args: Any) -> Any:
        """What calling `kind` gives: the only place where a function is called for the file."""
        if not isinstance(args, tuple):
            raise Unreadable
        if isinstance(kind, Allowed):
            self._charge(args, *args)
            try:
                return kind.call(*args)
            except TypeError as error:  # of another number of arguments
                raise Unreadable from error
        if not isinstance(kind, Foreign):
            raise Unreadable
        return Inert(kind.name)

    def _charge(self, *copied: Any) -> None:
        self._copies -= sum(len(each) for each in copied if isinstance(each, COPIED))
        if self._copies < 0:
            raise Unreadable

    def _reduce(self, _: Any) -> None:
        args = self._pop()
        self._push(self._make(self._pop(), args))

    def _new_with_keywords(self, _: Any) -> None:
        keywords, args = self._pop(), self._pop()
        if not isinstance(keywords, dict):
            raise Unreadable
        self._push(self._make(self._pop(), args))

    def _instance(self, names: str) -> None:
        args = tuple(self._since_mark())
        self._push(self._make(self._find(*names.split(" ", 1)), args))

    def _object(self, _: Any) -> None:
        items = self._since_mark()
        if not items:
            raise Unreadable
        self._push(self._make(items[0], tuple(items[1:])))

    def _build(self, _: Any) -> None:
        state = self._pop()
        made = self._top()
        if isinstance(made, Namespace) and isinstance(state, dict):
            self._charge(state)
            if not all(isinstance(key, str) for key in state):
                raise Unreadable
            vars(made).update(state)
        elif isinstance(made, Inert):
            made.state = state
        elif isinstance(made, OrderedDict) and isinstance(state, dict):
            # of the modules whose weights these are; other attributes are left out
            versions = state.get("_metadata")
            if isinstance(versions, dict):
                self._charge(versions, *versions.values())
                if _is_table(versions):
                    vars(made)["_metadata"] = versions

    def _append(self, _: Any) -> None:
        self._extend([self._pop()])

    def _extend(self, items: list[Any]) -> None:
        made = self._top()
        if isinstance(made, list):
            made.extend(items)
        elif not isinstance(made, Inert):
            raise Unreadable

    def _set_items(self, items: list[Any]) -> None:
        made = self._top()
        if isinstance(made, dict):
            keys.add(made, items[::2], items[1::2])
        elif not isinstance(made, Inert):
            raise Unreadable

    def _set_item(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _add_items(self, _: Any) -> None:
        items = self._since_mark()
        made = self._top()
        if isinstance(made, set):
            made.update(keys.checked(item) for item in items)
        elif not isinstance(made, Inert):
            raise Unreadable

    def _dict(self, _: Any) -> None:
        items = self._since_mark()
        self._push({})
        self._set_items(items)

    def _persistent(self, _: Any) -> None:
        if self._storage is None:
            raise Unreadable
        self._push(self._storage(self._pop()))


def _is_table(value: dict[Any, Any]) -> bool:
    """Whether it is a dictionary of dictionaries of plain values."""
    return all(
        isinstance(row, dict)
        and all(isinstance(cell, str | int | None) for cell in (*row, *row.values()))
        for row in value.values()
    )


ACTIONS: dict[str, Callable[[Machine, Any], None]] = {
    "MARK": Machine._mark,
    "POP": Machine._drop,
    "POP_MARK": Machine._drop_all,
    "DUP": lambda machine, _: machine._push(machine._top()),
    "LIST": lambda machine, _: machine._push(machine._since_mark()),
    "TUPLE": lambda machine, _: machine._push(tuple(machine._since_mark())),
    "FROZENSET": lambda machine, _: machine._push(
        {keys.checked(item) for item in machine._since_mark()}
    ),
    "DICT": Machine._dict,
    "APPEND": Machine._append,
    "APPENDS": lambda machine, _: machine._extend(machine._since_mark()),
    "SETITEM": Machine._set_item,
    "SETITEMS": lambda machine, _: machine._set_items(machine._since_mark()),
    "ADDITEMS": Machine._add_items,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Machine._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine._get),
    "GLOBAL": Machine._global,
    "STACK_GLOBAL": Machine._stack_global,
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), Machine._extension),
    "REDUCE": Machine._reduce,
    "NEWOBJ": Machine._reduce,
    "NEWOBJ_EX": Machine._new_with_keywords,
    "INST": Machine._instance,
    "OBJ": Machine._object,
    "BUILD": Machine._build,
    "BINPERSID": Machine._persistent,
}
