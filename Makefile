# Two commands do all the set-up: `make run` and `make test`. Neither needs root; `make test` uses it for Icarus where it can.
PYTHON      ?= python3
VENV        ?= .venv
ARGS        ?=
EXTRAS      ?= test
# Set to requirements.lock for the versions that CI runs.
CONSTRAINTS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))

.PHONY: run test coverage fuzz formal stress bench boards docs lint lock clean

run: $(VENV)/.run
	@$(BIN)/tritloom run $(ARGS)

test: $(VENV)/.test icarus
	$(BIN)/python -m pytest sim tests $(ARGS)

# Lines of host/ and sim/ that the tests run, in this process and in those they start; fails below 90 %. The gateware's own tests run none of them.
coverage: $(VENV)/.test icarus
	@mkdir -p build/coverage
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest sim tests --ignore=tests/rtl -o timeout=1200 $(ARGS)
	@$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# A million hostile bytes into the gateware, ten thousand damaged model files of each format into the loaders; some twenty minutes of a core.
fuzz: $(VENV)/.test
	$(BIN)/python -m tritloom.sim.fuzz
	$(BIN)/python -m tests.fuzz.model_files

# Every property of the gateware, and what breaks it, as a table.
formal: $(VENV)/.run
	@$(PIP) -e '.[formal]'
	@$(BIN)/python -m tritloom.sim.formal $(ARGS)

# The compiled gateware at the end of a bad line: ten minutes and more.
stress: $(VENV)/.run
	@$(BIN)/python -m tritloom.sim.stress $(ARGS)

bench: $(VENV)/.run
	@$(BIN)/python -m tritloom.sim.bench $(ARGS)

# Every board's bitstream; half an hour and more on two cores.
boards: $(VENV)/.build
	@$(BIN)/python -m tritloom.boards.all

docs: $(VENV)/.run
	$(BIN)/python docs/generate.py

lint: $(VENV)/.test
	$(BIN)/ruff check .

# The versions in this environment, for CI; PyTorch's CPU build, and so without what its CUDA build brings along.
lock: $(VENV)/.test
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//' | grep -vE '^(cuda|nvidia|triton)' > requirements.lock

clean:
	rm -rf $(VENV) build *.egg-info

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "tritloom needs Python 3.11 or newer, and $(PYTHON) is older or missing: name another with 'make PYTHON=python3.12 ...'" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment: on Debian and Ubuntu, 'apt install python3-venv'" >&2; exit 1; }
	@touch $@

# The core is compiled for simulation: where there is no C++ compiler, pip brings one.
$(VENV)/.run: $(VENV)/.venv pyproject.toml
	@echo "Installing tritloom into $(VENV)"
	@if [ -n "$$CXX" ] || command -v g++ >/dev/null || command -v clang++ >/dev/null; then $(PIP) -e '.[serial]'; \
	 else echo "There is no C++ compiler here: installing ziglang, which is one"; $(PIP) -e '.[serial,compiler]'; fi
	@touch $@

$(VENV)/.test: $(VENV)/.run pyproject.toml
	@$(PIP) -e '.[$(EXTRAS)]'
	@touch $@

$(VENV)/.build: $(VENV)/.run pyproject.toml
	@echo "Installing the FPGA tools into $(VENV)"
	@$(PIP) -e '.[build]'
	@touch $@

# $(call apt,program,package,what it is,where it is to be had)
apt = @command -v $(1) >/dev/null || { \
	  root=$$( [ "$$(id -u)" = 0 ] || echo "sudo -n" ); \
	  echo "Installing $(3) with apt"; \
	  { $$root apt-get update -qq && $$root apt-get install -y -qq --no-install-recommends $(2) >/dev/null; } 2>/dev/null; \
	  command -v $(1) >/dev/null; } || { \
	  echo "$(3) is needed, and could not be installed from here: 'sudo apt install $(2)', or $(4)" >&2; exit 1; }

.PHONY: icarus icestorm
icarus:
	$(call apt,iverilog,iverilog,Icarus Verilog,https://steveicarus.github.io/iverilog)

# Only the test that turns an iCE40 bitstream back into Verilog needs it, and is skipped without.
icestorm:
	$(call apt,icebox_vlog,fpga-icestorm,IceStorm,https://github.com/YosysHQ/icestorm)
