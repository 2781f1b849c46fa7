"""The bodies of requests, each declared once: what is read, what is wrong with it, and its schema.

What is wrong is told all at once (`ValidationError`), each fault in our own words; a field that asks for something that
is not to be had here is refused before that (`UnsupportedParameter`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

from chat.exceptions import InvalidMessageFormatError, UnsupportedParameter, ValidationError
from chat.types import Catalogue, Message, Model, Part, parts_of, text_of

LONGEST_ECHO = 200
"""Characters of what a client sent that an error repeats."""
LONGEST_LABEL = 512
MOST_COMPLAINTS = 20
NOT_KNOWN = "This field is not known."
MOST_MESSAGES = 2_000
Harmless = Mapping[str, tuple[Any, ...]]
"""Fields that the other API has and we have not, each with the values that ask for nothing, beside null."""


class Body(BaseModel):
    """A JSON object. Unknown fields are refused, no type is made of another, and null is as good as left out."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


B = TypeVar("B", bound=Body)


@dataclass(frozen=True)
class Says:
    """The complaint about a field; `{most}` stands for the model's own output limit."""

    complaint: str


class Only:
    """Says of a field that we have not: it takes the `values` that ask for nothing, and null."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        return only_schema(self.values)

    def check(self, value: Any) -> Any:
        if value is not None and not any(same(value, allowed) for allowed in self.values):
            raise PydanticCustomError("unsupported", "unsupported")
        return value


def only_schema(values: Sequence[Any]) -> dict[str, Any]:
    return {"enum": [None, *values], "description": "Nothing else."}


def _within_model(value: int, info: pydantic.ValidationInfo) -> int:
    if info.context and value > info.context.max_output_tokens:
        raise PydanticCustomError("too_many", "more than the model gives")
    return value


Share = Annotated[float, Field(ge=0, le=1), Says("This must be a number from 0 to 1.")]
Tokens = Annotated[int, Field(ge=1), AfterValidator(_within_model), Says("This must be an integer from 1 to {most}.")]
Bound = Annotated[int, Field(ge=1), Says("This must be an integer, 1 or more.")]
"""A number of tokens that no answer shall pass; it may be more than any model gives."""
Flag = Annotated[bool, Says("This must be true or false.")]
Label = Annotated[
    str,
    Field(max_length=LONGEST_LABEL, description="For yourself; not read."),
    Says(f"This must be a string of at most {LONGEST_LABEL} characters."),
]
"""A name that the client keeps for itself; it changes nothing here."""


NotEmpty = Annotated[str, Field(min_length=1)]


def same(value: Any, other: Any) -> bool:
    """Return whether the two are equal as JSON has it: true is no 1."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


# --- reading ----------------------------------------------------------------------------------------------------------
def object_of(data: Any) -> dict[str, Any]:
    """Return `data`. Raises `ValidationError` where it is no JSON object."""
    if not isinstance(data, dict):
        raise ValidationError("The body is not an object.", fields={"body": ["Send one JSON object."]})
    return data


def model_of(given: Mapping[str, Any], catalogue: Catalogue) -> Model:
    """Return the model of that exact name. Raises `ValidationError` or `ModelNotFoundError`."""
    name = given.get("model")
    if not isinstance(name, str):
        complaint = "This field is required." if name is None else "This must be a string."
        raise complaints({"model": [complaint]})
    return catalogue.get(name)


def read(kind: type[B], given: Mapping[str, Any], model: Model) -> B:
    """Return a body whose model and messages have been checked. Raises `UnsupportedParameter` for the first field that
    is not to be had here, else `ValidationError`."""
    known = {name: value for name, value in given.items() if value is not None or name not in kind.model_fields}
    try:
        return kind.model_validate(known, context=model)
    except pydantic.ValidationError as exc:
        faults = exc.errors(include_url=False, include_input=False)
    for fault in faults:
        if fault["type"] == "unsupported":
            raise UnsupportedParameter(".".join(map(str, fault["loc"])))
    found: dict[str, list[str]] = {}
    unknown = 0
    for fault in faults:
        place, complaint = _told(kind, fault)
        unknown += fault["type"] == "extra_forbidden"
        if fault["type"] != "extra_forbidden" or unknown <= MOST_COMPLAINTS:
            found[place[:LONGEST_ECHO]] = [complaint.format(most=model.max_output_tokens)]
    raise complaints(found)


