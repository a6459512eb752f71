"""The loop of a client that is driven from outside: one JSON line in, one JSON line out. It runs in the clients' environment.

In: `{"deed": NAME, "arguments": {…}}`. Out: `{"ok": …}`, or `{"error": {…}}` with what the client raised.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

Deed = Callable[..., Any]


def serve(deeds: Mapping[str, Deed]) -> None:
    """Does what the lines on standard input ask for, until they end."""
    out = sys.stdout
    sys.stdout = sys.stderr  # a library that prints must not break the line
    print(json.dumps({"ok": sorted(deeds)}), file=out, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            said = {"ok": deeds[asked["deed"]](**asked["arguments"])}
        except Exception as error:  # noqa: BLE001 whatever the client raises is what the test wants to see
            said = {"error": told(error)}
        print(json.dumps(said), file=out, flush=True)


def told(error: Exception) -> dict[str, Any]:
    """What an application can read off an exception of the client."""
    return {
        "classes": [kind.__name__ for kind in type(error).__mro__],
        "status": getattr(error, "status_code", None),
        "code": getattr(error, "code", None),
        "param": getattr(error, "param", None),
        "message": str(error),
    }
