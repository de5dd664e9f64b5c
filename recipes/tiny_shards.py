"""A folder of captioned pictures -> tar shards: python -m recipes.tiny_shards PICTURES SHARDS

PICTURES has a captions file (`metadata.jsonl`, `captions.jsonl` or `labels.jsonl`); rows without a
caption are left out.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from clipworks.search.pictures import read_captions
from clipworks.shards import IMAGE_EXTENSIONS, Sample, write_shards


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    manifest = write_shards(samples(source), target, details={"source": source.name})
    print(f"{manifest['samples']} pictures in {len(manifest['shards'])} shards in {target}", file=sys.stderr)


def samples(source: Path) -> Iterator[Sample]:
    """The captioned pictures of a folder, in the order of their names."""
    for name, row in sorted(read_captions(source).items()):
        path = source / name
        extension = path.suffix.lower().removeprefix(".")
        if row["caption"] and extension in IMAGE_EXTENSIONS:
            key = path.relative_to(source).with_suffix("").as_posix().replace("/", "-").replace(".", "-")
            details = {column: row[column] for column in ("licence", "author", "source") if row[column]}
            yield Sample(
                key=key,
                image=path.read_bytes(),
                extension=extension,
                texts=(row["caption"],),
                details=details,
            )


if __name__ == "__main__":
    main()
