# `make` alone lists the targets. Nothing else has to be installed first than Python >= 3.11, git and make.
PYTHON ?= python3
export PYTHON
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
	.venv/bin/pytest -m "not slow and not browser" --durations=5
	.venv/bin/pytest -m "slow or browser" --durations=5

clients: ## Drive the client libraries of docs/clients.md, in environments of their own
	@scripts/clients.sh

bench: ## Measure, write benchmarks/results/*.json, copy the numbers into README.md
	@scripts/environment.sh .venv test
	.venv/bin/python -m benchmarks.startup
	.venv/bin/python -m benchmarks.pictogram
	.venv/bin/python -m benchmarks.precision
	.venv/bin/python -m benchmarks.relevance
	.venv/bin/python scripts/readme_numbers.py
