# Every target sets up what it needs on a machine with Python 3.11 and make, and is quick the second time.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
ENV_STAMP := $(VENV)/.requirements-installed
BENCH_STAMP := $(VENV)/.bench-installed
# The last one that is written.
MACHINE_CODE := spark_jobs/fruit_features/embedding/resizing-aarch64.elf
LOCK_GROUPS := airflow postgres spark cluster cluster-tensorflow embedder local-cloud cli dev bench audit
UV_COMPILE = $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
LAPTOP := --python-platform x86_64-manylinux_2_28
# What a node of EMR 7 may be: Amazon Linux 2023 on a processor of either kind.
NODES := x86_64-manylinux_2_34 aarch64-manylinux_2_34

export PYTHONUNBUFFERED := 1
# Names of folders and files are UTF-8, whatever the locale is.
export PYTHONUTF8 := 1

TYPED := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))

# What a person types (DIR=..., FRUITS_LOCAL_HOME=...) reaches the program byte for byte, in its environment; no text of it ever stands
# in a command. Make would expand it to export it: it is set anew to just what was typed.
$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(eval override export $(name) := $$(value $(name)))))
export PYTHON

# $(call yes,KEEP) is empty if KEEP says no or nothing.
YES_WORDS := 1 y Y yes Yes YES t true True TRUE on On ON
NO_WORDS := 0 n N no No NO f false False FALSE off Off OFF
yes = $(if $(filter-out $(YES_WORDS) $(NO_WORDS),$(value $(1))),$(error $(1)=$(value $(1)) is neither yes nor no: type $(1)=1 or $(1)=0))$(filter $(YES_WORDS),$(value $(1)))

# TARGET=local or TARGET=aws, else what FRUITS_TARGET says.
ON := $${TARGET:+--target="$$TARGET"}

# The folders that hold our packages, from where the environment keeps the others: a file there names them to Python and to editors.
PATHS := ../../../.. ../../../../plugins ../../../../spark_jobs

TARGETS := help setup demo torture test test-fast lint format up down deliver run backfill estimate spark-history publish wheel compat deploy destroy lock audit bench soak clean
.PHONY: $(TARGETS)

# The options of a target are those that its line of help names. A mistyped one, or another target's, would else be passed over: `make run
# CATEGORY=Kiwi` would run all categories.
GOALS := $(filter $(TARGETS),$(MAKECMDGOALS))
OPTIONS := $(if $(TYPED),$(shell for goal in $(GOALS); do sed -n "s/^$$goal:.*## //p" Makefile; done | grep -oE '[A-Z_]+=' | tr -d =))
STRANGE := $(filter-out $(OPTIONS) PYTHON FRUITS_% AIRFLOW_% AWS_% HYPOTHESIS_% PIP_% PYTEST_% UV_%,$(TYPED))
$(if $(and $(GOALS),$(STRANGE)),$(error `make $(GOALS)` takes no $(STRANGE). It takes: $(or $(sort $(OPTIONS)),nothing). A variable of the environment goes before it: $(firstword $(STRANGE))=… make $(GOALS)))

help: ## Shows the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(ENV_STAMP): requirements/all.txt requirements/uv.txt Makefile
	@echo "==> Environment: $(VENV) from requirements/all.txt (once, and again when the lock changes)"
	"$$PYTHON" -c 'import sys; sys.exit(None if sys.version_info[:2] == (3, 11) else "Python 3.11 is needed: set PYTHON=<a Python 3.11>.")'
	[ -x $(BIN)/python ] || "$$PYTHON" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	. bootstrap/package_index.sh
	# Nothing is compiled ahead: Python compiles what is imported, which is less than half of it.
	$(BIN)/uv pip sync --python $(BIN)/python --require-hashes requirements/all.txt
	printf '%s\n' $(PATHS) > $(VENV)/lib/python3.11/site-packages/fruits.pth
	touch $@

# A release compiles its own. This is for what runs from the clone: tests and benchmarks.
$(MACHINE_CODE): $(ENV_STAMP) spark_jobs/fruit_features/embedding/resizing.c fruit_cli/release/machine_code.py
	@$(BIN)/python -m fruit_cli.release.machine_code

setup: $(ENV_STAMP) $(MACHINE_CODE) ## Makes the environment every other target uses

