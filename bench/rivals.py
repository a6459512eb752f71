"""Other gateways, each in an environment of its own outside of this repository, at the fastest settings that they document.

The environments lie in `$XDG_CACHE_HOME/tandem-bench` (`~/.cache/tandem-bench`) and are made once. LiteLLM comes from PyPI,
Portkey's gateway from npm; both answer with everything optional switched off, which is to their advantage.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench import stage
from bench.stage import Failed, Target

LITELLM, PORTKEY, FEAST, MLSERVER, MLFLOW = "1.108.7", "1.15.2", "0.67.0", "1.7.1", "3.17.2"
"""The versions that are measured; change them here."""
SERVERS = {"uvicorn": (), "granian": ("--run_granian",)}
"""LiteLLM's two fast ways to serve: which of them is faster depends on the machine."""
MASTER = "sk-bench-master"
INSTALL_SECONDS = 900
QUIET = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "DISABLE_ADMIN_UI": "True",
    "NO_DOCS": "True",
}
"""LiteLLM's advice for production: https://docs.litellm.ai/docs/proxy/prod (2026-11)."""
CONFIG = """
general_settings:
  master_key: {master}
litellm_settings:
  set_verbose: false
model_list:
"""
MODEL = """
  - model_name: {name}
    litellm_params: {{model: openai/{model}, api_base: "{url}/v1", api_key: {key}}}
"""


def cache() -> Path:
    """Where what is installed stays."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = base / "tandem-bench"
    found.mkdir(parents=True, exist_ok=True)
    return found


def _install(what: str, *commands: list[str]) -> None:
    for words in commands:
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Failed(f"{what} cannot be installed: {error}") from None
        if done.returncode:
            raise Failed(f"{what} cannot be installed: {done.stdout[-400:]}{done.stderr[-800:]}")


def environment(name: str, version: str, *requirements: str) -> Path:
    """A virtual environment of its own for what comes from PyPI, made once.

    Raises:
        Failed: it cannot be made.
    """
    home = cache() / f"{name}-{version}"
    if not (home / ".ready").exists():
        uv = [sys.executable, "-m", "uv"]
        _install(
            name,
            [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)],
            [*uv, "pip", "install", "--quiet", "--python", str(home), *requirements],
        )
        (home / ".ready").touch()
    return home


def litellm_home() -> Path:
    """LiteLLM's virtual environment."""
    return environment("litellm", LITELLM, f"litellm[proxy]=={LITELLM}")


def feast_home() -> Path:
    """Feast's virtual environment."""
    return environment("feast", FEAST, f"feast[duckdb]=={FEAST}")


def portkey_script() -> Path:
    """The server of Portkey's gateway.

    Raises:
        Failed: it cannot be installed; node may be missing.
    """
    home = cache() / f"portkey-{PORTKEY}"
    if shutil.which("npm") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        apt = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends"]
        _install("node", ["apt-get", "update", "--quiet"], [*apt, "nodejs", "npm"])
    if not (home / ".ready").exists():
        npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(home)]
        _install("Portkey's gateway", [*npm, f"@portkey-ai/gateway@{PORTKEY}"])
        (home / ".ready").touch()
    return home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"


