# One place for every command. Each target makes what it needs from nothing and reuses it next time:
#
#   .venv           newest of everything: demo, tests, lint, docs, benchmarks
#   .venv-datafold  datafold and its pins (Python 3.10 or 3.11): the suite a second time
#   .venv-dev       built in place with bounds checks: the core tests a third time; also for working on skhmat
#   build/wheel-*   the wheel, one per Python version, rebuilt when a source changes
#
# `make test PYTHON=python3.12` uses another Python; DATAFOLD_PYTHON= names the one for the pins.

PYTHON ?= python3
DATAFOLD_PINS := datafold==2.0.2 numpy==1.26.4 scipy==1.11.4 scikit-learn==1.2.2
PYTEST_ARGS ?=
# Tests draw random numbers: others after each change, and the same wherever that change is tried.
export SKHMAT_TEST_SEED ?= $(shell \
  find skhmat _ext tests -name '*.py' -o -name '*.pyx' | LC_ALL=C sort | xargs cat | cksum | awk '{ print $$1 % 1000000 }')
# Test files side by side; TensorFlow takes 2 GB in each process.
pytest = $(1)/bin/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --hypothesis-seed $(SKHMAT_TEST_SEED)

tag = $(shell "$(1)" -c 'import sys; print("cp%d%d" % sys.version_info[:2])' 2>/dev/null)

TAG := $(call tag,$(PYTHON))
ifeq ($(filter cp310 cp311 cp312 cp313 cp314,$(TAG)),)
  $(error skhmat needs Python 3.10 or newer, "$(PYTHON)" is $(or $(TAG),not found): try make PYTHON=python3.12)
endif

# PYTHON itself where it will do (then both environments share one wheel), else PATH, else pyenv.
ifndef DATAFOLD_PYTHON
  DATAFOLD_PYTHON := $(shell \
    for python in "$(PYTHON)" python3.11 python3.10 \
                  "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.11.*/bin/python \
                  "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.10.*/bin/python; do \
      "$$python" -c 'import sys, ensurepip; sys.exit(sys.version_info[:2] not in [(3, 10), (3, 11)])' \
        2>/dev/null && echo "$$python" && break; \
    done)
endif
DATAFOLD_TAG := $(if $(DATAFOLD_PYTHON),$(call tag,$(DATAFOLD_PYTHON)))

BUILD_FILES := pyproject.toml meson.build meson.options tools/build_backend.py
SOURCES := $(BUILD_FILES) \
  $(shell find skhmat _ext -type f ! -name '*.pyc' ! -name '*.so')

.PHONY: demo test test-newest test-datafold test-checked test-elsewhere lint format bench promises docs develop dist clean
.NOTPARALLEL:

demo: .venv/.with-plot
	.venv/bin/python examples/demo.py

test: test-newest test-datafold test-checked

# The core tests run twice: with the pins from the wheel, and with the newest versions and bounds checks.
CORE_TESTS := tests/_ext tests/linalg tests/neighbors/_density tests/manifold/_spectral

# skhmat.datafold cannot be imported here, for want of datafold; its tests run with the pins.
# `pytest`, not `python -m pytest`: the latter would import the sources here, not what was installed.
test-newest: .venv/.with-test,keras
	OMP_NUM_THREADS=1 $(call pytest,.venv) --doctest-modules --ignore-glob='*/skhmat/datafold.py' --pyargs skhmat tests/ $(CORE_TESTS:%=--ignore=%) $(PYTEST_ARGS)

# No doctests here: NumPy 2 prints numbers in another way. Of training only what stands on
# scikit-learn and SciPy: Keras and TensorFlow are the same in both environments, and so are the
# loops that keep a promise, on whatever matrix.
SAME_HERE := tests/datasets/test_promises.py tests/contract/test_accuracy.py \
  $(addprefix tests/neural_network/, _newton _preconditioner \
    $(patsubst %,_curvature/test_%.py, \
      batch_objective gauss_newton moments objectives parameter_vector tapes) \
    $(patsubst %,_estimators/test_%.py, losses networks prediction training))
ifneq ($(DATAFOLD_PYTHON),)
test-datafold: .venv-datafold/.with-test
	OMP_NUM_THREADS=1 $(call pytest,.venv-datafold) tests/ $(SAME_HERE:%=--ignore=%) $(PYTEST_ARGS)
else
test-datafold:
	@echo "SKIPPED: the suite with datafold's pins ($(DATAFOLD_PINS))"
	@echo "         needs Python 3.10 or 3.11; none is on PATH or under pyenv."
	@echo "         Name one with make test DATAFOLD_PYTHON=/path/to/python3.11"
endif

# With several threads in each process too, which the others leave out.
test-checked: .venv-dev/.installed
	$(call pytest,.venv-dev) $(CORE_TESTS) $(PYTEST_ARGS)

