"""The language model of a project, by name; the hosts are the gateway's rows. It sends nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tandem.core.asset import NAME
from tandem.core.errors import Invalid
from tandem.gateway.providers.compatible import KNOWN, complete

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


OFFERED: dict[str, str] = {
    "openai": "gpt-4o-mini",
    "mistral": "mistral-small-latest",
    "groq": "llama-3.1-8b-instant",
    "deepseek": "deepseek-chat",
    "ollama": "llama3.2",
}
"""Known host → the model that its name alone means."""
MOCK, NONE = "mock", "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The language model of a project."""

    provider: str
    name: str
    url: str
    variable: str | None
    prices: str | None
    priced: bool
    """Whether a price is known; a hard cap refuses every call to a model without one."""
    protocol: str = "openai"

    @property
    def mock(self) -> bool:
        return self.provider == MOCK

    @property
    def target(self) -> str:
        return f"{self.provider}/{self.name}"


def model_of(word: str, *, port: int, url: str | None, variable: str | None) -> Model | None:
    """The model of an answer; None for `none`.

    Args:
        word: `none`, `mock`, or PROVIDER/MODEL; of a known provider its name alone is enough.
        port: the platform's; a mock listens on the next one.
        url: the address of a provider that is not known, or another one of a known provider.
        variable: where its key is, if not where it is known to be.

    Raises:
        Invalid: the provider is not known and no address is given, or a word means nothing.
    """
    if word == NONE:
        return None
    if word == MOCK:
        mock = f"http://127.0.0.1:{port + 1}/v1"
        return Model(provider=MOCK, name="gpt-4o-mini", url=mock, variable=None, prices="openai", priced=True)
    provider, _, name = word.partition("/")
    host = KNOWN.get(provider)
    name = name or OFFERED.get(provider, "")
    lost = url is None and (host is None or bool(host.blanks))
    if not NAME.fullmatch(provider) or provider == MOCK or lost or not name:
        raise Invalid(
            f"'{word}' is no language model that is known.",
            hint=f"Write none, mock or PROVIDER/MODEL. Known are {', '.join(KNOWN)}; any other one needs --url.",
            field="model",
        )
    if url is not None and not url.startswith(("http://", "https://")):
        raise Invalid(f"'{url}' is no address.", hint="Write it like https://host.example/v1.", field="url")
    if variable is not None and not VARIABLE.fullmatch(variable):
        raise Invalid(
            f"'{variable}' is no name of an environment variable.",
            hint="Give the variable's name, such as OPENAI_API_KEY; the key itself stays out of the project.",
            field="key_env",
        )
    declared = complete(provider, base_url=url)
    known = host is not None and host.owns(declared.base_url)
    return Model(
        provider=provider,
        name=name,
        url=declared.base_url,
        variable=variable or (host.variable if known and host is not None else None),
        prices=declared.prices,
        priced=_priced(name, declared.prices or "openai"),
        protocol=declared.protocol,
    )


def _priced(name: str, vendor: str) -> bool:
    import time

    from tandem.gateway.prices import price_of

    return price_of(name, vendor, time.time_ns() // 1000) is not None
