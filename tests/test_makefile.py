import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def commands(*argv: str) -> list[str]:
    """Returns what `make` would run, with no environment there yet."""
    command = ["make", "--dry-run", "VENV=no-such-folder", *argv]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.replace("\\\n", " ").splitlines()


def pins() -> set[str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return {line for line in lines if line.startswith(("torch==", "torchvision=="))}


def test_another_build_of_torch_comes_first_and_from_its_index_alone() -> None:
    lines = [line for line in commands("install", "TORCH_INDEX=URL") if " install " in line]
    assert '--index-url "URL"' in lines[0]
    assert len(pins()) == 2
    assert pins() <= set(lines[0].split())
    assert not any("URL" in line for line in lines[1:])


def test_without_an_index_nothing_but_the_pins_is_asked_for() -> None:
    assert not any("--index-url" in line for line in commands("install"))


def test_nothing_is_installed_without_a_hash_but_this_package_and_another_torch() -> None:
    lines = [line for line in commands("install", "TORCH_INDEX=URL") if " install " in line]
    assert len(lines) == 5
    open_lines = [line for line in lines if "--require-hashes" not in line]
    assert [line.split()[-1] for line in open_lines][1:] == ["."]
    assert "--index-url" in open_lines[0]
    assert all("--no-deps" in line for line in lines)


def test_the_benchmark_is_given_its_parts_and_nothing_that_is_not_asked_for() -> None:
    line = next(line for line in commands("bench", "PARTS=steps losses") if "-m bench" in line)
    assert "--parts steps losses" in line
    assert not {"--quick", "--parent", "--data"} & set(line.split())
    line = next(line for line in commands("bench", "QUICK=1", "PARENT=abc") if "-m bench" in line)
    assert "--quick" in line and '--parent "abc"' in line


def test_what_make_runs_for_hours_gets_the_signal_that_ends_make() -> None:
    for target in ("bench", "study", "reliability"):
        line = next(line for line in commands(target) if f"-m {target}" in line)
        assert line.lstrip("@").startswith("exec env ")
