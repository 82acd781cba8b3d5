"""Notes what a process of Python asks of the network and writes to, in the file of a variable.

Every child has it too, by PYTHONPATH. A connection that would leave the machine fails.
"""

import json
import os
import sys

NOTES = os.environ.get("SOLO_REKD_WATCHED", "")
LOOPBACK = ("127.0.0.1", "::1", "localhost", "", None)
# events of writing, and the places of a path in their arguments and of what it is relative to
WRITING = {
    **{"os.mkdir": (0, 2), "os.rename": (1, 3), "os.link": (1, 3), "os.symlink": (1, 2)},
    **{"os.remove": (0, 1), "os.rmdir": (0, 1), "os.chmod": (0, 2), "os.truncate": (0, None)},
}
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _hook(event, args):
    if event == "open" and isinstance(args[0], str | bytes):
        if isinstance(args[2], int) and args[2] & CHANGES:
            _note("write", os.path.abspath(os.fsdecode(args[0])))
    elif event in WRITING:
        path, folder = WRITING[event]
        if isinstance(args[path], str | bytes | os.PathLike):
            _note("write", _absolute(os.fsdecode(args[path]), folder and args[folder]))
    elif event == "socket.getaddrinfo" and args[0] not in (*LOOPBACK, b"localhost"):
        _refuse("asks for", args[0])
    elif (
        event in ("socket.connect", "socket.sendto")
        and isinstance(args[1], tuple)
        and args[1][0] not in LOOPBACK
    ):
        _refuse("connects to", args[1][0])


def _absolute(path, folder):
    """A path, which may be relative to an open folder, such as one that is being removed."""
    if isinstance(folder, int) and folder >= 0:
        path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path)
    return os.path.abspath(path)


def _refuse(what, where):
    _note("network", f"{what} {where}")
    raise ConnectionRefusedError(f"a test allows no network: {what} {where}")


def _note(kind, what):
    if what == NOTES:  # that is opened below
        return
    file = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (json.dumps({"kind": kind, "what": what, "by": sys.argv[:2]}) + "\n").encode())
    os.close(file)


if NOTES:
    sys.addaudithook(_hook)
