"""Hosts known by name, as rows: protocol, address, where the key is, whose prices. It sends nothing and reads no environment.

A name of a row is enough to declare a provider: what is not said stands in the row, what is said wins.
The addresses were looked up in 2026-11: in the hosts' documentation where it could be read, else in clients that use them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tandem.core.endpoint import Provider
from tandem.core.errors import Invalid

OPENAI = "openai"
"""The protocol of whoever names none."""
UNPRICED = "none"
"""A price list that has no rows: no call of the provider has a price."""
_BLANK = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A host that is known by its name."""

    name: str
    base_url: str
    """With `{account}` and the like where every customer has an address of their own."""
    protocol: str = OPENAI
    variable: str | None = None
    """The environment variable its key is usually in; None where it takes none."""
    prices: str | None = None
    """Whose list in genai-prices applies; None: nobody's."""
    note: str = ""
    """What is unlike the others."""

    @property
    def blanks(self) -> tuple[str, ...]:
        """What must be filled into the address.

        >>> KNOWN["cloudflare"].blanks, KNOWN["groq"].blanks
        (('account',), ())
        """
        return tuple(_BLANK.findall(self.base_url))

    def owns(self, base_url: str) -> bool:
        """Whether an address is this host's, so that its key may go there.

        >>> KNOWN["azure"].owns("https://red.openai.azure.com/openai/v1"), KNOWN["groq"].owns("https://groq.example/v1")
        (True, False)
        """
        pattern = re.sub(r"\\\{\w+\\\}", "[A-Za-z0-9_-]+", re.escape(self.base_url))
        return re.fullmatch(pattern, base_url.rstrip("/")) is not None


_TOOLS_WHOLE = "Streams the arguments of a tool call in one piece."

