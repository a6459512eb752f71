"""A text that cannot be printed, logged, formatted or pickled by accident."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """Holds a secret; only `reveal()` gives it out.

    >>> print(Secret("sk-123"), [Secret("sk-123")])
    *** [Secret('***')]
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself. Call it only where it goes onto a wire."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("A Secret does not leave its process; send a reference such as env:NAME instead.")
