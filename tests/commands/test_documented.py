"""Every command line of ours in the README, the docs and the scripts is one that we read."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documents import DOCUMENTS, ROOT, blocks, is_coming

from solo_rekd import cli
from solo_rekd.commands import jobs
from solo_rekd.compare.options import read_options
from solo_rekd.config import CONFIGS
from solo_rekd.hosts import names
from solo_rekd.hosts.jobs import Network

OURS = re.compile(r"^(solo-rekd |[A-Z]+=)", re.MULTILINE)  # a later block uses variables of this
STUB = """#!{python} -I
import json, os, sys
with open(os.environ["SAID"], "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
"""
SETTINGS = ("temperature", "queue_size", "proj_hidden_dim", "proj_output_dim")
OF_LIGHTNING = (
    "precision accelerator devices strategy sync_batchnorm limit_train_batches limit_val_batches"
).split()


def said_by(words: list[str], folder: Path) -> list[list[str]]:
    """The words that `bash WORDS` gives to `solo-rekd`; there is no other program for it."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name, text in (
        ("solo-rekd", STUB.format(python=sys.executable)),
        ("ls", "#!/bin/sh\necho run/x-ep=0.ckpt\n"),
        ("head", "#!/bin/sh\nread -r line; echo $line\n"),
        ("dirname", '#!/bin/sh\necho "${1%/*}"\n'),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    said = folder / "said"
    said.write_text("")
    environment = {"PATH": str(programs), "SAID": str(said)}
    subprocess.run(["/bin/bash", *words], cwd=folder, env=environment, capture_output=True)
    return [json.loads(line) for line in said.read_text().splitlines()]


def lines_of(document: str, folder: Path) -> list[list[str]]:
    """The command lines of ours in a document, its variables replaced."""
    script = folder / "blocks.sh"
    script.write_text("\n".join(text for text in blocks(document) if OURS.search(text)))
    return said_by([str(script)], folder)


def read(words: list[str]) -> None:
    """Reads a command line as its command does, as far as that needs no host and no files."""
    _, args = cli.parse(words)
    if words[0] == "pretrain":
        methods = dict.fromkeys((*CONFIGS, "mocov2plus", "simclr"), SETTINGS)
        job = jobs.pretraining(args, methods)
        assert not set(job.host) - {*names.HOST, *OF_LIGHTNING, "dali"}
    elif words[0] == "linear":
        jobs.linear_evaluation(args, Network(args.encoder))
    elif words[0] == "compare":
        read_options(words[1:])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_command_lines_of_a_document_are_read(document: str, tmp_path: Path) -> None:
    number = len(re.findall(r"^solo-rekd ", "\n".join(blocks(document)), re.MULTILINE))
    lines = lines_of(document, tmp_path)
    assert len(lines) == number
    for words in lines:
        if not is_coming(words):
            read(words)


SCRIPTS = [path for path in sorted(ROOT.glob("scripts/*/*/*.sh")) if path.name != "protocol.sh"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: "/".join(path.parts[-3:]))
def test_command_lines_of_a_script_are_read(script: Path, tmp_path: Path) -> None:
    usage = re.search(r"^# Usage: bash \S+ ([A-Z_ ]+)", script.read_text(), re.MULTILINE)
    assert usage is not None
    values = {"CROP_SIZE": "224", "STUDENT": "alexnet"}
    lines = said_by([str(script), *(values.get(w, w) for w in usage[1].split())], tmp_path)
    assert lines
    for words in lines:
        read(words)
