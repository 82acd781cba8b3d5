import os
import subprocess
import sys

import pytest

from solo_rekd.utils.memory import available_memory, keep_freed_memory

# what a step does: it asks for large blocks, fills them and frees them
FAULTS = """
import resource, sys, torch
from solo_rekd.utils.memory import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
def faults():
    for _ in range(20):
        torch.empty(16 << 20).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
print(kept, faults() - before)
"""
glibc_alone = pytest.mark.skipif(
    not sys.platform.startswith("linux") or "CS_GNU_LIBC_VERSION" not in os.confstr_names,
    reason="needs glibc",
)


def count_faults(keep: str, **chosen: str) -> tuple[str, int]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD"))
    }
    out = subprocess.check_output(
        [sys.executable, "-c", FAULTS, keep], env=environment | chosen, text=True
    )
    kept, faults = out.split()
    return kept, int(faults)


@pytest.mark.slow
@glibc_alone
def test_freed_memory_is_kept_and_not_zeroed_again() -> None:
    _, before = count_faults("leave")
    kept, after = count_faults("keep")
    assert kept == "True"
    assert after < before / 10


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD"])
def test_an_allocator_that_a_user_has_chosen_stays(name: str) -> None:
    assert keep_freed_memory({name: "1"}) is False


def test_available_memory_is_what_linux_says(tmp_path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    3 kB\n")
    assert available_memory(tmp_path / "meminfo") == 3 * 1024
