"""`clipworks evaluate fetch`: published evaluation sets from the Hub, at the pinned revisions."""

from pathlib import Path

import click

from clipworks.cli.output import SETTINGS, json_option, note, print_json, print_table


@click.command(context_settings=SETTINGS)
@click.option("--suite", required=True, metavar="NAME,NAME,...", help="Suites and tasks.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of data sets.")
@click.option("--dry-run", is_flag=True, help="Print what would be fetched, with licences, and stop.")
@json_option("one line per task")
def fetch(suite: str, out: Path, dry_run: bool, as_json: bool) -> None:
    """Fetch the data of tasks from the Hugging Face Hub, resumed where it stopped, every shard checked.

    Read the licences first: many of these sets are for research only.

    \b
    Example:
      clipworks evaluate fetch --suite imagenet_shifts --out data --dry-run
    """
    from clipworks.evaluate.tasks import choose_tasks

    tasks = choose_tasks(suite)
    if dry_run:
        rows = [[t.key, t.repo or "-", t.revision or "newest", f"{t.size:,}", t.licence] for t in tasks]
        if as_json:
            for key, repo, revision, size, licence in rows:
                print_json(
                    {"task": key, "repo": repo, "revision": revision, "pictures": size, "licence": licence}
                )
        else:
            print_table(["task", "repository", "revision", "pictures", "licence"], rows)
        return
    from clipworks.evaluate.hub import fetch as download
    from clipworks.evaluate.hub import require_repository

    for task in tasks:
        require_repository(task)
    out.mkdir(parents=True, exist_ok=True)  # what cannot be written is said before anything is fetched
    for task in tasks:
        folder = download(task, out, show=lambda file: note(f"Checked {file}"))
        if as_json:
            print_json({"task": task.key, "folder": str(folder)})
        else:
            note(f"{task.key} is in {folder}.")
