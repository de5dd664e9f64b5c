"""Copy measured numbers into README.md and docs/*.md; `--check` only says whether they agree.

A marked place is `<!-- FILE:PATH FORMAT -->text<!-- / -->`. FILE is benchmarks/results/FILE.json, PATH leads
to a value in it (keys joined by dots), FORMAT is a Python format (`.1f`, `.1%` for a share, `s`).
While the file does not exist the text reads "not measured yet".
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MARK = re.compile(r"<!-- (\w+):([\w.@'/ -]+) (\S+) -->(.*?)<!-- / -->", re.DOTALL)


def main() -> None:
    is_check = "--check" in sys.argv[1:]
    stale = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        filled = fill(text)
        if filled != text:
            stale.append(page.relative_to(ROOT).as_posix())
            if not is_check:
                page.write_text(filled, encoding="utf-8")
    if stale and is_check:
        sys.exit(f"{', '.join(stale)}: numbers differ. Run: python scripts/readme_numbers.py")
    print(f"Numbers {'updated in ' + ', '.join(stale) if stale else 'agree with benchmarks/results'}.")


def pages() -> list[Path]:
    """The files that may quote numbers."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def fill(text: str) -> str:
    """`text` with each marked place holding its measured value.

    Raises:
        KeyError: a place names a value that its result file does not have.
    """
    return MARK.sub(lambda match: _filled_mark(*match.groups()), text)


def _filled_mark(name: str, path: str, form: str, _old: str) -> str:
    file = ROOT / "benchmarks" / "results" / f"{name}.json"
    if not file.exists():
        shown = "not measured yet"
    else:
        value: Any = json.loads(file.read_text(encoding="utf-8"))
        for key in path.split("."):
            if not isinstance(value, list | dict):
                raise KeyError(f"{file.name} has no {path}: {key} would be inside {value!r}")
            value = value[int(key)] if isinstance(value, list) else value[key]
        shown = format(value, form)
    return f"<!-- {name}:{path} {form} -->{shown}<!-- / -->"


if __name__ == "__main__":
    main()
