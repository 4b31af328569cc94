# Everything a newcomer types. Each target makes the environment first; nothing is installed outside .venv.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: repro test check ui clean

repro: .venv/ready  ## the whole way, from raw data to a registered ensemble and a report
	dvc repro
	@python -m src.show

test: .venv/ready  ## all tests, slow ones included
	python -m pytest -n 2 --dist loadfile

check: .venv/ready  ## lint, format, types
	ruff check .
	ruff format --check .
	mypy

ui: .venv/ready  ## MLflow on http://127.0.0.1:5000
	mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port 5000 --allowed-hosts localhost:5000,127.0.0.1:5000

clean:  ## everything that a run has made; the environment stays
	rm -rf outputs report metrics.json .lockstep data/prepared multirun mlflow.db mlflow.db-* mlflow.db.locks mlartifacts dvc.lock .dvc/cache .dvc/tmp

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@
