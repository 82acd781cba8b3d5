"""A script that imports modules one after the other and prints a line of JSON for each.

It runs in its own process: whatever a module does to that, the command that started it continues.

    python probe.py '[["folder", ...], ["module", ...]]'
"""

import json
import sys
from importlib import import_module
from typing import Any

SIGN = "solo-rekd probe: "  # marks our lines among those that a module may print


def look(name: str) -> dict[str, Any]:
    """Imports a module, and tries what may fail later."""
    try:
        module = import_module(name)
        version = getattr(module, "__version__", None)
        return {"version": None if version is None else str(version), **try_out(name, module)}
    except BaseException as error:  # a broken package may raise anything
        said = str(error).strip().partition("\n")[0]
        return {"error": f"{type(error).__name__}: {said}" if said else type(error).__name__}


def try_out(name: str, module: Any) -> dict[str, Any]:
    """Returns what else is worth knowing about some modules beside their version."""
    if name == "torch":
        there = module.cuda.is_available()
        gpus = [module.cuda.get_device_name(i) for i in range(module.cuda.device_count())]
        return {"cuda": module.version.cuda, "gpus": gpus if there else []}
    if name == "torchvision":
        import torch

        module.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)  # uses its compiled part
    if name in ("solo.args.setup", "solo.args.pretrain"):
        methods = import_module("solo.methods").METHODS
        return {"registered": hasattr(methods.get("rekd"), "objective_class")}
    return {}


def main() -> None:
    """Imports the modules of the command line from its folders."""
    sys.path[:], names = json.loads(sys.argv[1])
    for name in names:
        print(SIGN + json.dumps([name, None]), flush=True)
        print(SIGN + json.dumps([name, look(name)]), flush=True)


if __name__ == "__main__":
    main()
