"""The gallery's 3-D emoji as class folders: python -m recipes.finetune_pictures GALLERY FOLDER [CLASSES]

Classes are those of `benchmarks/emoji3d.jsonl`; the CLASSES largest are taken, 12 unless said otherwise.
"""

import argparse
import json
import shutil
import sys
from collections import defaultdict
from pathlib import Path

from clipworks.files import atomic_folder

CLASSES_FILE = Path(__file__).parent.parent / "benchmarks" / "emoji3d.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gallery", type=Path, help="folder of the gallery")
    parser.add_argument("target", type=Path, help="folder to make; nothing is done where it is there")
    parser.add_argument("classes", type=int, nargs="?", default=12, help="how many")
    options = parser.parse_args()
    if options.target.is_dir():
        return
    with atomic_folder(options.target) as folder:
        count = copy_classes(options.gallery, folder, options.classes)
    print(f"{count} pictures of {options.classes} classes in {options.target}", file=sys.stderr)


def copy_classes(gallery: Path, folder: Path, num_classes: int) -> int:
    """Copy the pictures of the largest classes into folders of their names; how many there are."""
    pictures: dict[str, list[Path]] = defaultdict(list)
    for row in map(json.loads, CLASSES_FILE.read_text(encoding="utf-8").splitlines()):
        path = gallery / "images" / f"emoji-{row['code']}.webp"
        if path.is_file():
            pictures[row["class"]].append(path)
    largest = sorted(pictures, key=lambda name: (-len(pictures[name]), name))[:num_classes]
    for name in largest:
        (folder / name.replace(" ", "_")).mkdir(parents=True)
        for path in pictures[name]:
            shutil.copyfile(path, folder / name.replace(" ", "_") / path.name)
    return sum(len(pictures[name]) for name in largest)


if __name__ == "__main__":
    main()
