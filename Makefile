# Bare `make` lists the targets. Each one creates the environment if it is missing; a second run costs nothing.
#   VENV=path          where the environment lives (default .venv)
#   PYTHON=python3.12  what creates it
#   TORCH_INDEX=url    an extra index for torch; `auto` (the default) asks for the CPU build on a machine without an NVIDIA
#                      GPU, if PyTorch's CPU index answers; empty leaves it to pip's own configuration
#   VLLM=no            leaves vLLM out; else the build that this machine can run is installed, where there is one
#   ARGS="..."         added to the command of zero, pipeline, test, fuzz, bench and study: `make test ARGS="-k recipe"`
#   JOBS=2             how many nodes of the study are built side by side
#   WORKERS=2          how many processes share the tests
#   BEFORE=path        the checkout of another commit, with which `make bench` compares RL's seconds a step
#   SECONDS=60         how long atheris fuzzes the rewards
#   SCALE=name         which pipeline: recipes/name/pipeline.yaml; empty is the embedded world
VENV ?= .venv
PYTHON ?= python3
TORCH_INDEX ?= auto
VLLM ?= yes
ARGS ?=
SCALE ?=
BEFORE ?=
JOBS ?= 2
WORKERS ?= 2
SECONDS ?= 60

PIPELINE := recipes/$(if $(SCALE),$(SCALE)/)pipeline.yaml
CPU_INDEX := https://download.pytorch.org/whl/cpu
BIN := $(VENV)/bin
R1 := $(BIN)/r1
READY := $(VENV)/.r1-ready

.DEFAULT_GOAL := help
.PHONY: help setup zero pipeline test fuzz check bench study report clean

help: ## list the targets
	@echo "usage: make TARGET"
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(READY) ## create the environment (VENV, default .venv)

zero: $(READY) ## R1-Zero with the embedded model: base, RL, evaluation, report.html
	$(R1) pipeline --recipe recipes/zero.yaml $(ARGS)
	$(R1) report zero -o report.html

pipeline: $(READY) ## the whole of R1; SCALE=name takes recipes/name/pipeline.yaml
	$(R1) pipeline --recipe $(PIPELINE) $(ARGS)
	$(if $(findstring --dry-run,$(ARGS)),,$(R1) report --pipeline $(PIPELINE) -o report.html)

test: $(READY) ## run the tests (CPU, no network)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

fuzz: $(READY) ## property tests on examples drawn anew, then the rewards under atheris for SECONDS; repeat it for more
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m hypothesis --hypothesis-profile=default $(ARGS)
	-@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install -q -c constraints.txt -e '.[fuzz]'
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.rewards.fuzz $(SECONDS)

check: $(READY) ## lint and type check
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(READY) ## our sampling and log-probabilities against the plain ones, paired; RL by phase with each engine
	$(BIN)/python -m tests.bench $(ARGS)
	$(BIN)/python -m tests.bench.rl
	$(if $(BEFORE),$(BIN)/python -m tests.bench.speed $(BEFORE))

study: $(READY) ## three seeds, controls, ablations and sweeps: about two hours
	$(R1) pipeline --recipe recipes/study.yaml --jobs $(JOBS) $(ARGS)
	$(if $(findstring --dry-run,$(ARGS)),,$(R1) report --pipeline recipes/study.yaml -o study.html)

report: $(READY) ## write report.html for the newest pipeline run
	$(R1) report --pipeline $(PIPELINE) -o report.html

clean: ## remove build leftovers; the artifact store is never touched
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# Torch goes first and alone: everything after it then finds it there and brings no CUDA build along.
$(READY): pyproject.toml constraints.txt tools/install_vllm.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(PYTHON) is older than Python 3.11"; echo "hint:  make $(MAKECMDGOALS) PYTHON=python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@index="$(TORCH_INDEX)"; \
	if [ "$$index" = auto ]; then index=""; \
	  if ! command -v nvidia-smi >/dev/null && $(BIN)/python -c "import urllib.request as u; u.urlopen('$(CPU_INDEX)/torch/', timeout=5)" 2>/dev/null; \
	  then index="$(CPU_INDEX)"; fi; fi; \
	echo "installing torch $${index:+from $$index }..."; \
	$(BIN)/python -m pip install -q -c constraints.txt torch $${index:+--extra-index-url "$$index"}
	@echo "installing r1 ..."
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,gguf,slurm,ray]'
	@$(BIN)/python -m compileall -q r1cli stages
	@test "$(VLLM)" = no || $(BIN)/python tools/install_vllm.py
	@touch $@
