"""A policy's guards over one call: what comes in is looked at before anything is sent, what goes out before it leaves.

A secret that is masked on its way in is spoken of by a placeholder, which is undone on the way back; the caller never
sees it, the upstream and the records never see the secret. It knows no wire: bodies are JSON, and their strings are read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec

from tandem.core.errors import Blocked, Invalid, Unavailable, Upstream
from tandem.core.policy import Action, Guard, Side
from tandem.gateway.call import Call
from tandem.gateway.splice import splice
from tandem.scorers.guards.automaton import Found, Rule
from tandem.scorers.guards.channel import Argued, Plain
from tandem.scorers.guards.detect import automaton, clear, look
from tandem.scorers.guards.rules import rules_for

DEFAULT = "policy/default@production"
"""Guards every endpoint that names no policy of its own, where it exists."""
LARGE = 32 * 1024
"""Bytes beyond which a body is read beside the event loop."""
STRUCTURE = frozenset(
    {
        "id", "object", "role", "type", "finish_reason", "model", "system_fingerprint", "service_tier",
        "media_type", "signature", "tool_call_id", "tool_use_id", "call_id", "encrypted_content",
    }
)  # fmt: skip
"""String members on a model's wire that say how, not what. A decision's members are its author's: all of them may say what."""
DATA = frozenset({"url", "data", "image_url", "file_data"})
"""Members in which a picture or a file may lie, in base 64."""
ARGUMENTS = frozenset({"arguments"})
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_BACK = Rule(name="placeholder", pattern="<[A-Z][A-Z-]{1,23}-\\d{1,4}>", needs=("<",), longest=40)


class _Meta(msgspec.Struct):
    guards: list[Guard]


@dataclass(frozen=True, slots=True)
class Watch:
    """A policy version, ready to look."""

    rules: Mapping[Side, tuple[Rule, ...]]
    actions: Mapping[Side, Mapping[str, Action]]
    """By rule."""


@lru_cache(maxsize=256)
def watch(meta: bytes) -> Watch:
    """What a policy's meta (JSON) asks for."""
    guards = msgspec.json.decode(meta, type=_Meta).guards
    rules: dict[Side, tuple[Rule, ...]] = {}
    actions: dict[Side, dict[str, Action]] = {}
    sides: tuple[Side, ...] = ("in", "out")
    for side in sides:
        told = {guard.detector: guard.action for guard in guards if side in guard.on}
        asked = {rule.name: told.get(rule.name, told.get(rule.detector, "allow")) for rule in rules_for(told)}
        actions[side] = {name: action for name, action in asked.items() if action != "allow"}
        rules[side] = tuple(rule for rule in rules_for(told) if rule.name in actions[side])
    return Watch(rules, actions)


