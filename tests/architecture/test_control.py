"""Control is built without the numeric libraries: they load in children, and a base install has none of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HEAVY = (
    "numpy",
    "polars",
    "scipy",
    "sklearn",
    "onnx",
    "onnxruntime",
    "lightgbm",
    "xgboost",
    "deltalake",
    "PIL",
    "torch",
    "pandas",
)
BUILD = """
import os, sys
from pathlib import Path
from tandem import settings
from tandem.app.control import build
build(settings.load(Path(sys.argv[1])), "all")
print(*(name for name in sys.argv[2:] if name in sys.modules), flush=True)
os._exit(0)  # nothing was started
"""


def test_control_imports_no_numeric_library(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BUILD, str(tmp_path), *HEAVY], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


ROUNDS = """
import os, sys
from pathlib import Path
from tandem import settings
from tandem.app.control import build
print(*build(settings.load(Path(sys.argv[1])), "all").background, flush=True)
os._exit(0)
"""


def test_a_copy_of_features_takes_the_place_of_no_other_round(tmp_path: Path) -> None:
    names = []
    for number, more in enumerate(({}, {"TANDEM_STORE__REDIS": "redis://127.0.0.1:1/0"})):
        home = tmp_path / str(number)
        home.mkdir()
        environment = {**os.environ, **more}
        done = subprocess.run(
            [sys.executable, "-c", ROUNDS, str(home)], capture_output=True, text=True, check=True, env=environment
        )
        names.append(set(done.stdout.split()))
    assert names[1] - names[0] == {"mirror"}
    assert "features" in names[1]
