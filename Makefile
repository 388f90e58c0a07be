PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
OLDEST := .venv-oldest
# JupyterLab does not start for root (as in many containers) unless told to.
ROOT   := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: lab test check check-oldest bench slow clean

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $(READY)

lab: $(READY)       ## open JupyterLab on the first notebook
	$(BIN)/jupyter lab $(ROOT) notebooks/00_first_look.ipynb

# Notebooks two at a time, a core each: with two threads each they wait for one another and take several times as long.
test: check         ## everything: lint, types, fast tests, long ones, browser, notebooks
	$(BIN)/python -m pytest tests -m "long and not slow" -n 2
	$(BIN)/python -m pytest tests -m "browser and not slow"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout 120 --nbval-sanitize-with tests/nbval.cfg -n 2 --dist loadfile notebooks

check: $(READY)     ## lint, types and the fast tests
	$(BIN)/ruff check vizwidgets vizwidgets_command tests benchmarks
	$(BIN)/mypy
	$(BIN)/python -m pytest tests -m "not browser and not long and not slow" -n 2

check-oldest:       ## the fast tests with the oldest version of every dependency
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python tests/oldest.py > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/constraints.txt --editable ".[test]"
	$(OLDEST)/bin/python -m pytest tests -m "not browser and not long and not slow" -n 2

bench: $(READY)     ## measure; writes benchmarks/results.md
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	$(BIN)/python -m benchmarks

slow: $(READY)      ## long tests
	$(BIN)/python -m pytest tests -m slow

clean:
	rm -rf $(VENV) $(OLDEST) dist build
