# Two commands: `make demo` and `make test`. Both create .venv from the exact pins on first use.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo sarcoidosis test test-slurm lint pins clean-demo clean-sarcoidosis

demo: .venv/installed
	$(BIN)/python scripts/make_demo_cohort.py --config config/demo.yaml
	$(BIN)/snakemake --cores 2 --resources gpu=1 --configfile config/demo.yaml --quiet rules
	@$(BIN)/python scripts/summarise_demo.py --config config/demo.yaml

# The application of the CLAM paper on a virtual cohort: docs/studies.md
sarcoidosis: .venv/installed
	$(BIN)/python scripts/make_virtual_sarcoidosis.py --config config/studies/virtual_sarcoidosis.yaml
	$(BIN)/snakemake --cores 2 --resources gpu=1 --configfile config/studies/virtual_sarcoidosis.yaml --quiet rules

# Two workers, as one test leaves most of two cores idle; the tests of the one finished study share a worker.
test: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -q -n 2 --dist loadgroup

# A real scheduler on this machine: root, Debian's SLURM (tests/slurm/install.sh), some ten minutes. Else skipped, with the reason.
test-slurm: .venv/installed-dev
	$(BIN)/python -m pytest tests/slurm -q -rs

lint: .venv/installed-dev
	$(BIN)/ruff check scripts tests benchmarks
	$(BIN)/ruff format --check scripts tests benchmarks
	$(BIN)/snakefmt --check Snakefile workflow

# Renews envs/requirements*.txt from the .in files, in a fresh environment.
pins:
	rm -rf .venv-pins && $(PYTHON) -m venv .venv-pins
	.venv-pins/bin/pip install --quiet -r envs/requirements.in
	.venv-pins/bin/python envs/write_pins.py envs/requirements.txt
	.venv-pins/bin/pip install --quiet -r envs/requirements-dev.in
	.venv-pins/bin/python envs/write_pins.py envs/requirements-dev.txt --beside envs/requirements.txt
	rm -rf .venv-pins

clean-demo:
	rm -rf demo results/demo

clean-sarcoidosis:
	rm -rf virtual_sarcoidosis results/virtual_sarcoidosis

.venv/installed: envs/requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "found Python %d.%d, expected 3.11-3.13. Run: make PYTHON=python3.12 ..." % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.txt
	touch $@

.venv/installed-dev: .venv/installed envs/requirements-dev.txt envs/requirements-slurm.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r envs/requirements-slurm.txt
	touch $@
