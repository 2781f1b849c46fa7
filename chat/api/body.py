"""A request's body, read field by field: what is wrong is complained of all at once (`invalid_request`), what asks for
something that is not to be had here is refused (`unsupported_parameter`)."""

from __future__ import annotations

from typing import Any

from chat.exceptions import UnsupportedParameter, ValidationError
from chat.problems.words import LONGEST_ECHO
from chat.types import Model

LONGEST_LABEL = 512
MOST_COMPLAINTS = 20
MOST_STOPS = 4
"""As many as OpenAI's API takes."""
Harmless = dict[str, tuple[Any, ...]]


def must_be_object(data: Any) -> dict[str, Any]:
    """`data`. Raises `ValidationError` where it is anything but a JSON object."""
    if not isinstance(data, dict):
        raise ValidationError("The body is not an object.", fields={"body": ["Send one JSON object."]})
    return data


class Fields:
    """A body's fields. A method returns the value if it is sound and None if it was left out; null is left out."""

    def __init__(self, data: dict[str, Any], known: Any) -> None:
        self.given = {name: value for name, value in data.items() if value is not None}
        self.complaints = unknown_fields(data, known)

    def complain(self, name: str, complaint: str) -> None:
        self.complaints.setdefault(name, []).append(complaint)

    def number(self, name: str, most: float) -> float | None:
        value = self.given.get(name)
        if value is None:
            return None
        if not is_number(value) or not 0 <= value <= most:
            self.complain(name, f"This must be a number from 0 to {most}.")
            return None
        return float(value)

    def tokens(self, name: str, model: Model) -> int | None:
        value = self.given.get(name)
        if value is not None and not (is_integer(value) and 1 <= value <= model.max_output_tokens):
            self.complain(name, f"This must be an integer from 1 to {model.max_output_tokens}.")
            return None
        return value

    def flag(self, name: str) -> bool:
        value = self.given.get(name, False)
        if not isinstance(value, bool):
            self.complain(name, "This must be true or false.")
        return value is True

    def label(self, name: str) -> None:
        """A name that the client keeps for itself; it changes nothing here."""
        value = self.given.get(name, "")
        if not isinstance(value, str) or len(value) > LONGEST_LABEL:
            self.complain(name, f"This must be a string of at most {LONGEST_LABEL} characters.")

    def bound(self, name: str) -> int | None:
        """Return a number of tokens that no answer shall pass; it may be more than any model gives."""
        value = self.given.get(name)
        if value is not None and not (is_integer(value) and value >= 1):
            self.complain(name, "This must be an integer, 1 or more.")
            return None
        return value

    def stops(self, name: str, most: int = MOST_STOPS) -> tuple[str, ...]:
        value = self.given.get(name, [])
        if not isinstance(value, list) or len(value) > most or not all(isinstance(s, str) and s for s in value):
            self.complain(name, f"This must be a list of up to {most} strings that are not empty.")
            return ()
        return tuple(value)

    def object(self, name: str, known: tuple[str, ...], harmless: Harmless | None = None) -> Fields:
        """The fields of an object within; their names in complaints are `name.field`."""
        value = self.given.get(name, {})
        if not isinstance(value, dict):
            self.complain(name, "This must be an object.")
            value = {}
        refuse_unsupported(value, harmless or {}, f"{name}.")
        inner = Fields({f"{name}.{key}": item for key, item in value.items()}, {f"{name}.{key}" for key in known})
        inner.complaints = self.complaints = self.complaints | inner.complaints
        return inner


def refuse_unsupported(data: dict[str, Any], harmless: Harmless, place: str = "") -> None:
    """Raise `UnsupportedParameter` for the first field that asks for what we have not."""
    for name, values in harmless.items():
        value = data.get(name)
        if value is not None and not any(same(value, allowed) for allowed in values):
            raise UnsupportedParameter(place + name)


def same(value: Any, other: Any) -> bool:
    """Equal as JSON has it: true is no 1."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def unknown_fields(data: dict[str, Any], known: Any) -> dict[str, list[str]]:
    """A complaint for each field that is not known, up to a number that an answer can hold."""
    strange = [name for name in data if name not in known]
    return {name[:LONGEST_ECHO]: ["This field is not known."] for name in strange[:MOST_COMPLAINTS]}


def refuse(complaints: dict[str, list[str]]) -> None:
    """Raise a `ValidationError` with the complaints, if there are any."""
    if complaints:
        raise ValidationError(f"Invalid fields: {', '.join(complaints)}.", fields=complaints)


def is_number(value: Any) -> bool:
    """A JSON number; Python's bool is an int, JSON's is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
