"""Write clipworks/model/published_scores.csv, the published scores of the catalogue's models, from tables.

    python scripts/published_scores.py FOLDER

FOLDER holds `published_results.csv` and `published_retrieval.csv` (columns model, pretrained, dataset, value:
these models' rows of open_clip's docs/openclip_results.csv and docs/openclip_retrieval_results.csv) and
`clip_benchmark_published.csv` (columns model, pretrained, dataset, metric, value, source, hf_repo), of which
the averages over languages are taken. Numbers are copied as they are written there.
"""

import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from clipworks.files import atomic_write
from clipworks.model.scores import COLUMNS, PUBLISHED

RESULTS = "open_clip/docs/openclip_results.csv@89fb801"
RETRIEVAL = "open_clip/docs/openclip_retrieval_results.csv@89fb801"

NOT_A_TASK = ("params (M)", "FLOPs (B)")

METRICS = {
    "Caltech-101": "mean per-class recall",
    "FGVC Aircraft": "mean per-class recall",
    "Oxford Flowers-102": "mean per-class recall",
    "Oxford-IIIT Pet": "mean per-class recall",
    "Flickr": "mean R@1",
    "MSCOCO": "mean R@1",
    "WinoGAViL": "Jaccard 10-12",
    "iWildCam": "macro-F1",
    "FMoW": "worst region",
    "Dollar Street": "worst group top-5",
    "GeoDE": "worst group",
    "Average perf. on 38 datasets": "mean",
}
"""What is counted, by task, as in DataComp's tasklist.yml; top-1 accuracy for all others."""

LANGUAGES = {
    "crossmodal3600[avg]": "average of XM3600 languages",
    "multilingual_mscoco_captions[avg]": "average of MSCOCO languages",
}

Row = tuple[str, ...]


def main() -> None:
    """Read the three tables and write one."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    rows = [*results(folder), *retrieval(folder), *languages(folder)]
    with atomic_write(PUBLISHED) as file:
        lines = [COLUMNS, *rows]
        assert not any(set(',"\n') & set(cell) for line in lines for cell in line)
        file.write("".join(",".join(line) + "\n" for line in lines).encode("ascii"))
    print(f"{len(rows)} scores of {len({row[0] for row in rows})} models.")


def results(folder: Path) -> Iterator[Row]:
    """The 38 tasks of the DataComp suite and their average."""
    for line in read(folder / "published_results.csv"):
        task = line["dataset"]
        if task not in NOT_A_TASK:
            name = "average of 38" if task.startswith("Average") else task
            yield line["model"], "38 tasks", name, METRICS.get(task, "top-1"), line["value"], RESULTS


def retrieval(folder: Path) -> Iterator[Row]:
    """Recall at 1, 5 and 10 in both directions, and the WinoGAViL variants."""
    for line in read(folder / "published_retrieval.csv"):
        task = line["dataset"]
        if task in NOT_A_TASK:
            continue
        if found := re.fullmatch(r"(\w+) (image|text) retr\. (R@\d+)", task):
            name, metric = found[1], f"{found[2]} retrieval {found[3]}"
        elif task == "Average score":
            name, metric = "average of retrieval", "mean of 19 columns"
        else:
            name, metric = task.split(" ", 1)
            metric = metric.replace("jaccard score", "Jaccard").replace("avg Jaccard", "Jaccard mean")
        yield line["model"], "retrieval", name, metric, line["value"], RETRIEVAL


def languages(folder: Path) -> Iterator[Row]:
    """Recall at 1 averaged over languages: what these English models do with others."""
    for line in read(folder / "clip_benchmark_published.csv"):
        found = re.fullmatch(r"(image|text)_retrieval_recall@1", line["metric"])
        if found and line["dataset"] in LANGUAGES:
            task, metric = LANGUAGES[line["dataset"]], f"{found[1]} retrieval R@1"
            yield line["hf_repo"], "languages", task, metric, line["value"], line["source"]


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a table with a head line."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
