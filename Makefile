# make demo      the demo's map, scores and report            make test       what CI runs
# make env       only the environment                         make test-full  and the long ones
# make lint      style, types, workflow                       make bench      speed beside peers
# make report AREA=name   map, scores and HTML report of an area        make test-gpu   on a machine with CUDA
VENV ?= .venv
PYTHON ?= python3
AREA ?= demo
CORES ?= all
RUN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
STAMP := $(VENV)/.requirements

.PHONY: env demo report test test-full test-gpu lint bench schema

env: $(STAMP)

# One stamp: a second call installs nothing until the lock or the package's metadata changes.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: AREA = demo
demo: report

report: $(STAMP)
	$(RUN) sh -ec 'targets=$$(mapmill check config/areas/$(AREA).yaml); \
	  snakemake --cores $(CORES) $$targets; \
	  snakemake --cores 1 --report results/$(AREA)/report.html $$targets; \
	  mapmill show config/areas/$(AREA).yaml'

# First the small tests, then the workflow's.
SMALL := tests/unit tests/stages tests/faults

test: $(STAMP)
	$(RUN) sh tests/run.sh "not full and not gpu" $(SMALL)
	$(RUN) sh tests/run.sh "not full and not gpu" tests/workflow

test-full: $(STAMP)
	$(RUN) sh tests/run.sh "not gpu" $(SMALL)
	$(RUN) sh tests/run.sh "not gpu" tests/workflow

test-gpu: $(STAMP)
	$(RUN) python -m pytest -m gpu tests/gpu

lint: $(STAMP)
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) snakefmt --check Snakefile workflow
	$(RUN) snakemake --lint

bench: $(STAMP)
	$(RUN) python benchmarks/run.py

schema: $(STAMP)
	$(RUN) mapmill schema > config/area.schema.json
