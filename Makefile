# make demo    synthesize FDG-PET for the T1 that ships with DualGlow, at three ages
# make test    run every test
# make test-slicer-versions    tests of reading, writing, preparation and DICOM with the versions that Slicer 5.12 has
# make test-clients    tests with the programs of others that read what DualGlow writes
# A fresh machine needs python3 (3.10 or newer, with venv) and make; both commands make the environment .venv/ first.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
SLICER := .venv-slicer
CLIENTS := .venv-clients
TESTS := Testing/volumes Testing/preparation
INSTALL := $(RUN) -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

.PHONY: demo test test-slicer-versions test-clients lint clean

demo: $(VENV)/.demo
	$(RUN) -m DualGlowLib sweep Resources/Template/mni152_t1.nii.gz --ages 50:90:20 --sex F --diagnosis CN --output demo

test: $(VENV)/.test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	OMP_NUM_THREADS=1 ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-slicer-versions: $(SLICER)/.test
	OMP_NUM_THREADS=1 ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1 $(SLICER)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(TESTS)

test-clients: $(VENV)/.test $(CLIENTS)/.test
	OMP_NUM_THREADS=1 ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1 $(RUN) -m pytest Testing/clients

lint: $(VENV)/.test
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable '.[test]'
	@touch $@

# What it doesn't have of its own comes from $(VENV): torch need not be installed twice.
$(SLICER)/.test: constraints-slicer.txt $(VENV)/.test
	$(RUN) -m venv --without-pip $(SLICER)
	$(RUN) -c "import sysconfig; print(f'import site; site.addsitedir({sysconfig.get_path(\"purelib\")!r})')" > rest.pth
	mv rest.pth $(SLICER)/lib/python*/site-packages/
	$(SLICER)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --requirement constraints-slicer.txt
	@touch $@

$(CLIENTS)/.test: constraints-clients.txt
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --disable-pip-version-check --quiet --requirement constraints-clients.txt
	@touch $@

clean:
	rm -rf $(VENV) $(SLICER) $(CLIENTS) demo build *.egg-info