demo: setup ## The main job: local cloud, real Airflow, drawn or DATA=folder images over DAYS=3 dates [AS_IS=1] [KEEP=1]
	@$(BIN)/python -m fruit_cli demo $${DATA:+--data="$$DATA"} $${DAYS:+--days="$$DAYS"} $(if $(call yes,AS_IS),--as-is) $(if $(call yes,KEEP),--keep)

torture: setup ## Odd and damaged pictures, for minutes [EXAMPLES=60000]
	@FRUITS_TORTURE_EXAMPLES="$${EXAMPLES:-60000}" scripts/test -q tests/spark_jobs/embedding/test_odd_kinds.py

test: setup ## Every check: lint, types, unit, Spark, DAG, end to end; or what pytest makes of ARGS="path -k name"
	@$(if $(value ARGS),PYTEST_ADDOPTS="$${PYTEST_ADDOPTS-} $$ARGS" $(BIN)/python -m pytest,scripts/test)

test-fast: setup ## The checks that take a moment each and need neither Spark nor Airflow
	@scripts/test -n 2 --no-loadscope-reorder -m "not slow and not spark and not airflow and not e2e"

lint: setup ## Formatting, lint, import boundaries, types, shell scripts
	@scripts/lint

format: setup ## Repairs the order of imports and the formatting
	@scripts/format

up: setup ## Local cloud and the Airflow UI, in the background
	@$(BIN)/python -m fruit_cli up

down: ## Stops what `make up` started
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m fruit_cli down; else echo "Nothing is up: there is no $(VENV) yet."; fi

deliver: setup ## Uploads DIR=folder of categories as the image batch of DATE=yyyy-mm-dd [TARGET=aws] [AS_IS=1]
	@$(BIN)/python -m fruit_cli deliver --directory="$${DIR-}" --date="$${DATE-}" $(if $(call yes,AS_IS),--as-is) $(ON)

run: setup ## Runs the DAG for DATE= (or FROM= TO= on one cluster) and follows it [TARGET=aws] [CATEGORIES=a,b] [POLICY=always] [RETRY_REJECTED=1] [ACCEPT_REJECTS=1] [SWITCH_EMBEDDER=1] [OVER_BUDGET=1]
	@$(BIN)/python -m fruit_cli run --date="$${DATE-}" --from-date="$${FROM-}" --to-date="$${TO-}" --categories="$${CATEGORIES-}" \
	  $${POLICY:+--pca-policy="$$POLICY"} $(if $(call yes,RETRY_REJECTED),--retry-rejected) \
	  $(if $(call yes,ACCEPT_REJECTS),--accept-rejects) $(if $(call yes,SWITCH_EMBEDDER),--switch-embedder) \
	  $(if $(call yes,OVER_BUDGET),--over-budget) $(ON)

backfill: setup ## Runs the DAG for FROM= TO= [CATEGORIES=a,b] [TARGET=aws], and follows it
	@$(BIN)/python -m fruit_cli backfill --from-date="$${FROM-}" --to-date="$${TO-}" --categories="$${CATEGORIES-}" $(ON)

estimate: setup ## Minutes and euros of IMAGES=n new images, or of 10^3 to 10^9
	@$(BIN)/python -m fruit_cli estimate $${IMAGES:+--images="$$IMAGES"}

spark-history: setup ## Spark's own history of the steps of CLUSTER=j-... [TARGET=aws]
	@$(BIN)/python -m fruit_cli spark_history --cluster="$${CLUSTER-}" $(ON)

publish: setup ## Jobs, library zip, bootstrap action and embedder to code/<release>/ of the lake [TARGET=aws] [WHEELHOUSE=0] [WEIGHTS=...]
	@$(BIN)/python -m fruit_cli publish $(if $(call yes,WHEELHOUSE),--with-wheelhouse,$(if $(value WHEELHOUSE),--without-wheelhouse)) $${WEIGHTS:+--weights="$$WEIGHTS"} $(ON)

# Its files bear the time of the commit, so a commit has one wheel to the byte.
wheel: setup ## Airflow's side as a wheel, dist/fruits_airflow-*.whl, for an Airflow elsewhere
	@rm -rf dist
	export SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct 2>/dev/null || echo 0)"
	$(BIN)/python -m hatchling build --target wheel --directory dist

compat: wheel ## Tries the wheel with the lowest and the highest Python, Airflow and provider, for half an hour [ARGS=3.12]
	@. bootstrap/package_index.sh
	$(BIN)/python scripts/compat.py $${ARGS-}

