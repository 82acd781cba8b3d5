"""Run by itself: imports modules one after the other, and says a line of JSON of each.

Whatever a module does to its process, the command that started this one continues.

    python probe.py '[["folder", ...], ["module", ...]]'
"""

import json
import sys
from importlib import import_module
from typing import Any

SIGN = "solo-rekd probe: "  # begins our lines, among those that a module may print


def look(name: str) -> dict[str, Any]:
    """Imports a module, and tries what may fail in it later."""
    try:
        module = import_module(name)
        version = getattr(module, "__version__", None)
        return {"version": None if version is None else str(version), **try_out(name, module)}
    except BaseException as error:  # a broken package fails in any way
        said = str(error).strip().partition("\n")[0]
        return {"error": f"{type(error).__name__}: {said}" if said else type(error).__name__}


def try_out(name: str, module: Any) -> dict[str, Any]:
    """What is of interest in some modules beside their version."""
    if name == "torch":
        there = module.cuda.is_available()
        gpus = [module.cuda.get_device_name(i) for i in range(module.cuda.device_count())]
        return {"cuda": module.version.cuda, "gpus": gpus if there else []}
    if name == "torchvision":
        import torch

        module.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)  # of its compiled part
    if name in ("solo.args.setup", "solo.args.pretrain"):
        methods = import_module("solo.methods").METHODS
        return {"registered": hasattr(methods.get("rekd"), "objective_class")}
    return {}


def main() -> None:
    """Looks at the modules in the folders of the command line."""
    sys.path[:], names = json.loads(sys.argv[1])
    for name in names:
        print(SIGN + json.dumps([name, None]), flush=True)
        print(SIGN + json.dumps([name, look(name)]), flush=True)


if __name__ == "__main__":
    main()
