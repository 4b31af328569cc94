# Everything a newcomer types. Each target makes the environment first; nothing is installed outside .venv.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: repro test check ui clean

repro: .venv/ready  ## the whole way, from raw data to a registered ensemble and a report
	@python -m src.config.params
	dvc repro
	@python -m src.show

test: .venv/ready  ## all tests, slow ones included
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10

check: .venv/ready  ## lint, format, types
	ruff check .
	ruff format --check .
	mypy

ui: .venv/ready  ## MLflow on http://127.0.0.1:5000; prints the pages that open on the runs
	@python -m src.tracking.pages sqlite:///mlflow.db http://127.0.0.1:5000
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --backend-store-uri sqlite:///mlflow.db --workers 1 \
	  --host 127.0.0.1 --port 5000 --allowed-hosts localhost:5000,127.0.0.1:5000

clean:  ## what runs have made and git does not track; the environment and DVC's cache stay (dvc gc -w empties it)
	rm -rf outputs report .lockstep data/prepared multirun mlflow.db mlflow.db-* mlflow.db.locks mlartifacts
	git ls-files --error-unmatch metrics.json >/dev/null 2>&1 || rm -f metrics.json

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@