@dataclass(slots=True)
class Guarding:
    """The guards of one call."""

    ref: str
    """The policy version, for messages."""
    watch: Watch
    wire: bool = True
    """Whether bodies are in a model wire's form, whose structure is known; else every string of them is read."""
    written: frozenset[str] = ARGUMENTS
    """Members that hold JSON as text; once the request asks for JSON, what is answered is such a text too."""
    counts: dict[tuple[Side, str, Action], int] = field(default_factory=dict)
    _placeholders: dict[str, str] = field(default_factory=dict)
    """Secret → what stands for it upstream."""
    _secrets: dict[str, str] = field(default_factory=dict)

    @property
    def report(self) -> list[dict[str, object]]:
        """What was found, for the trace: detectors and numbers, no content."""
        return [
            {"detector": name, "on": side, "action": action, "count": count}
            for (side, name, action), count in sorted(self.counts.items())
        ]

    # --- in

    def request(self, body: bytes) -> bytes:
        """The request as it may go on; fields without words stay byte-identical.

        Raises:
            Blocked: a guard does not let it in; nothing was sent.
            Invalid: it is nested too deeply to be read.
        """
        try:
            tree = msgspec.json.decode(body)
            if not self.wire or not isinstance(tree, dict):
                return msgspec.json.encode(self._walk(tree, self._in))
            self._tokens(tree.get("input"))
            read = {name: tree[name] for name in tree if name not in STRUCTURE and isinstance(tree[name], str | list | dict)}
            edits = {}
            if not self._clear(self.watch.rules["in"], *[(value, name) for name, value in read.items()]):
                edits = {name: msgspec.json.encode(self._walk(value, self._in, name)) for name, value in read.items()}
            nested = [form.get("format") for name in ("output_config", "text") if isinstance(form := tree.get(name), dict)]
            if any(map(_wants_json, [tree.get("response_format"), *nested])):
                self.written = ARGUMENTS | {"content"}
            return splice(body, edits) if edits else body
        except UNREADABLE:
            raise Invalid("The body is not JSON that can be read.", hint="Send less deeply nested JSON.") from None

    def _tokens(self, given: Any) -> None:
        """Refuses what is no text although it stands for one.

        Raises:
            Blocked: tokens were sent, which no guard can read.
        """
        if isinstance(given, list) and any(not isinstance(item, str | dict) for item in given) and self.watch.rules["in"]:
            raise Blocked(
                f"The guards of {self.ref} cannot read tokens.",
                hint="Send the text itself.",
                field="input",
                code="guard_blocked",
            )

    def stop(self, side: Side) -> None:
        """Refuses, if something was found that must not pass.

        Raises:
            Blocked: it was.
        """
        blocked = [name for (found_on, name, action) in self.counts if found_on == side and action == "block"]
        if blocked:
            where = "in" if side == "in" else "out"
            raise Blocked(
                f"The guard '{blocked[0]}' of {self.ref} does not let this {where}.",
                hint="Take it out of the request, or ask for a policy that masks it." if side == "in" else None,
                code="guard_blocked",
            )

    def incoming(self, text: str) -> str:
        """One whole text of a request, as it may go on."""
        return self._in(text, False)

    def _in(self, text: str, argued: bool) -> str:
        return _whole(text, argued, self.watch.rules["in"], self._on_the_way_in)[0]

    def _on_the_way_in(self, found: Found, secret: str) -> tuple[str, str] | None:
        action = self._count("in", found.rule)
        if action == "observe":
            return None
        placeholder = self._placeholders.get(secret)
        if placeholder is None:
            number = 1 + sum(1 for known in self._secrets if known.startswith(f"<{_label(found.rule)}-"))
            placeholder = self._placeholders[secret] = f"<{_label(found.rule)}-{number}>"
            self._secrets[placeholder] = secret
        return placeholder, placeholder

    # --- out

    def reply(self, body: bytes) -> tuple[bytes, bytes]:
        """A whole answer: as it is kept, and as the caller hears it.

        Raises:
            Blocked: a guard does not let it out.
            Upstream: it cannot be read.
        """
        heard: list[str] = []

        def read(text: str, argued: bool) -> str:
            kept, said = self.once(text, argued=argued)
            heard.append(said)
            return kept

        try:
            tree = msgspec.json.decode(body)
            if self._clear(self.out_rules, (tree, "")):
                return body, body
            kept = self._walk(tree, read)
            again = iter(heard)
            said = self._walk(tree, lambda text, argued: next(again))
        except UNREADABLE:
            raise Upstream("The upstream's answer cannot be read by the guards.", code="malformed_reply") from None
        self.stop("out")
        return (
            body if kept == tree else msgspec.json.encode(kept),
            body if said == tree else msgspec.json.encode(said),
        )

    def once(self, text: str, *, argued: bool = False) -> tuple[str, str]:
        """One whole text of an answer: as it is kept, and as the caller hears it."""
        return _whole(text, argued, self.out_rules, self.on_the_way_out)

    @property
    def out_rules(self) -> tuple[Rule, ...]:
        """What is looked for in answers: the policy's rules, and placeholders where there are any."""
        return (*self.watch.rules["out"], _BACK) if self._secrets else self.watch.rules["out"]

    def on_the_way_out(self, found: Found, text: str) -> tuple[str, str] | None:
        """What stands in an answer for something that was found in it."""
        if found.rule is _BACK:
            secret = self._secrets.get(text)
            return None if secret is None else (text, secret)
        if self._count("out", found.rule) == "observe":
            return None
        label = f"<{_label(found.rule)}>"
        return label, label

    # --- both

    def _count(self, side: Side, rule: Rule) -> Action:
        action = self.watch.actions[side][rule.name]
        key = (side, rule.name, action)
        self.counts[key] = self.counts.get(key, 0) + 1
        return action

    def _clear(self, rules: tuple[Rule, ...], *trees: tuple[Any, str]) -> bool:
        """Whether nothing can be found in these trees (with the names they stand under), so that none has to be written anew."""
        texts: list[str] = []
        plain = True

        def collect(text: str, argued: bool) -> str:
            nonlocal plain
            plain = plain and not argued  # JSON in a text has escapes of its own
            texts.append(text)
            return text

        for tree, name in trees:
            self._walk(tree, collect, name)
        return plain and clear(texts, rules)

    def _walk(self, tree: Any, read: Callable[[str, bool], str], name: str = "", *, free: bool = False) -> Any:
        """The tree with its strings read, names of members too; on a model's wire, those that say what.

        Args:
            free: whether its members are a tool's or an author's own, so that any of them may say what.
        """
        free = free or not self.wire
        if isinstance(tree, str):
            if not free and (name in STRUCTURE or (name in DATA and len(tree) > 256)):
                return tree
            return read(tree, self.wire and name in self.written)
        if isinstance(tree, list):
            return [self._walk(item, read, name, free=free) for item in tree]
        if isinstance(tree, dict):
            return {
                read(key, False): None
                if self.wire and key == "logprobs"
                else self._walk(item, read, key, free=free or (key == "input" and tree.get("type") == "tool_use"))
                for key, item in tree.items()
            }
        return tree


