"""The tables of models.toml, each declared once, and the complaint about the first fault of one."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from chat.protocols.registry import PROVIDERS
from chat.types import Kind, Price, Rates

PROTOCOLS = tuple(protocol.NAME for protocol in PROVIDERS)
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Names = list[Annotated[str, Field(pattern=r"^[A-Za-z][\w.-]{0,99}$")]]
"""Fields of a body, in the words of the client's API, and types of tools."""
Seconds = Annotated[float, Field(ge=0.001, le=3600, description=" seconds")]
Tokens = Annotated[int, Field(ge=1, le=10_000_000)]
Dollars = Annotated[float, Field(ge=0, le=10_000, description=" $ per million tokens")]


class Table(BaseModel):
    """A table of the file. Unknown fields are refused, and no type is made of another."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def said(self) -> dict[str, Any]:
        """Return the fields that the file has."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class How(Table):
    """How to ask an upstream model: in a provider's entry for all its routes, or in a route's table, which wins."""

    sampling: bool = False
    effort: Effort = "none"
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    api: Literal["chat", "responses"] = "chat"
    drop: Names = []
    accepts: Names = []
    allow_stored: bool = False
    pseudonyms: bool = False


class ProviderTable(How):
    protocol: Literal[PROTOCOLS]  # type: ignore[valid-type]
    name: str = ""
    base_url: str = ""
    base_url_env: str = ""
    api_key_env: str = ""
    status_page: str = ""
    timeout: Seconds = 30.0
    connect_timeout: Seconds = 5.0


class RatesTable(Table):
    """What tokens cost. Those of a cache that are left out cost what all input does."""

    input: Dollars
    output: Dollars
    cached: Dollars = 0.0
    cache_write: Dollars = 0.0
    cache_write_1h: Dollars = 0.0

    def rates(self) -> Rates:
        """Return the same as whole pico-dollars a token."""
        said = {"cached": self.input, "cache_write": self.input} | self.said()
        said.setdefault("cache_write_1h", said["cache_write"])
        names = ("input", "output", "cached", "cache_write", "cache_write_1h")
        # By way of its text, which has the digits that stand in the file.
        return Rates(*(round(Decimal(str(said[name])) * 10**6) for name in names))


class TierTable(RatesTable):
    """What all tokens cost where the prompt has more than `above`."""

    above: Tokens


class PriceTable(RatesTable):
    tiers: list[TierTable] = []

    def price(self) -> Price:
        """Return the same as a value."""
        tiers = sorted(self.tiers, key=lambda tier: -tier.above)
        return Price(self.rates(), tuple((tier.above, tier.rates()) for tier in tiers))


class RouteTable(How):
    provider: str
    model: str
    temperature: Annotated[bool | float, Field(ge=0, le=2)] = False
    top_p: bool = False
    max_output_tokens: Tokens = 1
    price: PriceTable | None = None


class ModelTable(Table):
    kind: Kind = "chat"
    routes: list[Any]
    max_output_tokens: Tokens
    default_output_tokens: Tokens
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0


class EmbeddingTable(Table):
    """A model that makes vectors."""

    kind: Kind
    routes: list[Any]


T = TypeVar("T", bound=Table)


class Fault(Exception):
    """A table that cannot be read. `field` is the first field at fault, `reason` the complaint about it."""

    def __init__(self, field: str, reason: str, *, is_missing: bool) -> None:
        super().__init__(reason)
        self.field, self.reason, self.is_missing = field, reason, is_missing


def read(kind: type[T], table: Mapping[str, Any]) -> T:
    """Return the table. Raises `Fault` for the first field that is unknown or wrong, else for one that is missing."""
    try:
        return kind.model_validate(table)
    except pydantic.ValidationError as exc:
        faults = exc.errors(include_url=False)
    order = list(table)
    first = min(faults, key=lambda fault: order.index(fault["loc"][0]) if fault["loc"][0] in order else len(order))
    name = str(first["loc"][0])
    if first["type"] == "missing" and len(first["loc"]) == 1:
        raise Fault(name, f"{name} is missing", is_missing=True)
    field = kind.model_fields.get(name)
    inner = next((item for item in _parts(field.annotation) if _is_table(item)), None) if field else None
    if inner and isinstance(table[name], dict):
        read(inner, table[name])
    raise Fault(name, _complaint(kind, name, table[name]), is_missing=False)


def _complaint(kind: type[Table], name: str, value: Any) -> str:
    if name not in kind.model_fields:
        quotes = " (a name with a dot in it needs quotes)" if isinstance(value, dict) else ""
        own = [field for field in kind.model_fields if field not in How.model_fields]
        known = [*own, *(field for field in kind.model_fields if field not in own)]
        return f"unknown field {name!r}{quotes}; known are {', '.join(known)}"
    field = kind.model_fields[name]
    kinds = _parts(field.annotation)
    allowed = [word for item in kinds if get_origin(item) is Literal for word in get_args(item)]
    bounds = {type(item).__name__: item for item in field.metadata}
    if allowed and isinstance(value, list if any(get_origin(item) is list for item in kinds) else str):
        wrong = [word for word in (value if isinstance(value, list) else [value]) if word not in allowed]
        either = " or ".join(f'"{word}"' for word in allowed)
        return f"{name} must be {either}, not {wrong[0]!r}"
    is_number = isinstance(value, int if int in kinds else (int, float)) and not isinstance(value, bool)
    if bounds and is_number:
        return f"{name} must be from {bounds['Ge'].ge} to {bounds['Le'].le}{field.description or ''}"
    if isinstance(value, list):
        return f"{name} must be a list of fields' names"
    return f"{name} has the wrong type ({type(value).__name__})"


def _parts(annotation: Any) -> list[Any]:
    """Return the types that `annotation` is made of, itself the first."""
    found = [annotation]
    for item in get_args(annotation) if get_origin(annotation) is not Literal else ():
        found += _parts(item)
    return found


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Table)
