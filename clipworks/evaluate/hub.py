"""Data sets from the Hugging Face Hub: the pinned revision, resumed where it stopped, every shard checked.

The only file of the evaluation that goes to the network, and only when it is asked to.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import huggingface_hub

from clipworks.errors import DataError, NetError, reason_of
from clipworks.evaluate.tasks import Task
from clipworks.files import sha256_file

SUFFIXES = (".txt", ".tar", ".csv", ".zip")
"""What belongs to the data; loading scripts do not."""


def require_repository(task: Task) -> None:
    """Refuse a task whose data are not on the Hub.

    Raises:
        DataError: as said.
    """
    if "/" not in task.repo:
        raise DataError(
            f"The data of {task.name} are not on the Hub ({task.repo or 'they must be put together'}).",
            "docs/evaluate.md says where they come from.",
        )


def fetch(task: Task, data: Path, *, show: Callable[[str], None]) -> Path:
    """Download a task's data into `data/REPOSITORY`, where `evaluate` finds them.

    What is there whole is not fetched again; a file that was cut goes on where it stopped.

    Args:
        task: with a repository on the Hub.
        data: folder of data sets.
        show: told what is checked.

    Raises:
        DataError: the data are not on the Hub, the pinned revision is gone, or a file has another sha256.
        NetError: the Hub cannot be reached.
    """
    require_repository(task)
    folder = data / task.repo.rpartition("/")[2]
    try:
        api = huggingface_hub.HfApi()
        commit = _commit(api, task)
        info = api.dataset_info(task.repo, revision=commit, files_metadata=True)
        files = [file for file in info.siblings or () if file.rfilename.endswith(SUFFIXES)]
        for file in files:
            huggingface_hub.hf_hub_download(
                task.repo, file.rfilename, repo_type="dataset", revision=commit, local_dir=folder
            )
    except huggingface_hub.errors.GatedRepoError as error:
        raise DataError(
            f"{task.repo} asks for an account's consent.", "Accept its terms on the Hub and set HF_TOKEN."
        ) from error
    except _fetch_errors() as error:
        raise NetError(
            f"{task.repo} could not be fetched: {reason_of(error)}.",
            "Repeat the command: what has arrived is kept.",
            reason="unreachable",
        ) from error
    _check(folder, files, show)
    return folder


def _fetch_errors() -> tuple[type[Exception], ...]:
    """What a broken connection raises; the HTTP client's errors are bases of the Hub's own."""
    return (OSError, *huggingface_hub.errors.HfHubHTTPError.__bases__)


def _commit(api: Any, task: Task) -> str:
    """The whole id of the pinned commit; of the newest where none is pinned."""
    commits = [one.commit_id for one in api.list_repo_commits(task.repo, repo_type="dataset")]
    found = next((one for one in commits if one.startswith(task.revision)), None)
    if found is None:
        raise DataError(
            f"{task.repo} has no commit {task.revision} any more, with which published numbers were made.",
            "Look for a copy of it; another revision may give other numbers.",
        )
    return str(found)


def _check(folder: Path, siblings: Sequence[Any], show: Callable[[str], None]) -> None:
    for file in siblings:
        path = folder / file.rfilename
        if file.lfs is None or not path.exists():
            continue
        show(file.rfilename)
        found = sha256_file(path)
        if found != file.lfs.sha256:
            path.unlink()
            raise DataError(
                f"{path} has the sha256 {found[:12]}…, the Hub says {file.lfs.sha256[:12]}….",
                "It was removed; repeat the command.",
            )
