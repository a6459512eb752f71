"""Runs the demo and writes what it printed into docs/demo.md, and the trace it showed into docs/img/trace.json.

Afterwards `python docs/img/draw.py` draws the trace, and `tests/docs` says which lines of the README nobody said any more.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tandem", "demo", "--once"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": folder})
        for trace in Path(folder).glob("*/trace.json"):
            (HERE / "img" / "trace.json").write_text(trace.read_text() + "\n")
    said = re.sub(r"/\S*tandem-demo-[^/\s]+", "…", done.stdout)
    said = re.sub(r"/\S*/(second_opinion\.py)", r"…/\1", said)
    page = HERE / "demo.md"
    text = page.read_text()
    start, end = text.index("```text\n") + len("```text\n"), text.rindex("```")
    page.write_text(text[:start] + said.strip("\n") + "\n" + text[end:])
    print(done.stdout[-200:], done.stderr)
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