deploy: setup ## What an AWS account needs, and what it costs [DRY_RUN=1] [YES=1] [STACK=fruits] [ALERT_EMAIL=...] [ZONES=2] [SSM=0] [SUBNETS=...] [KMS_KEY=arn] [AIRFLOW=arn] [CERTIFICATES=none] [BUDGET=200] [BLOCK_PUBLIC_ACCESS=1]
	@$(BIN)/python -m fruit_cli deploy $${STACK:+--name="$$STACK"} $(if $(call yes,DRY_RUN),--dry-run) $(if $(call yes,YES),--yes) \
	  $${ZONES:+--zones="$$ZONES"} $(if $(value SSM),$(if $(call yes,SSM),--ssm,--no-ssm)) $${SUBNETS:+--subnets="$$SUBNETS"} \
	  $${KMS_KEY:+--key="$$KMS_KEY"} $${AIRFLOW:+--airflow="$$AIRFLOW"} $${CERTIFICATES:+--certificates="$$CERTIFICATES"} \
	  $${ALERT_EMAIL:+--email="$$ALERT_EMAIL"} $${BUDGET:+--budget="$$BUDGET"} $(if $(call yes,BLOCK_PUBLIC_ACCESS),--block-public-access)

destroy: setup ## Removes what `make deploy` made; a bucket that holds something stays [DRY_RUN=1] [YES=1] [STACK=fruits] [ERASE_LAKE=bucket]
	@$(BIN)/python -m fruit_cli destroy $${STACK:+--name="$$STACK"} $(if $(call yes,DRY_RUN),--dry-run) $(if $(call yes,YES),--yes) \
	  $${ERASE_LAKE:+--erase-lake="$$ERASE_LAKE"}

# `all` is resolved first; every other group is then resolved within its pins. Those of the nodes must be the same, and have wheels, on both
# kinds of node.
lock: setup ## Compiles requirements/*.txt from pyproject.toml; with UPGRADE=1 to the newest, and the base images, too
	@. bootstrap/package_index.sh
	$(UV_COMPILE) $(LAPTOP) $(if $(call yes,UPGRADE),--upgrade) --group all -o requirements/all.txt
	for group in $(LOCK_GROUPS); do
	  $(UV_COMPILE) $(LAPTOP) $(if $(call yes,UPGRADE),--upgrade) --constraint requirements/all.txt --group $$group -o requirements/$$group.txt
	done
	echo uv | $(UV_COMPILE) $(LAPTOP) --constraint requirements/all.txt - -o requirements/uv.txt
	scratch="$$(mktemp -d)"
	trap 'rm -rf "$$scratch"' EXIT
	for node in $(NODES); do
	  $(UV_COMPILE) --python-platform $$node --only-binary :all: --constraint requirements/all.txt --group cluster -o "$$scratch/cluster.txt"
	  cmp -s "$$scratch/cluster.txt" requirements/cluster.txt || { diff requirements/cluster.txt "$$scratch/cluster.txt" | head -20 >&2; \
	    echo "Nodes of kind $$node need other packages than requirements/cluster.txt names. Pin what differs in pyproject.toml." >&2; exit 1; }
	  echo "==> each package of requirements/cluster.txt has a wheel for $$node"
	  rm "$$scratch/cluster.txt"
	done
	echo "==> requirements/ is compiled"
	$(if $(call yes,UPGRADE),$(BIN)/python scripts/pin_images.py)

audit: setup ## Asks which known vulnerabilities the locks have. Exit code 1: some were found; 3: nobody could be asked
	@. bootstrap/package_index.sh
	$(BIN)/python scripts/audit_locks.py

# The environment's own stamp comes first: bringing it up to date takes away what requirements/all.txt does not name.
$(BENCH_STAMP): $(ENV_STAMP) requirements/bench.txt
	@echo "==> What to compare with, and a profiler: requirements/bench.txt into $(VENV)"
	. bootstrap/package_index.sh
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes -r requirements/bench.txt
	touch $@

bench: setup $(BENCH_STAMP) ## The benchmarks, side by side in one run [SIZE=small] [DATA=folder]
	@$(BIN)/python -m benchmarks $${SIZE:+--size="$$SIZE"} $${DATA:+--data="$$DATA"}

soak: setup ## Small runs, four at once, again and again for MINUTES=60; says what went wrong
	@$(BIN)/python -m benchmarks.soak $${MINUTES:+--minutes="$$MINUTES"}

clean: ## Removes .local/ and the environments
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m fruit_cli down || true; fi
	rm -rf .local $(VENV) spark_jobs/fruit_features/embedding/*.elf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
