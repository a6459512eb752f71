"""Formula: an expression in SQL over one row, which means the same for a row in `rows` and for a frame in `frames`.

    amount / (mean_7d + 1)        CASE WHEN country = 'DE' THEN 1 ELSE 0 END        coalesce(income, 0) > 1000

It reads and checks the text and computes nothing. Every number is a double. Null in, null out, with three-valued AND
and OR; what has no finite result (a division by zero, a logarithm of nothing) is null too, so that no infinity comes
into a model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tandem.core.errors import Invalid

Type = Literal["number", "text", "bool", "time", "null"]
Value: TypeAlias = float | str | bool | int | None
"""Times are UTC microseconds, as int."""

DEPTH = 40
"""How deep parentheses and operators may be nested."""
LONGEST = 4_000
"""Characters of a formula."""
NOW = "now()"
"""The moment of the question, in a row, beside its columns."""


@dataclass(frozen=True, slots=True)
class Constant:
    value: Value
    type: Type


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Call:
    """An operator or function, by a name of `SIGNATURES`, `case`, `in`, `is null` or a comparison."""

    name: str
    args: tuple[Node, ...]
    type: Type


Node: TypeAlias = Constant | Column | Call


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula that was read and checked against the columns it may use."""

    text: str
    node: Node

    @property
    def type(self) -> Type:
        return self.node.type

    @property
    def columns(self) -> frozenset[str]:
        """The columns it reads; the moment of the question is not among them."""
        return _columns(self.node) - {NOW}


SIGNATURES: dict[str, tuple[tuple[Type, ...], Type]] = {
    "+": (("number", "number"), "number"),
    "-": (("number", "number"), "number"),
    "*": (("number", "number"), "number"),
    "/": (("number", "number"), "number"),
    "%": (("number", "number"), "number"),
    "negative": (("number",), "number"),
    "abs": (("number",), "number"),
    "floor": (("number",), "number"),
    "ceil": (("number",), "number"),
    "round": (("number",), "number"),
    "sqrt": (("number",), "number"),
    "ln": (("number",), "number"),
    "exp": (("number",), "number"),
    "length": (("text",), "number"),
    "starts_with": (("text", "text"), "bool"),
    "contains": (("text", "text"), "bool"),
    "||": (("text", "text"), "text"),
    "not": (("bool",), "bool"),
    "hour": (("time",), "number"),
    "weekday": (("time",), "number"),
    "seconds_between": (("time", "time"), "number"),
}
"""Functions that are null where an argument is null: what they take and give."""
LAX: dict[str, Type | None] = {"and": "bool", "or": "bool", "coalesce": None, "least": "number", "greatest": "number"}
"""Functions of any number of arguments that look at nulls themselves; None: of whatever type their arguments have."""
ALIASES = {"ceiling": "ceil", "log": "ln", "char_length": "length", "dayofweek": "weekday"}
COMPARISONS = ("<=", ">=", "<>", "!=", "=", "<", ">")
WORDS = frozenset(
    {"and", "or", "not", "is", "null", "in", "between", "case", "when", "then", "else", "end", "true", "false", "cast", "as"}
)


