# make demo: sets everything up and runs the main job.  make atlas: the same for every study.
# make test: sets everything up and runs the tests.  OVERRIDES='seed=0': of every run of demo or atlas.
# make docs: executes the notebooks and writes them with what they show, for docs/notebooks; and the page of all studies.
# All use a virtual environment of their own (.venv) and leave the machine's Python alone.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
RUNS   ?= runs/demo
ATLAS  ?= runs/atlas
# So that no claim from S1 to S23 is left without runs, in about five minutes on two cores; then what takes seconds.
DEMO   := santurkar2018/vgg_batch santurkar2018/linear_batch santurkar2018/vgg_others santurkar2018/linear_others \
          santurkar2018/vgg_beside santurkar2018/vgg_lines yang2019/linear desmith2020/initialisation
TORCH  := $(if $(filter Darwin,$(shell uname)),torch==2.13.0,torch==2.13.0+cpu)
BIN    := $(VENV)/bin

.PHONY: demo atlas test docs clean-venv

# Experiments, as one sweep: $(1) their names, $(2) the folder, $(3) options of the report. The report is written
# whatever became of the runs; it names those that failed.
define carry_out
failed=0; $(BIN)/python -m experiments.sweeps.several $(1) runs_dir=$(2) $(OVERRIDES) || failed=$$?; \
  case $$failed in 130|143) exit $$failed;; esac; \
  $(BIN)/python -m analysis report $(2) $(3) && exit $$failed
endef

demo: $(VENV)/.installed
	@echo "Every claim of Santurkar et al. in brief, BN, none and noise alone from three seeds, other arms from one; two studies of seconds."
	@echo "Finished runs are kept in $(RUNS): stop with Ctrl-C and go on with the same command at any time."
	@$(call carry_out,$(DEMO),$(RUNS))

atlas: $(VENV)/.installed
	@echo "Every study at its demo size, then the report of all explanations."
	@echo "Finished runs are kept in $(ATLAS): stop with Ctrl-C and go on with the same command at any time."
	@names=$$($(BIN)/python -m analysis experiments) || exit $$?; $(call carry_out,$$names,$(ATLAS),--apart)

test: $(VENV)/.installed
	@echo "Style, types and tests: six to seventeen minutes on 2 quiet cores."
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

docs: $(VENV)/.installed
	@echo "Executing nine notebooks; most of it is training, whose runs are kept in runs/pages."
	OMP_NUM_THREADS=1 $(BIN)/python -m notebooks.pages
	$(BIN)/python -m analysis studies

$(VENV)/.installed: pyproject.toml constraints/cpu.txt
	@echo "Setting up $(VENV) with the versions of constraints/cpu.txt: one to three minutes, about 1.7 GB of disk."
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3,11) <= sys.version_info < (3,14) else "Python 3.11, 3.12 or 3.13 is needed, this is " + sys.version.split()[0] + "; name one: make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	@# A CPU build of torch, from the package index in use if it has one, else from PyTorch's own.
	$(BIN)/pip install --quiet --disable-pip-version-check "$(TORCH)" 2>/dev/null \
	  || $(BIN)/pip install --quiet --disable-pip-version-check --index-url https://download.pytorch.org/whl/cpu "$(TORCH)"
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints/cpu.txt -e ".[dev]"
	@touch $@

clean-venv:
	rm -rf $(VENV)
