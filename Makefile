# Every target sets up what it needs. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK = 1
ifdef CONFIG
export CXAD_CONFIG := $(CONFIG)
endif

.DEFAULT_GOAL := help
.PHONY: help setup install lock train evaluate serve batch batch-iforest batch-rcf test lint peers bench clean \
        docker-up docker-down workflow up

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv from the lock file

setup: install ## The same as install

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "installing into $(VENV) (once; a minute or two)"
	@$(PYTHON) -m venv $(VENV)
	@# the lock is complete: nothing is left for pip to resolve
	@$(BIN)/pip install --quiet --no-deps --require-hashes --requirement requirements.lock
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet
lock: ## Write the lock files again from pyproject.toml: for development, for the image, for the benchmarks' peers
	$(LOCK) pyproject.toml --extra pipeline --extra serving --extra dev --output-file requirements.lock
	$(LOCK) pyproject.toml --extra pipeline --extra serving --constraint requirements.lock --output-file docker/requirements.lock
	$(LOCK) pyproject.toml --extra serving --constraint requirements.lock --output-file docker/serving.lock
	$(LOCK) --group bench --no-deps --output-file benchmarks/requirements.lock
	$(LOCK) --group isotree --no-deps --output-file benchmarks/isotree.lock

peers: install ## What only benchmarks compare with, and isotree, which is compiled (needs a C++ compiler)
	@$(BIN)/pip install --quiet --no-deps --require-hashes --requirement benchmarks/requirements.lock
	@$(BIN)/pip install --quiet --no-deps --require-hashes --requirement benchmarks/isotree.lock || \
		echo "isotree could not be built: benchmarks say so in its rows, tests of fcf are skipped"

workflow: install ## Train, evaluate, score the sample, export, alert: the whole pipeline once
	@$(BIN)/cxad workflow

train: install ## Train, evaluate, register, promote
	@$(BIN)/cxad train

evaluate: install ## The evaluation report of the latest detector, with the labels of the training sample
	@$(BIN)/cxad evaluate --labels data/labels/mock_train_labels.csv

batch: install ## Score all landed files with the ensemble
	@$(BIN)/cxad score

batch-iforest: install ## Score all landed files, export the Isolation Forest alone
	@$(BIN)/cxad score --model iforest

batch-rcf: install ## Score all landed files, export the Random Cut Forest alone
	@$(BIN)/cxad score --model rcf

up: install ## Dagster UI (3000), MLflow UI (5000), REST API (8000); Ctrl-C stops all
	@$(BIN)/cxad up

serve: install ## The REST API on port 8000 (API_PORT), docs at /docs; Ctrl-C stops it
	@$(BIN)/cxad serve

test: install ## All tests
	@$(BIN)/pytest -n 2 --dist loadscope

lint: install ## Ruff, mypy, import floors
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: peers ## Benchmarks against peers in the same run; tables, JSON and PNG in benchmarks/results
	@missed=0; \
	$(BIN)/python benchmarks/speed.py || missed=1; \
	$(BIN)/python benchmarks/quality.py || missed=1; \
	$(BIN)/python benchmarks/end_to_end.py --five-million || missed=1; \
	$(BIN)/python benchmarks/feature_ablation.py || missed=1; \
	$(BIN)/python benchmarks/landing_to_scores.py || missed=1; \
	$(BIN)/python benchmarks/serving.py --long --serving-only || missed=1; \
	$(BIN)/python benchmarks/incidents.py || missed=1; \
	exit $$missed

docker-up: ## Start the services of docker-compose.yml
	docker compose up --build --detach

docker-down: ## Stop them
	docker compose down

clean: ## Remove what was made: data of runs, state with all databases (MLflow, Dagster, anomalies and feedback), caches
	rm -rf data/processed data/storage data/state data/technion .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache build cxad_pipeline.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
