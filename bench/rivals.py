"""Other gateways, each in an environment of its own outside of this repository, at the fastest settings that they document.

The environments lie in `$XDG_CACHE_HOME/tandem-bench` (`~/.cache/tandem-bench`) and are made once. LiteLLM comes from PyPI,
Portkey's gateway from npm; both answer with everything optional switched off, which is to their advantage.
"""

from __future__ import annotations

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

LITELLM, PORTKEY = "1.108.7", "1.15.2"
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


def litellm_home() -> Path:
    """LiteLLM's virtual environment.

    Raises:
        Failed: it cannot be made.
    """
    home = cache() / f"litellm-{LITELLM}"
    if not (home / ".ready").exists():
        uv = [sys.executable, "-m", "uv"]
        _install(
            "LiteLLM",
            [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home)],
            [*uv, "pip", "install", "--quiet", "--python", str(home), f"litellm[proxy]=={LITELLM}"],
        )
        (home / ".ready").touch()
    return home


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