def guarding(call: Call) -> Guarding | None:
    """The guards of a call's endpoint; None where it has none.

    Raises:
        Unavailable: its policy is not here, so nothing may pass.
    """
    assert call.endpoint is not None
    policy = call.endpoint.guards
    found = call.snapshot.policies.get(policy or DEFAULT)
    teams = ("default",) if policy is None else ("default", call.endpoint.team)  # no team guards another's endpoints
    if found is None or found.attributes.get("team", "default") not in teams:
        if policy is None:
            return None
        raise Unavailable(
            f"The policy {policy} of the endpoint '{call.endpoint.name}' is not here.",
            hint=f"Promote a version of it: `tandem promote {policy.replace('@', '@1 ')}`.",
        )
    versions = call.attributes.get("versions")
    call.attributes["versions"] = {**(versions if isinstance(versions, dict) else {}), found.ref: {"digest": found.digest}}
    return Guarding(found.ref, watch(found.meta), wire=call.kind != "decide")


async def let_in(call: Call, guards: Guarding, body: bytes) -> bytes:
    """The request as it may go on; it is also what is kept of it.

    Raises:
        Blocked: a guard does not let it in.
        Invalid: as `Guarding.request`.
    """
    start = call.door.clock.now()
    try:
        if len(body) > LARGE:
            call.request = await asyncio.to_thread(guards.request, body)
        else:
            call.request = guards.request(body)
        guards.stop("in")
    except Invalid:
        call.request = b""  # what could not be read is not kept
        raise
    finally:
        note(call, guards)
        call.stage("guard in", start)
    return call.request


async def let_out(call: Call, guards: Guarding, body: bytes) -> tuple[bytes, bytes]:
    """A whole answer: as it is kept, and as the caller hears it.

    Raises:
        Blocked: a guard does not let it out.
        Upstream: it cannot be read.
    """
    start = call.door.clock.now()
    try:
        return await asyncio.to_thread(guards.reply, body) if len(body) > LARGE else guards.reply(body)
    finally:
        note(call, guards)
        call.stage("guard out", start)


def note(call: Call, guards: Guarding) -> None:
    """Tells the trace what the guards have found so far."""
    if guards.counts:
        call.attributes["guards"] = guards.report


def _wants_json(form: object) -> bool:
    return isinstance(form, dict) and form.get("type") in ("json_object", "json_schema")


Replace = Callable[[Found, str], tuple[str, str] | None]


def _whole(text: str, argued: bool, rules: tuple[Rule, ...], replace: Replace) -> tuple[str, str]:
    """A whole text with what was found in it replaced: as it is kept, and as the caller hears it."""
    if not argued and not look(text, rules):
        return text, text
    channel = (Argued if argued else Plain)(automaton(rules), replace)
    kept, said = channel.feed(text)
    last = channel.end()
    return kept + last[0], said + last[1]


def _label(rule: Rule) -> str:
    return rule.detector.upper()
