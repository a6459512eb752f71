"""Language models by name: hosts that speak OpenAI's protocol, as rows. It sends nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tandem.core.asset import NAME
from tandem.core.errors import Invalid

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A provider that is known by its name."""

    url: str
    variable: str | None
    """Where its key is looked for; None where it takes none."""
    model: str
    """What is offered."""
    prices: str | None
    """Whose price list applies."""


HOSTS: dict[str, Host] = {
    "openai": Host(url="https://api.openai.com/v1", variable="OPENAI_API_KEY", model="gpt-4o-mini", prices=None),
    "mistral": Host(url="https://api.mistral.ai/v1", variable="MISTRAL_API_KEY", model="mistral-small-latest", prices="mistral"),
    "groq": Host(
        url="https://api.groq.com/openai/v1", variable="GROQ_API_KEY", model="llama-3.1-8b-instant", prices="groq"
    ),
    "deepseek": Host(url="https://api.deepseek.com/v1", variable="DEEPSEEK_API_KEY", model="deepseek-chat", prices="deepseek"),
    "ollama": Host(url="http://127.0.0.1:11434/v1", variable=None, model="llama3.2", prices=None),
}  # fmt: skip
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
    host = HOSTS.get(provider)
    if not NAME.fullmatch(provider) or provider == MOCK or (url is None and host is None) or (host is None and not name):
        raise Invalid(
            f"'{word}' is no language model that is known.",
            hint=f"Write none, mock or PROVIDER/MODEL. Known are {', '.join(HOSTS)}; any other one needs --url.",
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
    name = name or (host.model if host is not None else "")
    here = url is not None or host is None
    address = url if url is not None else host.url if host is not None else ""
    prices = None if here or host is None else host.prices
    return Model(
        provider=provider,
        name=name,
        url=address,
        variable=variable or (host.variable if host is not None and url is None else None),
        prices=prices,
        priced=_priced(name, prices or "openai"),
    )


def _priced(name: str, vendor: str) -> bool:
    import time

    from tandem.gateway.prices import price_of

    return price_of(name, vendor, time.time_ns() // 1000) is not None
