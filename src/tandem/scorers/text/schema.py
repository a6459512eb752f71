"""Is the answer JSON of the wanted form? JSON Schema, any draft, offline (`jsonschema-rs`)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from jsonschema_rs import ReferencingError, RegexOptions, ValidationError, Validator, validator_for

from tandem.core.errors import Invalid
from tandem.scorers.text.base import ANSWER_LIMIT, Case, Grade, known, option

SHOWN = 5
"""Faults that a grade tells."""
_FENCE = re.compile(r"\s*```(?:json)?[ \t]*\n(.*?)\n?```\s*", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Schema:
    validator: Validator
    fenced: bool

    def grade(self, case: Case, answer: str) -> Grade:
        text = answer[:ANSWER_LIMIT]
        fence = _FENCE.fullmatch(text) if self.fenced else None
        try:
            value = json.loads(fence[1] if fence else text)
        except (ValueError, RecursionError):
            return Grade(value=0.0, detail={"faults": ["The answer is not JSON."]}, label="not-json")
        faults = []
        for error in self.validator.iter_errors(value):
            faults.append(f"{'.'.join(str(part) for part in error.instance_path) or '$'}: {type(error.kind).__name__}")
            if len(faults) == SHOWN:
                break
        return Grade(value=float(not faults), detail={"faults": faults} if faults else {})


def schema(options: Mapping[str, object]) -> _Schema:
    """1 where the answer keeps to the schema. Options: `schema`; `fenced` (true): a ```json fence around it is allowed.

    Raises:
        Invalid: there is no schema, or it is none.
    """
    known(options, "schema", "fenced")
    wanted = options.get("schema")
    where = "scorers.options.schema"
    if not isinstance(wanted, Mapping):
        raise Invalid("The scorer 'schema' needs a JSON schema.", hint="Give it as a JSON object.", field=where)
    try:
        validator = validator_for(dict(wanted), pattern_options=RegexOptions(), offline=True)
    except (ValidationError, ReferencingError, ValueError):
        raise Invalid(
            "The schema is no JSON schema.", hint="It must hold all it refers to; its patterns are Rust's `regex`.", field=where
        ) from None
    return _Schema(validator, bool(option(options, "fenced", bool, True)))
