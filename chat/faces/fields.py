"""What the faces of other APIs share when they read a request: fields one by one, messages in parts, and the line
between what is wrong (`invalid_request`) and what is right there but not to be had here (`unsupported_parameter`)."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework import serializers

from chat import catalogue
from chat.exceptions import InvalidMessageFormatError, ValidationError
from chat.problems import EXAMPLE_MESSAGES, UnsupportedParameter
from chat.serializers import (
    MOST_MESSAGES,
    check_model,
    describe_models,
    echo,
    first_model,
    is_integer,
    is_number,
    refuse,
    sent_before,
    unknown_fields,
)

LONGEST_LABEL = 512
MOST_STOPS = 4
"""As many as OpenAI takes: a model's routes may lead there, whatever API the client speaks."""
NOT_BLANK = {"type": "string", "pattern": r"\S"}
STOPS = {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": MOST_STOPS}
Harmless = dict[str, tuple[Any, ...]]


class ForeignSerializer(serializers.Serializer):
    """The body of a chat by another API's rules. `run_validation` gives what `Chat` takes, and `stream`."""

    strict = True

    HARMLESS: ClassVar[Harmless]
    """Fields that the other API has and we have not, each with the values that ask for nothing, beside null."""
    FURTHER: ClassVar[tuple[str, ...]]
    """Fields that `refine_schema` describes, since no field of REST framework can."""
    LIMITS = ("max_tokens", "max_completion_tokens")

    def refine_schema(self, schema: dict[str, Any]) -> None:
        describe_models(schema, *(name for name in self.LIMITS if name in schema["properties"]))
        schema["properties"] |= harmless_schema(self.HARMLESS)
        schema["examples"] = [self.get_initial()]

    def get_initial(self) -> dict[str, Any]:
        """What the browsable API's box is filled with: what was just sent, else a request that works."""
        return sent_before(self) or {"model": first_model(), "max_tokens": 100, "messages": EXAMPLE_MESSAGES}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        """Raises, in the contract's order, for the model, the messages, what is unsupported, and all other fields."""
        if not isinstance(data, dict):
            raise ValidationError("The body is not an object.", fields={"body": ["Send one JSON object."]})
        model = check_model(data.get("model"))
        checked = {"model": model, "messages": self.take_messages(data)}
        refuse_unsupported(data, self.HARMLESS)
        fields = Fields(data, {*self._declared_fields, *self.FURTHER, *self.HARMLESS})
        checked |= self.take_options(fields, model)
        refuse(fields.complaints)
        return checked

    def take_messages(self, data: dict[str, Any]) -> Any:
        """The checked messages. Raises `InvalidMessageFormatError` or `UnsupportedParameter`."""
        raise NotImplementedError

    def take_options(self, fields: Fields, model: catalogue.Model) -> dict[str, Any]:
        """All else. What is wrong becomes a complaint of `fields`."""
        raise NotImplementedError


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

    def tokens(self, name: str, model: catalogue.Model) -> int | None:
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

    def stops(self, name: str) -> tuple[str, ...]:
        value = self.given.get(name, [])
        if not isinstance(value, list) or len(value) > MOST_STOPS or not all(isinstance(s, str) and s for s in value):
            self.complain(name, f"This must be a list of up to {MOST_STOPS} strings that are not empty.")
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


def without_harmless(item: dict[str, Any], harmless: Harmless, place: str) -> dict[str, Any]:
    refuse_unsupported(item, harmless, f"{place}.")
    return {name: value for name, value in item.items() if name not in harmless}


def joined(content: Any, place: str, harmless: Harmless, known: tuple[str, ...]) -> Any:
    """The text of `content`, a string or a list of text parts; anything else as it is. Parts of a `known` type are
    unsupported, all other faults are raised as `InvalidMessageFormatError`. Nothing is put between the parts."""
    if not isinstance(content, list):
        return content
    return "".join(_text(part, f"{place}[{number}]", harmless, known) for number, part in enumerate(content))


def _text(part: Any, place: str, harmless: Harmless, known: tuple[str, ...]) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind in known:
        raise UnsupportedParameter(f"{place}.type", kind=kind, only="text is")
    if kind == "text":
        part = without_harmless(part, harmless, place)
        if part.keys() == {"type", "text"} and isinstance(part["text"], str):
            return str(part["text"])
    message = 'A part is an object {"type": "text", "text": "..."}, and nothing else.'
    raise InvalidMessageFormatError(message, field=place, received=echo(part))


def harmless_schema(harmless: Harmless) -> dict[str, Any]:
    return {name: {"enum": [None, *values], "description": "Nothing else."} for name, values in harmless.items()}


def part_schema(harmless: Harmless) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"type": {"const": "text"}, "text": {"type": "string"}} | harmless_schema(harmless),
        "required": ["type", "text"],
        "additionalProperties": False,
    }


def text_schema(harmless: Harmless) -> dict[str, Any]:
    """A string or a list of text parts, which is not blank."""
    filled = {"properties": {"text": NOT_BLANK}}
    return {"anyOf": [NOT_BLANK, {"type": "array", "items": part_schema(harmless), "contains": filled}]}


def messages_schema(roles: tuple[str, ...], content: dict[str, Any], harmless: Harmless) -> dict[str, Any]:
    message = {
        "type": "object",
        "properties": {"role": {"enum": list(roles)}, "content": content} | harmless_schema(harmless),
        "required": ["role", "content"],
        "additionalProperties": False,
    }
    a_users = {"type": "object", "properties": {"role": {"const": "user"}}, "required": ["role"]}
    return {"type": "array", "items": message, "minItems": 1, "maxItems": MOST_MESSAGES, "contains": a_users}
