"""What the faces of other APIs share when they read a request: its order, messages in parts, and their schemas."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework import serializers

from chat.api.body import MOST_STOPS, Fields, Harmless, must_be_object, refuse, refuse_unsupported
from chat.exceptions import InvalidMessageFormatError, UnsupportedParameter
from chat.problems.facts import EXAMPLE_MESSAGES
from chat.serializers import MOST_MESSAGES, check_model, describe_models, echo, first_model, sent_before
from chat.types import Model

NOT_BLANK = {"type": "string", "pattern": r"\S"}
STOPS = {"type": "array", "items": {"type": "string", "minLength": 1}, "maxItems": MOST_STOPS}


class ForeignSerializer(serializers.Serializer):
    """The body of a chat by another API's rules. `run_validation` gives what `Chat` takes, and `stream`."""

    strict = True

    HARMLESS: ClassVar[Harmless]
    """Fields that the other API has and we have not, each with the values that ask for nothing, beside null."""
    FURTHER: ClassVar[tuple[str, ...]]
    """Fields that `refine_schema` describes, since no field of REST framework can."""
    LIMITS: ClassVar[tuple[str, ...]] = ("max_tokens", "max_completion_tokens")

    def refine_schema(self, schema: dict[str, Any]) -> None:
        describe_models(schema, *(name for name in self.LIMITS if name in schema["properties"]))
        schema["properties"] |= harmless_schema(self.HARMLESS)
        schema["examples"] = [self.get_initial()]

    def get_initial(self) -> dict[str, Any]:
        """What the browsable API's box is filled with: what was just sent, else a request that works."""
        return sent_before(self) or {"model": first_model(), "max_tokens": 100, "messages": EXAMPLE_MESSAGES}

    def run_validation(self, data: Any = serializers.empty) -> Any:
        """Raises, in the contract's order, for the model, the messages, what is unsupported, and all other fields."""
        data = must_be_object(data)
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

    def take_options(self, fields: Fields, model: Model) -> dict[str, Any]:
        """All else. What is wrong becomes a complaint of `fields`."""
        raise NotImplementedError


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
