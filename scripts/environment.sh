#!/usr/bin/env bash
# Makes or reuses a virtual environment: scripts/environment.sh FOLDER EXTRAS
#
# The package is installed from this clone in editable form, with the versions of constraints.txt.
# FOLDER/stamp holds a key over everything the environment depends on; while it is unchanged this script
# only compares it and starts neither Python nor pip.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$1
extras=$2
python=${PYTHON:-python3}

key=$(cat pyproject.toml constraints.txt | sha256sum | cut -c1-64)
key="$key $extras $(command -v "$python" || true) $PWD"
if [ -x "$folder/bin/python" ] && [ "$(cat "$folder/stamp" 2>/dev/null)" = "$key" ]; then
    exit 0
fi

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "clipworks needs Python 3.11 or later; '$python' is $("$python" --version 2>&1 || echo missing)." >&2
    echo "Name another one with: make PYTHON=/path/to/python3.12 ..." >&2
    exit 1
fi

echo "Installing clipworks[$extras] into $folder (once) ..." >&2
rm -rf "$folder"
"$python" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint constraints.txt --editable ".[$extras]"
printf '%s\n' "$key" > "$folder/stamp"

megabytes=$(du -sm "$folder" | cut -f1)
if "$folder/bin/python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'; then
    echo "$folder: $megabytes MB installed, with torch." >&2
else
    echo "$folder: $megabytes MB installed, no torch in it." >&2
fi
