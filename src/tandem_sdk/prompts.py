"""Prompts: templates with declared variables, versioned like everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tandem_sdk.assets import Version
from tandem_sdk.calls import Message
from tandem_sdk.shape import plain
from tandem_sdk.wire import API, Wire, read_reply, segment


class Prompts:
    """`client.prompts`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def add(
        self,
        name: str,
        template: str | Sequence[Message],
        *,
        variables: Mapping[str, str] | None = None,
        model: str | None = None,
    ) -> Version:
        """Stores the next version of a prompt.

        Args:
            name: the prompt's name, without `prompt/`.
            template: a text, or messages, with `{{ variable }}` where values go.
            variables: variable → its type.
            model: the endpoint it is meant for.

        Raises:
            Invalid: the template uses what it does not declare, or is broken.
        """
        body: dict[str, object] = {"variables": dict(variables or {})}
        if isinstance(template, str):
            body["template"] = template
        else:
            body["messages"] = [plain(message) for message in template]
        if model is not None:
            body["model"] = model
        return read_reply(Version, self._wire.send("POST", f"{API}/prompts/{segment(name)}", body))