def refuse_unknown(data: Mapping[str, Any], known: Collection[str | None]) -> None:
    """Raise a `ValidationError` for fields that are not known, up to a number that an answer can hold."""
    strange = [name[:LONGEST_ECHO] for name in data if name not in known]
    if strange:
        raise complaints({name: [NOT_KNOWN] for name in strange[:MOST_COMPLAINTS]})


def _told(kind: type[Body], fault: ErrorDetails) -> tuple[str, str]:
    """Return the place of a fault and the complaint about it."""
    first, *rest = fault["loc"]
    field = kind.model_fields.get(str(first))
    inner = field and next((t for t in (field.annotation, *get_args(field.annotation)) if _is_body(t)), None)
    if inner and rest:
        place, complaint = _told(inner, {**fault, "loc": tuple(rest)})
        return f"{first}.{place}", complaint
    if fault["type"] == "complaint":
        return str(first), fault["msg"]
    fixed = {"extra_forbidden": NOT_KNOWN, "missing": "This field is required."}
    says = [item.complaint for item in _metadata(field) if isinstance(item, Says)]
    return str(first), fixed.get(fault["type"]) or (says[0] if says else "This must be an object.")


def _metadata(field: Any) -> list[Any]:
    inner = (getattr(kind, "__metadata__", ()) for kind in get_args(field.annotation)) if field else ()
    return [*(field.metadata if field else ()), *(item for items in inner for item in items)]


def _is_body(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Body)


def complaints(found: Mapping[str, list[str]]) -> ValidationError:
    return ValidationError(f"Invalid fields: {', '.join(found)}.", fields=found)


# --- messages ---------------------------------------------------------------------------------------------------------
def messages_of(given: Mapping[str, Any], read: Callable[[Any, str], Message]) -> tuple[Message, ...]:
    """Return the messages, each as `read` makes it of an item and its place. Raises `InvalidMessageFormatError`."""
    value = given.get("messages")
    if value is None:
        raise InvalidMessageFormatError("This field is required.", received="null")
    if not isinstance(value, list):
        raise InvalidMessageFormatError("This must be a list of messages.", received=echo(value))
    if not 1 <= len(value) <= MOST_MESSAGES:
        message = f"There must be 1 to {MOST_MESSAGES} messages, not {len(value)}."
        raise InvalidMessageFormatError(message, received=echo(value))
    messages = tuple(read(item, f"messages[{number}]") for number, item in enumerate(value))
    if not any(message.role == "user" for message in messages):
        raise InvalidMessageFormatError("At least one message must have the role user.", received=echo(value))
    return messages


def object_at(item: Any, place: str) -> dict[str, Any]:
    """Return a message that is still to be read. Raises `InvalidMessageFormatError` where it is no object."""
    if isinstance(item, dict):
        return item
    complaint = "A message is an object with a role and a content."
    raise InvalidMessageFormatError(complaint, field=place, received=echo(item))


def no_more_than(item: Mapping[str, Any], known: Collection[str], place: str) -> None:
    """Raise `InvalidMessageFormatError` for a message that has further fields."""
    if extra := item.keys() - set(known):
        complaint = "A message has a role and a content, and nothing else."
        raise InvalidMessageFormatError(complaint, field=place, received=echo(sorted(extra)))


def only_harmless(item: Mapping[str, Any], harmless: Harmless, place: str) -> None:
    """Raise `UnsupportedParameter` for the first field that asks for what we have not."""
    for name, values in harmless.items():
        value = item.get(name)
        if value is not None and not any(same(value, allowed) for allowed in values):
            raise UnsupportedParameter(f"{place}.{name}")


