"""The page at /api/docs: every route with what it does, made from the OpenAPI description. No script, nothing from outside."""

from __future__ import annotations

from html import escape
from typing import Any

METHODS = ("get", "post", "put", "delete")


def page(schema: dict[str, Any]) -> str:
    """The description as HTML."""
    rows = [
        _row(path, method, operations[method])
        for path, operations in schema["paths"].items()
        for method in METHODS
        if method in operations
    ]
    head = (
        "<meta charset='utf-8'><title>Tandem: the API</title><meta name='viewport' content='width=device-width'>"
        "<link rel='icon' type='image/svg+xml' href='/console/static/tandem.svg'>"
        "<link rel='stylesheet' href='/console/static/console.css'>"
    )
    return (
        f"<!doctype html><html lang='en'><head>{head}</head><body><main>"
        f"<h1>{escape(schema['info']['title'])} {escape(schema['info']['version'])}</h1>"
        "<p><a href='/'>Console</a> · <a href='/api/openapi.json'>openapi.json</a> describes it for programs.</p>"
        "<div class='panel box'><table><thead><tr><th>Route</th><th>Does</th><th>Takes</th></tr></thead><tbody>"
        + "".join(rows)
        + "</tbody></table></div></main></body></html>"
    )


def _row(path: str, method: str, operation: dict[str, Any]) -> str:
    told = operation.get("description") or operation.get("summary") or ""
    names = [parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"]
    body = next(iter(operation.get("requestBody", {}).get("content", {})), "")
    takes = ", ".join([*(f"?{name}" for name in names), *([body] if body else [])])
    return f"<tr><td><code>{method.upper()} {escape(path)}</code></td><td>{escape(told)}</td><td>{escape(takes)}</td></tr>"