# What other machines do: a processor without AVX-512 or without AVX, as many threads as there are
# cores, other tests before each test, and other work beside it. Takes an hour or two.
elsewhere = $(call pytest,.venv) --pyargs skhmat tests/ $(PYTEST_ARGS)
test-elsewhere: .venv/.with-test,keras
	OMP_NUM_THREADS=1 SKHMAT_ISA=avx2 OPENBLAS_CORETYPE=Haswell ONEDNN_MAX_CPU_ISA=AVX2 \
	  NPY_DISABLE_CPU_FEATURES="AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL" $(elsewhere)
	OMP_NUM_THREADS=1 SKHMAT_ISA=plain OPENBLAS_CORETYPE=Nehalem ONEDNN_MAX_CPU_ISA=SSE41 TF_ENABLE_ONEDNN_OPTS=0 \
	  NPY_DISABLE_CPU_FEATURES="AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL" $(elsewhere)
	env -u OMP_NUM_THREADS $(elsewhere)
	OMP_NUM_THREADS=1 SKHMAT_TEST_ORDER=random $(elsewhere)
	for core in $$(seq $$(getconf _NPROCESSORS_ONLN)); do \
	  .venv/bin/python -c 'while True: pass' & busy="$$busy $$!"; \
	done; \
	trap "kill $$busy" EXIT; OMP_NUM_THREADS=1 $(elsewhere)

# cython-lint looks for pycodestyle on PATH.
lint: .venv/.lint
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	PATH="$(CURDIR)/.venv/bin:$$PATH" cython-lint _ext
	.venv/bin/codespell

format: .venv/.lint
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: .venv/.with-bench
	.venv/bin/python benchmarks/run.py

promises: .venv/.with-bench
	.venv/bin/python benchmarks/promises.py

docs: .venv/.with-docs
	rm -rf docs/api/generated docs/auto_examples docs/_build docs/sg_execution_times.rst
	.venv/bin/sphinx-build -W --keep-going -E -q docs docs/_build/html
	@echo "docs/_build/html/index.html"

develop: .venv-dev/.installed
	@echo "skhmat is built in place, with bounds checks, in .venv-dev: .venv-dev/bin/pytest tests/linalg"

dist: .venv/.build
	rm -rf dist
	.venv/bin/python -m build
	.venv/bin/python tools/check_dist.py dist

clean:
	rm -rf .venv .venv-datafold .venv-dev build dist docs/_build docs/api/generated docs/auto_examples


# ---- environments: <environment>/.<Python version> exists once it is made with that version

define make_environment
$(if $(wildcard $(@D)/.cp*),rm -rf $(@D))
"$(1)" -m venv $(@D)
$(@D)/bin/python -m pip install -q --upgrade pip
touch $@
endef

.venv/.$(TAG):
	$(call make_environment,$(PYTHON))

.venv-datafold/.$(DATAFOLD_TAG):
	$(call make_environment,$(DATAFOLD_PYTHON))

.venv-dev/.$(TAG):
	$(call make_environment,$(PYTHON))


# ---- the wheel, and environments with the wheel and one of its extras in them

define build_wheel
rm -rf $(@D)
$(1)/bin/python -m pip wheel -q --no-deps --wheel-dir $(@D) .
touch $@
endef

build/wheel-$(TAG)/.built: $(SOURCES) | .venv/.$(TAG)
	$(call build_wheel,.venv)

ifneq ($(DATAFOLD_TAG),$(TAG))
build/wheel-$(DATAFOLD_TAG)/.built: $(SOURCES) | .venv-datafold/.$(DATAFOLD_TAG)
	$(call build_wheel,.venv-datafold)
endif

.venv/.with-%: .venv/.$(TAG) build/wheel-$(TAG)/.built
	.venv/bin/python -m pip install -q --force-reinstall --no-deps build/wheel-$(TAG)/*.whl
	.venv/bin/python -m pip install -q "$$(echo build/wheel-$(TAG)/*.whl)[$*]"
	touch $@

.venv-datafold/.with-test: .venv-datafold/.$(DATAFOLD_TAG) build/wheel-$(DATAFOLD_TAG)/.built
	.venv-datafold/bin/python -m pip install -q --force-reinstall --no-deps build/wheel-$(DATAFOLD_TAG)/*.whl
	.venv-datafold/bin/python -m pip install -q $(DATAFOLD_PINS) "$$(echo build/wheel-$(DATAFOLD_TAG)/*.whl)[test,keras]"
	touch $@

# In place: importing skhmat recompiles what changed, so this runs again only when the build itself changes.
.venv-dev/.installed: .venv-dev/.$(TAG) $(BUILD_FILES)
	.venv-dev/bin/python -m pip install -q meson-python meson ninja cython numpy scipy
	PATH="$(CURDIR)/.venv-dev/bin:$$PATH" .venv-dev/bin/python -m pip install -q \
	  --no-build-isolation --check-build-dependencies --editable ".[test]" \
	  -Cbuild-dir=build/checked-$(TAG) -Csetup-args=-Dbounds_check=true
	touch $@

.venv/.lint: .venv/.$(TAG) pyproject.toml
	.venv/bin/python -m pip install -q --group lint
	touch $@

.venv/.build: .venv/.$(TAG)
	.venv/bin/python -m pip install -q build
	touch $@