KNOWN: dict[str, Known] = {
    row.name: row
    for row in (
        # each in its own protocol
        Known(name="openai", base_url="https://api.openai.com/v1", variable="OPENAI_API_KEY", prices="openai"),
        Known(
            name="anthropic",
            protocol="anthropic",
            base_url="https://api.anthropic.com/v1",
            variable="ANTHROPIC_API_KEY",
            prices="anthropic",
        ),
        Known(
            name="gemini",
            protocol="gemini",
            base_url="https://generativelanguage.googleapis.com/v1beta",
            variable="GEMINI_API_KEY",
            prices="google",
        ),
        Known(
            name="mistral",
            protocol="mistral",
            base_url="https://api.mistral.ai/v1",
            variable="MISTRAL_API_KEY",
            prices="mistral",
        ),
        Known(
            name="cohere",
            protocol="cohere",
            base_url="https://api.cohere.com/v2",
            variable="COHERE_API_KEY",
            prices="cohere",
            note="Bills other units than it counts; those that it bills are booked.",
        ),
        # makers of models, in OpenAI's protocol
        Known(name="deepseek", base_url="https://api.deepseek.com/v1", variable="DEEPSEEK_API_KEY", prices="deepseek"),
        Known(
            name="xai",
            base_url="https://api.x.ai/v1",
            variable="XAI_API_KEY",
            prices="x-ai",
            note="Counts reasoning beside completion tokens, not among them.",
        ),
        Known(
            name="cohere-openai",
            base_url="https://api.cohere.ai/compatibility/v1",
            prices="cohere",
            note="Its compatibility address, for embeddings; its chats refuse stream_options. Its key is `cohere`'s.",
        ),
        Known(
            name="perplexity",
            base_url="https://api.perplexity.ai",
            variable="PERPLEXITY_API_KEY",
            prices="perplexity",
            note="Searches are billed beside tokens.",
        ),
        Known(name="moonshot", base_url="https://api.moonshot.ai/v1", variable="MOONSHOT_API_KEY", prices="moonshotai"),
        Known(name="zai", base_url="https://api.z.ai/api/paas/v4", variable="ZAI_API_KEY", prices="zai"),
        Known(
            name="zhipu",
            base_url="https://open.bigmodel.cn/api/paas/v4",
            variable="ZHIPUAI_API_KEY",
            prices="zhipuai",
            note="The mainland's address of Z.AI.",
        ),
        Known(
            name="dashscope",
            base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
            variable="DASHSCOPE_API_KEY",
            note="Qwen, international; the mainland's is https://dashscope.aliyuncs.com/compatible-mode/v1.",
        ),
        Known(name="minimax", base_url="https://api.minimax.io/v1", variable="MINIMAX_API_KEY", prices="minimax"),
        Known(name="upstage", base_url="https://api.upstage.ai/v1", variable="UPSTAGE_API_KEY"),
        # hosts of others' models
        Known(name="groq", base_url="https://api.groq.com/openai/v1", variable="GROQ_API_KEY", prices="groq"),
        Known(name="together", base_url="https://api.together.xyz/v1", variable="TOGETHER_API_KEY", prices="together"),
        Known(
            name="fireworks", base_url="https://api.fireworks.ai/inference/v1", variable="FIREWORKS_API_KEY", prices="fireworks"
        ),
        Known(name="cerebras", base_url="https://api.cerebras.ai/v1", variable="CEREBRAS_API_KEY", prices="cerebras"),
        Known(name="novita", base_url="https://api.novita.ai/openai/v1", variable="NOVITA_API_KEY", prices="novita"),
        Known(name="baseten", base_url="https://inference.baseten.co/v1", variable="BASETEN_API_KEY", prices="baseten"),
        Known(
            name="ovhcloud",
            base_url="https://oai.endpoints.kepler.ai.cloud.ovh.net/v1",
            variable="OVH_AI_ENDPOINTS_ACCESS_TOKEN",
            prices="ovhcloud",
        ),
        Known(name="nvidia", base_url="https://integrate.api.nvidia.com/v1", variable="NVIDIA_API_KEY"),
        Known(name="sambanova", base_url="https://api.sambanova.ai/v1", variable="SAMBANOVA_API_KEY"),
        Known(name="deepinfra", base_url="https://api.deepinfra.com/v1/openai", variable="DEEPINFRA_API_KEY"),
        Known(name="hyperbolic", base_url="https://api.hyperbolic.xyz/v1", variable="HYPERBOLIC_API_KEY"),
        Known(name="nebius", base_url="https://api.tokenfactory.nebius.com/v1", variable="NEBIUS_API_KEY"),
        Known(name="chutes", base_url="https://llm.chutes.ai/v1", variable="CHUTES_API_KEY"),
        Known(name="featherless", base_url="https://api.featherless.ai/v1", variable="FEATHERLESS_API_KEY"),
        Known(name="siliconflow", base_url="https://api.siliconflow.com/v1", variable="SILICONFLOW_API_KEY"),
        Known(name="friendli", base_url="https://api.friendli.ai/serverless/v1", variable="FRIENDLI_TOKEN"),
        Known(name="scaleway", base_url="https://api.scaleway.ai/v1", variable="SCW_SECRET_KEY"),
        # clouds, with an address for each customer
        Known(
            name="azure",
            protocol="azure",
            base_url="https://{resource}.openai.azure.com/openai/v1",
            variable="AZURE_OPENAI_API_KEY",
            prices="azure",
            note="A model is named by its deployment; its price is found where the deployment bears the model's name.",
        ),
        Known(
            name="cloudflare",
            base_url="https://api.cloudflare.com/client/v4/accounts/{account}/ai/v1",
            variable="CLOUDFLARE_API_TOKEN",
            prices="cloudflare",
            note="Workers AI.",
        ),
        Known(
            name="databricks",
            base_url="https://{workspace}.cloud.databricks.com/serving-endpoints",
            variable="DATABRICKS_TOKEN",
            prices="databricks",
        ),
        Known(
            name="bedrock",
            protocol="bedrock",
            base_url="https://bedrock-runtime.{region}.amazonaws.com",
            variable="AWS_BEARER_TOKEN_BEDROCK",
            prices="aws",
            note="Every model that Converse has; a key is Bedrock's own, or `ACCESS_KEY:SECRET[:SESSION_TOKEN]`.",
        ),
        Known(
            name="bedrock-openai",
            base_url="https://bedrock-runtime.{region}.amazonaws.com/openai/v1",
            prices="aws",
            note="Only the models that Bedrock serves in OpenAI's protocol; its key is `bedrock`'s.",
        ),
        # brokers, who pass a call on
        Known(name="openrouter", base_url="https://openrouter.ai/api/v1", variable="OPENROUTER_API_KEY", prices="openrouter"),
        Known(
            name="huggingface",
            base_url="https://router.huggingface.co/v1",
            variable="HF_TOKEN",
            note="A price is that of whoever answers: set prices to huggingface_together and the like.",
        ),
        Known(
            name="github",
            base_url="https://models.github.ai/inference",
            variable="GITHUB_TOKEN",
            note="GitHub Models: for trying out, with low limits.",
        ),
        Known(name="vercel", base_url="https://ai-gateway.vercel.sh/v1", variable="AI_GATEWAY_API_KEY"),
        # servers of your own
        Known(name="ollama", base_url="http://127.0.0.1:11434/v1", note=_TOOLS_WHOLE),
        Known(name="lmstudio", base_url="http://127.0.0.1:1234/v1"),
        Known(name="vllm", base_url="http://127.0.0.1:8000/v1"),
        Known(name="llamacpp", base_url="http://127.0.0.1:8080/v1", note="`llama-server` of llama.cpp."),
        Known(name="sglang", base_url="http://127.0.0.1:30000/v1"),
    )
}
"""Name → host, in the order they are listed."""


def complete(
    name: str,
    *,
    protocol: str | None = None,
    base_url: str | None = None,
    keys: Sequence[str] | None = None,
    prices: str | None = None,
) -> Provider:
    """The provider that was declared, with what was not said taken from the row of its name.

    A key is taken from the row only where the address is the host's own: a key never goes to another's.

    Raises:
        Invalid: there is no address: no host is known by that name, or every customer has one of their own.

    >>> complete("groq").base_url, complete("groq").keys
    ('https://api.groq.com/openai/v1', ('env:GROQ_API_KEY',))
    """
    row = KNOWN.get(name)
    if row is None:
        if not base_url:
            raise Invalid(
                f"The provider '{name}' has no address, and no host is known by that name.",
                hint="Give base_url, or take a name of `tandem provider known`.",
                field="base_url",
            )
        return Provider(
            name=name, protocol=protocol or OPENAI, base_url=base_url.rstrip("/"), keys=tuple(keys or ()), prices=prices
        )
    if not base_url and row.blanks:
        raise Invalid(
            f"Every customer of {name} has an address of their own: {row.base_url}",
            hint=f"Give it as base_url, with {' and '.join(row.blanks)} filled in.",
            field="base_url",
        )
    address = (base_url or row.base_url).rstrip("/")
    if keys is None:
        keys = (f"env:{row.variable}",) if row.variable is not None and row.owns(address) else ()
    return Provider(
        name=name,
        protocol=protocol or row.protocol,
        base_url=address,
        keys=tuple(keys),
        prices=prices or row.prices or UNPRICED,
    )
