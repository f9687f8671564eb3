# Each verb sets up what it needs: .venv is made once and again only when pyproject.toml changes.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: demo test check lint types docs wheel bench clean
.DEFAULT_GOAL := check

PYTHON ?= python3
PY := .venv/bin/python
READY := .venv/ready

SAMPLE := sample_data/payments
DEMO := build/demo

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("error: python3 is %d.%d, trmfin needs 3.11 or newer; set PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[bench,dashboard,dev,docs,explain,postgres,puzzles]'
	@touch $@

demo: $(READY)
	@rm -rf $(DEMO)
	$(PY) -m trmfin.prepare payment_history $(SAMPLE)/raw --out $(DEMO)/prepared
	$(PY) -m trmfin.score $(SAMPLE)/bundle $(DEMO)/prepared --out $(DEMO)/run --explain topk:25
	$(PY) -m trmfin.explain $(DEMO)/run
	$(PY) -m trmfin.evaluate payment_history $(DEMO)/prepared --bundle $(SAMPLE)/bundle --out $(DEMO)/report
	@echo "look at it in a browser: $(PY) -m trmfin.dashboard $(DEMO)/run --bundle $(SAMPLE)/bundle"

test: export OMP_NUM_THREADS = 1
test: $(READY)
	$(PY) -m pytest -n 2 --dist loadfile

check: lint types test docs wheel

lint: $(READY)
	$(PY) -m ruff check
	$(PY) -m ruff format --check

types: $(READY)
	$(PY) -m mypy

docs: $(READY)
	$(PY) docs/build.py

wheel: $(READY)
	$(PY) .ci/wheel.py

bench: $(READY)
	$(PY) -m pytest tests/benchmarks --benchmark-columns=min,median,max,rounds
	$(PY) tests/benchmarks/byte_flips.py

clean:
	rm -rf .venv build site .hypothesis .mypy_cache .pytest_cache .ruff_cache .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
