"""A prompt: a template with typed variables, rendered in a sandbox to the messages of a chat. It asks no model.

A template is Jinja text, which becomes one `user` message, or a list of `{"role": …, "content": Jinja}`.
It cannot load other templates, reach attributes that lead out of the sandbox, or change what it is given.
What it writes is bounded; the memory and time it asks for while it writes are not, so only who may write
an Asset can publish one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes
from jinja2 import meta as syntax
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tandem.core.asset import Ref
from tandem.core.errors import Invalid
from tandem.registry.kinds.base import ALWAYS_ASIDE
from tandem.store.canonical import canonical

ROLES = ("system", "user", "assistant")
TYPES = ("string", "number", "integer", "boolean", "json")
RENDERED_LIMIT = 4_000_000
"""Characters of all messages together: beyond any context window, so a runaway loop and not a prompt."""


class Message(TypedDict):
    """One message of a chat, as every wire writes it."""

    role: str
    content: str


class Prompt:
    """Meta: `template`, `variables` (name → one of `TYPES`), and `model` when it is written for one."""

    aside = ALWAYS_ASIDE

    def check(self, meta: Mapping[str, object], members: Mapping[str, str]) -> None:
        declared = _variables(meta)
        environment = _environment()
        for place, (_, text) in enumerate(_texts(meta)):
            _check_text(environment, text, declared, place)
        model = meta.get("model")
        if model is not None and not (isinstance(model, str) and model):
            raise Invalid("The prompt's model is no name.", hint="Give provider/model or an endpoint's name.", field="meta.model")

    def check_parents(self, meta: Mapping[str, object], parents: Sequence[Ref]) -> None:
        """A prompt is written, not made from anything."""


def render(meta: Mapping[str, object], variables: Mapping[str, object]) -> list[Message]:
    """The messages of a prompt for these variables.

    Args:
        meta: the version's meta.
        variables: a value for each declared variable, of its type; no others.

    Raises:
        Invalid: a variable is missing, of another type or not declared, or the template fails on them; `field` names it.

    >>> render({"template": "Hello {{ name }}!", "variables": {"name": "string"}}, {"name": "Ada"})
    [{'role': 'user', 'content': 'Hello Ada!'}]
    """
    declared = _variables(meta)
    for name in declared:
        if name not in variables:
            raise Invalid(f"The variable '{name}' is missing.", hint=f"Give a {declared[name]}.", field=f"variables.{name}")
    for name, value in variables.items():
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise Invalid(f"The prompt has no variable '{name}'.", hint=f"It has: {known}.", field=f"variables.{name}")
        if not _fits(value, declared[name]):
            raise Invalid(
                f"The variable '{name}' is a {type(value).__name__}, not a {declared[name]}.",
                hint=f"Give a {declared[name]}.",
                field=f"variables.{name}",
            )
    environment = _environment()
    messages: list[Message] = []
    room = RENDERED_LIMIT
    for place, (role, text) in enumerate(_texts(meta)):
        content = _render_text(environment, text, variables, place, room)
        room -= len(content)
        messages.append(Message(role=role, content=content))
    return messages


def _render_text(
    environment: ImmutableSandboxedEnvironment, text: str, variables: Mapping[str, object], place: int, room: int
) -> str:
    pieces: list[str] = []
    try:
        for piece in environment.from_string(text).generate(variables):
            room -= len(piece)
            if room < 0:
                raise Invalid(f"The prompt grows beyond {RENDERED_LIMIT} characters.", hint="Give shorter variables.")
            pieces.append(piece)
    except (
        TemplateError,
        TypeError,
        ValueError,
        ArithmeticError,
        LookupError,
        AttributeError,
        RecursionError,
        MemoryError,
    ) as error:
        # What a template does with its variables can fail in any of these ways; all of them are the template's.
        raise Invalid(
            f"The template of message {place} cannot be rendered: {error}.",
            hint="Correct the template, or the variable it names.",
            field=f"meta.template[{place}]",
        ) from None
    return "".join(pieces)


def _texts(meta: Mapping[str, object]) -> list[tuple[str, str]]:
    template = meta.get("template")
    if isinstance(template, str) and template:
        return [("user", template)]
    if isinstance(template, Sequence) and not isinstance(template, str) and template:
        return [_message(message, place) for place, message in enumerate(template)]
    raise Invalid(
        "The prompt has no template.", hint="Give text, or a list of messages with role and content.", field="meta.template"
    )


def _message(message: object, place: int) -> tuple[str, str]:
    if isinstance(message, Mapping) and set(message) == {"role", "content"}:
        role, content = message["role"], message["content"]
        if role in ROLES and isinstance(content, str):
            return str(role), content
    raise Invalid(
        f"The prompt's message {place} is no message.",
        hint=f"Give role ({', '.join(ROLES)}) and content (text), nothing else.",
        field=f"meta.template[{place}]",
    )


def _variables(meta: Mapping[str, object]) -> dict[str, str]:
    declared = meta.get("variables", {})
    if not isinstance(declared, Mapping):
        raise Invalid("The prompt's variables are no object.", hint="Give them as name → type.", field="meta.variables")
    for name, kind in declared.items():
        if not str(name).isidentifier() or str(name).startswith("_") or name in RESERVED:
            raise Invalid(f"'{name}' cannot be a variable.", hint="Use letters, digits and underscores.", field="meta.variables")
        if kind not in TYPES:
            raise Invalid(
                f"The variable '{name}' has no known type.", hint=f"Types are {', '.join(TYPES)}.", field=f"meta.variables.{name}"
            )
    return {str(name): str(kind) for name, kind in declared.items()}


def _check_text(environment: ImmutableSandboxedEnvironment, text: str, declared: Mapping[str, str], place: int) -> None:
    where = f"meta.template[{place}]"
    try:
        tree = environment.parse(text)
        environment.compile(tree)
    except TemplateSyntaxError as error:
        raise Invalid(
            f"The template of message {place} cannot be read: line {error.lineno}: {error.message}.",
            hint="Write Jinja: {{ variable }}, {% if … %}, {% for … %}.",
            field=where,
        ) from None
    tree = environment.parse(text)
    if any(tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends))):
        raise Invalid("A prompt cannot load other templates.", hint="Write the text into this one.", field=where)
    for name in sorted(syntax.find_undeclared_variables(tree) - set(environment.globals)):
        if name not in declared:
            raise Invalid(
                f"The template uses '{name}', which is not declared.",
                hint=f"Add it to the variables with its type ({', '.join(TYPES)}).",
                field=f"variables.{name}",
            )


def _fits(value: object, kind: str) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "string":
            return isinstance(value, str) and _is_json(value)
        case "number":
            return number and value == value and value not in (float("inf"), float("-inf"))
        case "integer":
            return number and isinstance(value, int)
        case "boolean":
            return isinstance(value, bool)
        case _:
            return _is_json(value)


def _is_json(value: object) -> bool:
    try:
        canonical(value)
    except Invalid:
        return False
    return True


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    environment.globals = {"range": environment.globals["range"], "namespace": environment.globals["namespace"]}
    # Jinja's own tojson escapes for HTML; a prompt is no page.
    environment.filters["tojson"] = canonical
    return environment


RESERVED = frozenset({"range", "namespace", "loop", "self", "super", "caller", "varargs", "kwargs"})