# --- reading

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)
    |(?P<text>'(?:[^']|'')*')|(?P<quoted>"(?:[^"]|"")+")|(?P<name>[^\W\d]\w*)
    |(?P<sign><=|>=|<>|!=|\|\||[-+*/%(),=<>]))""",
    re.VERBOSE,
)


def read(text: str, columns: Mapping[str, Type]) -> Formula:
    """Reads a formula.

    Args:
        columns: what it may use, and of which type.

    Raises:
        Invalid: it is no formula, names an unknown column or function, or mixes types; says where.
    """
    if len(text) > LONGEST:
        raise Invalid(f"A formula has at most {LONGEST} characters.", field="expression")
    return Formula(text, _Reader(text, columns).whole())


class _Reader:
    """One reading of one text: precedence climbs from OR to a single value."""

    def __init__(self, text: str, columns: Mapping[str, Type]) -> None:
        self._text, self._columns = text, columns
        self._tokens = list(self._split())
        self._at = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._any()
        if self._at < len(self._tokens):
            raise self._fault(f"'{self._tokens[self._at][1]}' is not expected here")
        if node.type == "null":
            raise self._fault("nothing can come out but null")
        return node

    def _split(self) -> list[tuple[str, str, int]]:
        tokens, at = [], 0
        end = len(self._text.rstrip())
        while at < end:
            found = _TOKEN.match(self._text, at)
            if found is None:
                raise Invalid(
                    f"The formula {self._text!r} cannot be read from character {at + 1} on.",
                    field="expression",
                    hint="Write SQL over one row, such as: amount / (mean_7d + 1).",
                )
            kind = found.lastgroup or ""
            tokens.append((kind, found.group(kind), found.start(kind)))
            at = found.end()
        return tokens

    def _peek(self) -> str:
        """The next token as it is compared: words in lower case; empty at the end and for texts and quoted names."""
        if self._at >= len(self._tokens):
            return ""
        kind, word, _ = self._tokens[self._at]
        return word.lower() if kind in ("name", "sign") else ""

    def _take(self, *words: str) -> str:
        """The next token if it is one of these, which is then passed."""
        word = self._peek()
        if word and word in words:
            self._at += 1
            return word
        return ""

    def _need(self, word: str) -> None:
        if not self._take(word):
            raise self._fault(f"'{word}' is missing")

    def _fault(self, what: str) -> Invalid:
        place = self._tokens[self._at][2] + 1 if self._at < len(self._tokens) else len(self._text) + 1
        return Invalid(
            f"In the formula {self._text!r}, {what}, at character {place}.",
            field="expression",
            hint=f"It may use: {', '.join(sorted(self._columns)[:10]) or 'no column'}.",
        )

    def _any(self) -> Node:
        self._depth += 1
        if self._depth > DEPTH:
            raise self._fault("it is nested too deep")
        node = self._chain("or", lambda: self._chain("and", self._not))
        self._depth -= 1
        return node

    def _chain(self, word: str, part: Callable[[], Node]) -> Node:
        parts = [part()]
        while self._take(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else self._lax(word, parts)

    def _not(self) -> Node:
        count = 0
        while self._take("not"):
            count += 1
        node = self._compared()
        for _ in range(count):
            node = self._strict("not", [node])
        return node

    def _compared(self) -> Node:
        node = self._sum()
        while True:
            if sign := self._take(*COMPARISONS):
                node = self._comparison({"!=": "<>"}.get(sign, sign), node, self._sum())
            elif self._take("is"):
                inverse = bool(self._take("not"))
                self._need("null")
                node = Call("is null", (node,), "bool")
                node = self._strict("not", [node]) if inverse else node
            elif self._peek() in ("between", "in", "not"):
                inverse = bool(self._take("not"))
                node = self._among(node) if self._take("in") else self._between(node)
                node = self._strict("not", [node]) if inverse else node
            else:
                return node

    def _between(self, node: Node) -> Node:
        self._need("between")
        low = self._sum()
        self._need("and")
        high = self._sum()
        return self._lax("and", [self._comparison(">=", node, low), self._comparison("<=", node, high)])

    def _among(self, node: Node) -> Node:
        self._need("(")
        values = [self._sum()]
        while self._take(","):
            values.append(self._sum())
        self._need(")")
        for value in values:
            if not isinstance(value, Constant) or value.value is None:
                raise self._fault("IN takes a list of values, none of them null")
        node, *values = self._alike([node, *values])[0]
        return Call("in", (node, *values), "bool")

    def _sum(self) -> Node:
        node = self._product()
        while sign := self._take("+", "-", "||"):
            node = self._strict(sign, [node, self._product()])
        return node

    def _product(self) -> Node:
        node = self._signed()
        while sign := self._take("*", "/", "%"):
            node = self._strict(sign, [node, self._signed()])
        return node

    def _signed(self) -> Node:
        minus = 0
        while sign := self._take("-", "+"):
            minus += sign == "-"
        node = self._single()
        if minus % 2 == 0:
            return node
        if isinstance(node, Constant) and isinstance(node.value, float):
            return Constant(-node.value, "number")
        return self._strict("negative", [node])

    def _single(self) -> Node:
        if self._take("("):
            node = self._any()
            self._need(")")
            return node
        if self._take("case"):
            return self._case()
        for word, constant in (
            ("null", Constant(None, "null")),
            ("true", Constant(True, "bool")),
            ("false", Constant(False, "bool")),
        ):
            if self._take(word):
                return constant
        if self._at >= len(self._tokens):
            raise self._fault("something is missing")
        kind, word, _ = self._tokens[self._at]
        if kind == "sign" or (kind == "name" and word.lower() in WORDS):
            raise self._fault(f"'{word}' is not expected here")
        self._at += 1
        match kind:
            case "number":
                return Constant(float(word), "number")
            case "text":
                return Constant(word[1:-1].replace("''", "'"), "text")
            case "name" if self._peek() == "(":
                return self._function(word.lower())
        return self._column(word[1:-1].replace('""', '"') if kind == "quoted" else word)

    def _column(self, name: str) -> Node:
        if name not in self._columns:
            self._at -= 1
            raise self._fault(f"there is no column '{name}'")
        return Column(name, self._columns[name])

    def _function(self, name: str) -> Node:
        name = ALIASES.get(name, name)
        at = self._at
        self._need("(")
        args: list[Node] = []
        if not self._take(")"):
            args.append(self._any())
            while self._take(","):
                args.append(self._any())
            self._need(")")
        if name == "now" and not args:
            return Column(NOW, "time")
        if name == "nullif" and len(args) == 2:
            (first, _), type = self._alike(args)
            return Call("case", (self._comparison("=", *args), Constant(None, type), first), type)
        if name in LAX and name not in WORDS and args:
            return self._lax(name, args)
        if name in SIGNATURES and name.isidentifier() and name not in ("negative", "not"):
            return self._strict(name, args)
        self._at = at
        known = [each for each in (*SIGNATURES, *LAX) if each.isidentifier() and each not in ("negative", *WORDS)]
        raise self._fault(f"there is no function '{name}' (there are {', '.join(sorted([*known, 'now', 'nullif']))})")

    def _case(self) -> Node:
        parts: list[Node] = []
        while self._take("when"):
            condition = self._any()
            condition = self._wanted(condition, "bool", "WHEN")
            self._need("then")
            parts += [condition, self._any()]
        if not parts:
            raise self._fault("'when' is missing")
        parts.append(self._any() if self._take("else") else Constant(None, "null"))
        self._need("end")
        values, type = self._alike([*parts[1::2], parts[-1]])
        parts[1:-1:2], parts[-1] = values[:-1], values[-1]
        return Call("case", tuple(parts), type)

    def _strict(self, name: str, args: Sequence[Node]) -> Node:
        takes, gives = SIGNATURES[name]
        if len(args) != len(takes):
            raise self._fault(f"{name} takes {len(takes)} values, not {len(args)}")
        typed = tuple(self._wanted(arg, wanted, name) for arg, wanted in zip(args, takes, strict=True))
        return Call(name, typed, gives)

    def _lax(self, name: str, args: Sequence[Node]) -> Node:
        wanted = LAX[name]
        if wanted is not None:
            return Call(name, tuple(self._wanted(arg, wanted, name) for arg in args), wanted)
        alike, type = self._alike(args)
        return Call(name, alike, type)

    def _comparison(self, sign: str, left: Node, right: Node) -> Node:
        alike, _ = self._alike([left, right])
        return Call(sign, alike, "bool")

    def _wanted(self, node: Node, wanted: Type, what: str) -> Node:
        """The node, which must be of this type; what is always null is of any."""
        if node.type == "null":
            return Constant(None, wanted)
        if node.type != wanted:
            raise self._fault(f"{what} takes {_noun(wanted)}, not {_noun(node.type)}")
        return node

    def _alike(self, nodes: Sequence[Node]) -> tuple[tuple[Node, ...], Type]:
        """The nodes, which must be of one type, and that type."""
        types = {node.type for node in nodes} - {"null"}
        if len(types) > 1:
            raise self._fault(f"{' and '.join(_noun(each) for each in sorted(types))} are mixed")
        type = types.pop() if types else "null"
        return tuple(self._wanted(node, type, "") for node in nodes), type


def _noun(type: Type) -> str:
    return {"number": "a number", "text": "a text", "bool": "a truth value", "time": "a time", "null": "nothing"}[type]


def _columns(node: Node) -> frozenset[str]:
    match node:
        case Constant():
            return frozenset()
        case Column(name):
            return frozenset({name})
        case Call(_, args):
            return frozenset().union(*(_columns(arg) for arg in args))
