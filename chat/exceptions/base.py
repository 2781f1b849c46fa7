"""The root of the tree."""

from __future__ import annotations

from typing import Any, ClassVar, Self


class GenAIException(Exception):
    """The root: everything that this project itself raises while it serves a chat."""

    unlogged: ClassVar[frozenset[str]] = frozenset({"message"})
    """Attributes that the log gets under another name or, being the user's words, never."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def facts(self) -> dict[str, Any]:
        """Return what the log may hold of it beside its message."""
        return {name: value for name, value in vars(self).items() if name not in self.unlogged}

    def but(self, **facts: Any) -> Self:
        """Return the same exception with other facts. Nobody writes to an exception that was raised."""
        other = type(self).__new__(type(self), *self.args)
        vars(other).update(vars(self) | facts)
        return other
