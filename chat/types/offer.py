"""The offer of models.toml: the models, and the ways to serve each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from chat.exceptions import ModelNotFoundError
from chat.types.money import Price

Kind = Literal["chat", "embedding"]
"""What a model does."""
EMBEDDINGS = "embeddings"
"""The wire format in which models make vectors."""
SIMULATOR = "simulator"
"""The key and the protocol of the built-in provider."""
ALL_PROVIDERS = "all_providers"
"""In place of a provider's key: that of an error that all of several routes of a model share."""


@dataclass(frozen=True)
class Upstream:
    """A provider's own model, and how to ask it.

    `takes` says of a request's field whether the model takes it; a field that is not in it is decided by the protocol
    and the model's name. `drop` are the fields that an operator has left out of every request. `temperature` is sent
    where the client sends no sampling. `effort` is how much the model is to think, `limit_field` the name of the output
    limit, both "" for the protocol's own way. `max_output_tokens` is None where the model's limit holds;
    `pseudonyms` says whether the provider is told which of its requests are of one user, None: if it is the vendor.
    `allow_stored` lets through what is kept under our key at the vendor, where users could find each other's.
    `api` is the wire format where it is another than the provider's first, "" else.
    """

    model: str
    takes: Mapping[str, bool] = field(default_factory=dict, hash=False)
    drop: frozenset[str] = frozenset()
    temperature: float | None = None
    effort: str = ""
    limit_field: str = ""
    max_output_tokens: int | None = None
    price: Price | None = None
    pseudonyms: bool | None = None
    allow_stored: bool = False
    api: str = ""

    @property
    def bare_model(self) -> str:
        """Return the model's name without its maker's, with which OpenRouter's names begin."""
        return self.model.rpartition("/")[2]


@dataclass(frozen=True)
class ProviderEntry:
    """One `[providers.KEY]` table. Times are seconds. `base_url` and `api_key` are resolved from the environment."""

    key: str
    protocol: str
    name: str
    base_url: str = ""
    api_key: str = field(default="", repr=False)
    api_key_env: str = ""
    base_url_env: str = ""
    status_page: str | None = None
    timeout: float = 30.0
    connect_timeout: float = 5.0

    @property
    def missing(self) -> str:
        """Return the reason why this provider is not live, in words; "" for a live one."""
        if self.api_key_env and not self.api_key:
            return f"{self.api_key_env} is not set"
        return "" if self.base_url else f"{self.base_url_env or 'base_url'} is not set"


@dataclass(frozen=True)
class Route:
    """One way to serve a model: a provider, and that provider's own model."""

    provider: ProviderEntry
    upstream: Upstream

    @property
    def upstream_model(self) -> str:
        return self.upstream.model

    @property
    def protocol(self) -> str:
        """Return the wire format of this route: of OpenAI's two, an operator says which."""
        return self.upstream.api or self.provider.protocol

    @property
    def label(self) -> str:
        """Return the name of the route for people, with the API that an operator has chosen."""
        return f"{self} ({self.upstream.api})" if self.upstream.api else str(self)

    def __str__(self) -> str:
        return f"{self.provider.key}:{self.upstream.model}"


@dataclass(frozen=True)
class Model:
    """One model on offer. `routes` are its live routes in order of preference; limits are in tokens, 0 where it makes
    vectors."""

    name: str
    routes: tuple[Route, ...]
    max_output_tokens: int
    default_output_tokens: int

    @property
    def simulated(self) -> bool:
        return self.routes[0].provider.protocol == SIMULATOR


@dataclass(frozen=True)
class Catalogue:
    """The offer of models.toml in this process: `models` chat, `embedders` make vectors. `unavailable` gives the reason
    for each model that is not on offer."""

    models: Mapping[str, Model]
    providers: Mapping[str, ProviderEntry]
    unavailable: Mapping[str, str]
    embedders: Mapping[str, Model] = field(default_factory=dict)

    @property
    def all_models(self) -> list[Model]:
        """Return the models of both kinds, in the order of their names."""
        return [model for _, model in sorted({**self.models, **self.embedders}.items())]

    def get(self, name: str, kind: Kind = "chat") -> Model:
        """Return the model of that exact name. Raises `ModelNotFoundError`."""
        models = self.models if kind == "chat" else self.embedders
        try:
            return models[name]
        except KeyError:
            raise ModelNotFoundError(name, sorted(models)) from None