@contextmanager
def litellm(folder: Path, server: str, upstreams: Mapping[str, Target], *, cores: str) -> Iterator[dict[str, Target]]:
    """LiteLLM's proxy: one worker, a master key, no database, no callbacks; yields a target for each upstream.

    Raises:
        Failed: it cannot be installed, or does not start.
    """
    home, name = litellm_home(), f"litellm, {server}"
    rows = [MODEL.format(name=key, model=one.model, url=one.url, key=one.key) for key, one in upstreams.items()]
    config, log, port = folder / "litellm.yaml", folder / f"{name}.log", stage.free_port()
    config.write_text(CONFIG.format(master=MASTER) + "".join(rows))
    words = [str(home / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with stage.process([*words, "--num_workers", "1", *SERVERS[server]], log, QUIET, cores=cores) as child:
        stage.wait_for(f"{url}/health/liveliness", child, log)
        first = Target(name=name, url=url, model="", key=MASTER, pid=child.pid)
        yield {key: replace(first, model=key) for key in upstreams}


@contextmanager
def portkey(folder: Path, upstreams: Mapping[str, Target], *, cores: str) -> Iterator[dict[str, Target]]:
    """Portkey's gateway: node, without its console; the upstream is named in each request, as its documentation says.

    Raises:
        Failed: it cannot be installed, or does not start.
    """
    script, log, port = portkey_script(), folder / "portkey.log", stage.free_port()
    words = ["node", str(script), "--headless", f"--port={port}"]
    url = f"http://127.0.0.1:{port}"
    with stage.process(words, log, {"NODE_ENV": "production"}, cores=cores) as child:
        stage.wait_for(f"{url}/", child, log)

        def target(upstream: Target) -> Target:
            headers = (("x-portkey-provider", "openai"), ("x-portkey-custom-host", f"{upstream.url}/v1"))
            return Target(name="portkey", url=url, model=upstream.model, key=upstream.key, pid=child.pid, headers=headers)

        yield {key: target(upstream) for key, upstream in upstreams.items()}


MLSERVER_SETTINGS = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, "metrics_endpoint": None}
"""In its own process there is no queue between it and the model, which is its fastest way on one core."""
ALONE = {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
SAVE = "import sys, mlflow, xgboost; b = xgboost.Booster(); b.load_model(sys.argv[1]); mlflow.xgboost.save_model(b, sys.argv[2])"


@contextmanager
def mlserver(folder: Path, model: Path, name: str, *, cores: str) -> Iterator[Target]:
    """MLServer with one XGBoost model, in one process, without metrics.

    Args:
        model: the native file, `.ubj`.

    Raises:
        Failed: it cannot be installed, or does not start.
    """
    home = environment("mlserver", MLSERVER, f"mlserver=={MLSERVER}", f"mlserver-xgboost=={MLSERVER}", "xgboost-cpu")
    place, log = folder / "mlserver", folder / "mlserver.log"
    place.mkdir()
    shutil.copy(model, place / "model.ubj")
    ports = {"http_port": stage.free_port(), "grpc_port": stage.free_port(), "metrics_port": stage.free_port()}
    (place / "settings.json").write_text(json.dumps({**MLSERVER_SETTINGS, **ports}))
    told = {"name": name, "implementation": "mlserver_xgboost.XGBoostModel", "parameters": {"uri": "./model.ubj", "version": "1"}}
    (place / "model-settings.json").write_text(json.dumps(told))
    url = f"http://127.0.0.1:{ports['http_port']}"
    with stage.process([str(home / "bin" / "mlserver"), "start", str(place)], log, ALONE, cores=cores) as child:
        stage.wait_for(f"{url}/v2/models/{name}/ready", child, log)
        yield Target(name="mlserver", url=url, model=name, key="", pid=child.pid)


@contextmanager
def mlflow(folder: Path, model: Path, *, cores: str) -> Iterator[Target]:
    """`mlflow models serve` with one XGBoost model and one worker.

    Args:
        model: the native file, `.ubj`.

    Raises:
        Failed: it cannot be installed, or does not start.
    """
    home = environment("mlflow", MLFLOW, f"mlflow=={MLFLOW}", "xgboost-cpu")
    place, log, port = folder / "mlflow", folder / "mlflow.log", stage.free_port()
    saved = subprocess.run(
        [str(home / "bin" / "python"), "-c", SAVE, str(model), str(place)], capture_output=True, text=True, check=False
    )
    if saved.returncode:
        raise Failed(f"mlflow saves no model: {saved.stderr[-800:]}")
    words = [str(home / "bin" / "mlflow"), "models", "serve", "-m", str(place), "--env-manager", "local"]
    words += ["-h", "127.0.0.1", "-p", str(port), "--workers", "1"]
    path = {**ALONE, "PATH": f"{home / 'bin'}:{os.environ['PATH']}"}
    with stage.process(words, log, path, cores=cores) as child:
        url = f"http://127.0.0.1:{port}"
        stage.wait_for(f"{url}/health", child, log)
        yield Target(name="mlflow", url=url, model="", key="", pid=child.pid)
