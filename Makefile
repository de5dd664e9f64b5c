# `make` alone lists the targets. Nothing else has to be installed first than Python >= 3.11, git and make.
PYTHON ?= python3
export PYTHON
# How many tests run at once, each on one core. Those at a published model's full width need 7 GB, the others 1.5.
WORKERS ?= 2
PYTEST = OMP_NUM_THREADS=1 .venv/bin/pytest -n $(WORKERS) --dist worksteal --durations=5
# Tests start some hundred processes of ours: what is compiled is kept, even where the environment forbids it.
export PYTHONDONTWRITEBYTECODE :=
.DEFAULT_GOAL := help
.PHONY: help demo test check clients bench

help: ## List these targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 8

demo: ## Serve the built-in model and a gallery of real pictures on http://127.0.0.1:8000 (ARGS="--port 9000")
	@scripts/environment.sh .venv-demo serve
	@exec .venv-demo/bin/clipworks demo $(ARGS)

check: ## Lint, formatting, types
	@scripts/environment.sh .venv test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

test: check ## Everything that can be checked here: check, the fast tests, then the slow ones
	$(PYTEST) -m "not slow and not browser"
	$(PYTEST) -m "slow or browser"

clients: ## Drive every client library of docs/clients.md, in an environment of their own
	@scripts/environment.sh .venv-clients clients
	@# clip-retrieval's client is one file that needs `requests`; what its package needs (NumPy 1) does not go with ours.
	@.venv-clients/bin/python -m pip install --quiet --disable-pip-version-check --no-deps clip-retrieval==2.45.0
	CLIPWORKS_TEST_CLIENTS="clip_retrieval cohere huggingface_hub infinity_client langchain_openai litellm openai voyageai" \
	    .venv-clients/bin/pytest tests/serve/dialects/test_clients.py

bench: ## Measure, write benchmarks/results/*.json, copy the numbers into README.md
	@scripts/environment.sh .venv test
	.venv/bin/python -m benchmarks.startup
	.venv/bin/python -m benchmarks.pictogram
	.venv/bin/python -m benchmarks.precision
	.venv/bin/python -m benchmarks.relevance
	.venv/bin/python -m benchmarks.heatmap
	.venv/bin/python scripts/readme_numbers.py
