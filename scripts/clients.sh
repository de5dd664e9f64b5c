#!/usr/bin/env bash
# Drives the client libraries that docs/clients.md names against a real server, unmodified: one environment
# for each group of them that installs together, kept as .venv-clients*. `make clients` runs it.
set -euo pipefail
cd "$(dirname "$0")/.."

drive() { # GROUP PACKAGES: what is named has to be there; a test of another client is skipped
    local folder=".venv-$1"
    scripts/environment.sh "$folder" "serve,search,$1"
    if [[ " $2 " == *" clip_retrieval "* ]]; then
        # Its client is one file that needs `requests`; its dependencies (numpy 1, torch) do not go with ours.
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps clip-retrieval==2.45.0
    fi
    echo "$1: $2"
    CLIPWORKS_TEST_CLIENTS=$2 "$folder/bin/pytest" -q -p no:cacheprovider tests/serve/dialects/test_clients.py
}

drive clients "openai huggingface_hub cohere infinity_client clip_retrieval"
drive clients-langchain "openai langchain_openai"
drive clients-litellm "litellm"
drive clients-voyage "voyageai"
