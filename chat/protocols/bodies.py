"""The bodies of requests, each declared once: what is read, and what is wrong with it.

What is wrong is told all at once (`ValidationError`), each fault in our own words. A vendor's body may have fields that
only its own protocol knows: they become needs, which a route meets or does not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import ErrorDetails, PydanticCustomError

from chat.exceptions import ValidationError
from chat.types import UNKNOWN, Catalogue, Kind, Model, Need

LONGEST_ECHO = 200
"""Characters of what a client sent that an error repeats."""
LONGEST_LABEL = 512
MOST_COMPLAINTS = 20
NOT_KNOWN = "This field is not known."


class Body(BaseModel):
    """A JSON object. Unknown fields are refused, no type is made of another, and null is as good as left out."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


B = TypeVar("B", bound=Body)


@dataclass(frozen=True)
class Says:
    """The complaint about a field; `{most}` stands for the model's own output limit."""

    complaint: str


class Asks:
    """Says of a field that is passed on and not read: it is a need of this `kind`, but for the `values` that ask for
    nothing, and null. Without a kind it never is one: it changes cost or speed and not the meaning."""

    def __init__(self, kind: str, *values: Any) -> None:
        self.kind, self.values = kind, values


Hint = Annotated[Any, Asks("")]
"""A field that may be left out where a route does not know it."""


class VendorBody(Body):
    """A body of a vendor's API. Fields that are not declared here are the vendor's own."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


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


def model_of(given: Mapping[str, Any], catalogue: Catalogue, kind: Kind = "chat") -> Model:
    """Return the model of that exact name. Raises `ValidationError`, also where the model does something else than what
    is asked for, or `ModelNotFoundError`."""
    name = given.get("model")
    if not isinstance(name, str):
        complaint = "This field is required." if name is None else "This must be a string."
        raise complaints({"model": [complaint]})
    if kind == "chat" and name in catalogue.embedders:
        raise complaints({"model": [f"{name} does not chat; it makes embeddings (POST /v1/embeddings)."]})
    if kind == "embedding" and name in catalogue.models:
        able = ", ".join(sorted(catalogue.embedders)) or "none"
        raise complaints({"model": [f"{name} makes no embeddings; on offer for that: {able}."]})
    return catalogue.get(name, kind)


def read(kind: type[B], given: Mapping[str, Any], model: Model) -> B:
    """Return a body whose model and messages have been checked. Raises `ValidationError`."""
    known = {name: value for name, value in given.items() if value is not None or name not in kind.model_fields}
    try:
        return kind.model_validate(known, context=model)
    except pydantic.ValidationError as exc:
        faults = exc.errors(include_url=False, include_input=False)
    found: dict[str, list[str]] = {}
    unknown = 0
    for fault in faults:
        place, complaint = _told(kind, fault)
        unknown += fault["type"] == "extra_forbidden"
        if fault["type"] != "extra_forbidden" or unknown <= MOST_COMPLAINTS:
            found[place[:LONGEST_ECHO]] = [complaint.format(most=model.max_output_tokens)]
    raise complaints(found)


def needs_of(kind: type[Body], given: Mapping[str, Any], path: str = "") -> Iterator[Need]:
    """Yield the needs in an object whose fields `kind` declares; `path` is where the object stands, with a dot."""
    for name, value in given.items():
        if value is None:
            continue
        field = kind.model_fields.get(name)
        says = next((item for item in field.metadata if isinstance(item, Asks)), None) if field else Asks(UNKNOWN)
        if says and says.kind and not any(same(value, harmless) for harmless in says.values):
            yield Need(says.kind, f"{path}{name}"[:LONGEST_ECHO], name, value)


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
