import subprocess
from pathlib import Path

from solo_rekd.utils.versions import commit_of


def test_a_checkout_has_a_commit_and_another_folder_has_none(tmp_path: Path) -> None:
    assert commit_of(tmp_path / "none") is None
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    said = subprocess.run(
        ["git", "-C", str(tmp_path), "rev-parse", "HEAD"], capture_output=True, text=True
    ).stdout
    assert commit_of(tmp_path) == said[:12]