def text_parts(content: Any, place: str, harmless: Harmless, known: Sequence[str]) -> tuple[Part, ...] | None:
    """Return the parts of `content`, a string or a list of text parts; None for anything else. Parts of a `known` type
    are unsupported, all other faults are raised as `InvalidMessageFormatError`."""
    if isinstance(content, str):
        return parts_of(content)
    if not isinstance(content, list):
        return None
    return tuple(_text_part(part, f"{place}[{number}]", harmless, known) for number, part in enumerate(content))


def _text_part(part: Any, place: str, harmless: Harmless, known: Sequence[str]) -> Part:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind in known:
        raise UnsupportedParameter(f"{place}.type", kind=kind, only="text is")
    if kind == "text":
        only_harmless(part, harmless, place)
        if part.keys() - harmless.keys() == {"type", "text"} and isinstance(part["text"], str):
            return Part(part["text"])
    message = 'A part is an object {"type": "text", "text": "..."}, and nothing else.'
    raise InvalidMessageFormatError(message, field=place, received=echo(part))


def check_content(message: dict[str, Any], parts: tuple[Part, ...] | None, place: str, *, may_be_blank: bool) -> None:
    """Raise `InvalidMessageFormatError` where a message does not say anything and must."""
    content = message.get("content")
    if parts is None:
        complaint = "The content must be a string."
    elif may_be_blank or text_of(parts).strip():
        return
    else:
        complaint = "The content must not be blank."
    raise InvalidMessageFormatError(complaint, field=f"{place}.content", received=echo(content))


def echo(value: Any) -> str:
    """Return what was received, as JSON, cut short."""
    return json.dumps(value, ensure_ascii=False)[:LONGEST_ECHO]


# --- schemas ----------------------------------------------------------------------------------------------------------
NOT_BLANK: dict[str, Any] = {"type": "string", "pattern": r"\S"}
A_USERS = {"type": "object", "properties": {"role": {"const": "user"}}, "required": ["role"]}


def part_schema(harmless: Harmless) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"type": {"const": "text"}, "text": {"type": "string"}} | harmless_schema(harmless),
        "required": ["type", "text"],
        "additionalProperties": False,
    }


def harmless_schema(harmless: Harmless) -> dict[str, Any]:
    return {name: only_schema(values) for name, values in harmless.items()}


def messages_schema(roles: Sequence[str], of_a_part: Harmless, of_a_message: Harmless) -> dict[str, Any]:
    filled = {"properties": {"text": NOT_BLANK}}
    content = {"anyOf": [NOT_BLANK, {"type": "array", "items": part_schema(of_a_part), "contains": filled}]}
    message = {
        "type": "object",
        "properties": {"role": {"enum": list(roles)}, "content": content} | harmless_schema(of_a_message),
        "required": ["role", "content"],
        "additionalProperties": False,
    }
    return {"type": "array", "items": message, "minItems": 1, "maxItems": MOST_MESSAGES, "contains": A_USERS}


def schema_of(kind: Any) -> dict[str, Any]:
    """Return the JSON Schema of a body, in one piece."""
    schema = TypeAdapter(kind).json_schema(mode="serialization" if not _is_body(kind) else "validation")
    inner = schema.pop("$defs", {})
    whole: dict[str, Any] = _inlined(schema, inner)
    return whole


def _inlined(schema: Any, inner: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(item, inner) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(inner[schema["$ref"].rpartition("/")[2]], inner)
    return {
        name: _inlined(value, inner)
        for name, value in schema.items()
        if name not in ("title", "default") or isinstance(value, dict)
    }


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a body, with null for each of its fields that may be left out."""
    for name, field in schema["properties"].items():
        if field.get("type") == "object":
            nullable(field)
        if name not in schema.get("required", ()) and "type" in field:
            field["type"] = [field["type"], "null"]
    return schema
