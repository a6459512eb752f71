PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CLIENTS := .venv-clients
CLIENTS_READY := $(CLIENTS)/.ready
OIDC := tests/oidc
OIDC_READY := $(OIDC)/node_modules/.ready
WORKERS ?= 2
BESIDE := -n $(WORKERS) --dist loadscope --no-loadscope-reorder

.PHONY: setup torch ray clients clients-lock system oidc demo check test unit bench shape clean

setup: $(READY)           ## a virtual environment with Tandem and everything the suite needs

$(READY): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $(READY)

# LangChain and LlamaIndex need other versions than the suite has; tests/clients drives them from outside.
clients: $(CLIENTS_READY) ## a second environment, with clients only

$(CLIENTS_READY): tests/clients/requirements.lock $(READY)
	$(BIN)/python -m uv venv --quiet --clear $(CLIENTS)
	$(BIN)/python -m uv pip install --quiet --python $(CLIENTS) -r tests/clients/requirements.lock
	touch $(CLIENTS_READY)

clients-lock: $(READY)    ## writes its lock anew, from requirements.in beside it
	$(BIN)/python -m uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-annotate --no-header \
		tests/clients/requirements.in -o tests/clients/requirements.lock

# A provider of sign-ins for the tests of single sign-on: it needs Node. Without npm those tests are skipped, and say so.
oidc:                     ## npm's oidc-provider, as its lock says
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(OIDC_READY); \
	else echo "npm is not there: single sign-on is NOT tested." >&2; fi

$(OIDC_READY): $(OIDC)/package-lock.json
	npm ci --prefix $(OIDC) --no-audit --no-fund --ignore-scripts --loglevel=error
	touch $(OIDC_READY)

demo: $(READY)            ## the whole story on real data; ARGS=--once ends by itself
	$(BIN)/tandem demo $(ARGS)

check: $(READY)           ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Three passes over the whole, as tests/passes.py says. A part of the suite is one plain pass.
test: $(READY) $(CLIENTS_READY) system oidc ## the whole suite; ARGS="tests/registry -q" is a part of it
ifeq ($(strip $(ARGS)),)
	$(BIN)/python -m tests.passes $(WORKERS)
else
	$(BIN)/pytest $(ARGS)
endif

# PyTorch is large, so it comes apart; the tests that need it are skipped without it.
torch: $(READY)           ## PyTorch, for the tests of models that need it
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0

# Ray is large as well, and outside the lock for the same reason; without it its tests are skipped.
ray: $(READY)             ## Ray, for the tests of work beyond one process
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "ray[client]==2.60.0"

unit: $(READY)            ## the part without processes and browsers
	$(BIN)/pytest -m "not journey and not browser and not slow" $(BESIDE) $(ARGS)

# A browser, PostgreSQL, Redis and `ip` for the tests that use them; on Debian and as root they are installed, elsewhere those tests are skipped.
system:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! { command -v chromium && { command -v initdb || ls /usr/lib/postgresql/*/bin/initdb; } && command -v redis-server && { command -v ip || ls /usr/sbin/ip; }; } >/dev/null 2>&1; then \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium postgresql redis-server iproute2 >/dev/null; fi

bench: $(READY)           ## side by side with nginx and the bare upstream; DATA=FILE runs the closed loop on a stream
	$(BIN)/$(if $(DATA),python -m bench.stream $(DATA) $(ARGS),python -m bench.all $(ARGS))

shape: $(READY)           ## a mirror, not a fence: the largest files, functions and signatures
	$(BIN)/python -m bench.shape $(ARGS)

clean:
	rm -rf $(VENV) $(CLIENTS) $(OIDC)/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
