"""The results of the ablation: benchmarks/results/ablation.json, table and plot of docs/ablation.md."""

from pathlib import Path

MEASURES = {
    "emoji3d_zero_shot": "top1",
    "emoji3d_name": "recall_at_10",
    "openclipart_title": "recall_at_10",
    "photographs_seen_zero_shot": "top1",
    "fashion_mnist_zero_shot": "top1",
}
"""Each suite's number that counts."""


def write_report(work: Path) -> None:
    """Write down what the runs of a work folder have found."""
    print(len(list(work.glob("runs/*/scores.json"))))
