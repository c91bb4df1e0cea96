# Two commands matter: `make lab` to learn, `make test` to check everything.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
MADE := $(VENV)/made
SET_UP := $(VENV)/set-up
REQUIREMENTS := pyproject.toml constraints.txt requirements-no-deps.txt
PROFILE ?= smoke
TESTS ?= tests
NOTEBOOKS ?= $(sort $(wildcard notebooks/*.ipynb))

# One CPU thread, fixed hashing, no progress bars, an empty cache: the same output every time.
STEADY = OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONHASHSEED=0 CUDA_VISIBLE_DEVICES= \
	TQDM_DISABLE=1 MMAGAN_PROFILE=$(PROFILE) MMAGAN_CACHE="$(CURDIR)/build/cache"

.PHONY: help setup lab app test coverage notebooks site clean

help:  ## Show this list
	@sed -n 's/^\([a-z]*\):.*## */  make \1\t/p' Makefile | expand -t 20

setup: $(SET_UP)  ## Install everything into .venv (about 5 GB on Linux; once)

lab: setup  ## Set up, then open the first notebook in JupyterLab (LAB="--no-browser ...")
	$(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB) \
		notebooks/00_start_here.ipynb

app: setup  ## Serve notebook 09 as an application, its panels without its code (APP="--port 8899")
	MMAGAN_PROFILE=smoke $(BIN)/voila notebooks/09_explore.ipynb $(APP)

test: setup  ## Set up, then run every check, the notebooks included
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 --dist loadfile --durations 15 tests --ignore tests/test_cuda.py
	$(BIN)/pytest tests/test_cuda.py
	rm -rf build/cache
	$(STEADY) $(BIN)/pytest -n 2 --dist loadscope --durations 15 --nbval-lax --nbval-current-env \
		--nbval-cell-timeout 120 notebooks

coverage: setup  ## Print how much of each room the unit tests run (TESTS="tests/test_faces.py ...")
	$(BIN)/pytest -n 2 --dist loadfile -q --cov mmagan_lite --cov data_prep --cov-report term \
		$(TESTS)

notebooks: setup  ## Run the notebooks again and save their outputs (PROFILE=smoke, NOTEBOOKS=...)
	rm -rf build/cache
	$(STEADY) $(BIN)/python notebooks/refresh.py $(NOTEBOOKS)

site: setup  ## Make a website of the course in build/site/html; panels work in it without Python
	$(STEADY) $(BIN)/python docs/website.py

clean:  ## Remove what the other commands made, except .venv
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .import_linter_cache
	find . -name $(VENV) -prune -o -name __pycache__ -exec rm -rf {} +

# Any Python from 3.11 will do; `make setup PYTHON=...` names one. A venv that was cut short has no
# such file, and is made again.
$(MADE):
	@for python in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11); do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			$$python -m venv $(VENV) && touch $@ && exit; \
			rm -rf $(VENV); \
			echo "$$python could not make $(VENV); on Debian and Ubuntu install python3-venv." >&2; \
			exit 1; \
		fi; \
	done; \
	echo "Python 3.11 or later is needed; found $$($(or $(PYTHON),python3) --version 2>&1)." \
		"Install it, or name one: make setup PYTHON=/path/to/python3.11" >&2; \
	exit 1

# Without build isolation nothing is downloaded where nothing is missing.
$(SET_UP): $(REQUIREMENTS) | $(MADE)
	@echo "Setting up $(VENV); the first time this takes some minutes."
	$(PIP) install -q -c constraints.txt setuptools
	$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[detect,heic,prepare,evaluate,tensorboard,notebooks,site,test]'
	$(PIP) install -q --no-deps -r requirements-no-deps.txt
	@touch $@
