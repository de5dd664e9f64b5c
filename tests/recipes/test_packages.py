"""recipes/packages.sh: what a kill in the middle of fetching leaves behind."""

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

RECIPE = Path(__file__).parents[2] / "recipes" / "packages.sh"


def fetch(work: Path, digest: str, tools: Path) -> int:
    """The functions of the recipe, and one call of `fetch_npm` on an archive that is there already."""
    functions = RECIPE.read_text(encoding="utf-8").split('\nmkdir -p "$packages/tags"\n')[0]
    call = f'\nfetch_npm made-up 1.0 made-up-1.0.tgz {digest} made-up "package"\n'
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", functions + call, str(RECIPE), str(work / "packages")], env=environment, check=False
    )
    return done.returncode


def test_a_kill_between_two_steps_of_a_fetch_loses_no_input_and_notes_none_twice(tmp_path: Path) -> None:
    downloads, tools = tmp_path / "packages" / "downloads", tmp_path / "tools"
    downloads.mkdir(parents=True)
    tools.mkdir()
    archive = downloads / "made-up-1.0.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("package/a.json")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"{}"))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    kill = tools / "mv"
    kill.write_text(
        '#!/bin/sh\nexec /usr/bin/env -i PATH=/usr/bin:/bin sh -c \'mv "$@"; kill -9 $PPID\' mv "$@"\n'
    )
    kill.chmod(0o755)
    assert fetch(tmp_path, digest, tools) != 0
    kill.unlink()
    assert fetch(tmp_path, digest, tools) == 0
    lines = (tmp_path / "packages" / "packages.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["made-up"]
    assert (tmp_path / "packages" / "made-up" / "a.json").is_file()
