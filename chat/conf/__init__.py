"""The settings that an operator changes by environment variables of the same names: each is declared here, once.

The project reads them, `conf` is typed by them, the system checks hold them in their ranges, and the manual's table has
a row for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Generic, TypeVar

from django.conf import settings

T = TypeVar("T")
COUNT = (1, 10**6)
SECONDS = (0.01, 3600)
BYTES = (1, 10**9)
DAYS = (1, 3650)


@dataclass
class Setting(Generic[T]):
    """One setting. As an attribute of `Settings` it is its value in Django's settings, so that nothing is copied at
    import time and `override_settings` works in tests."""

    kind: type
    """How the variable is read: str, int, float or list."""
    default: T | Callable[[Mapping[str, Any]], T]
    """The value where the variable is missing or empty, or a function of the settings that stand before this one."""
    help: str
    """The meaning, as the manual's table has it."""
    _: KW_ONLY
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    is_rate: bool = False
    """Whether it is a number in a time, such as 10/m."""
    shown: str = ""
    """The default in the manual's table, where it does not show itself."""
    name: str = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type) -> T:
        value: T = getattr(settings, self.name)
        return value

    def default_after(self, values: Mapping[str, Any]) -> T:
        """Return the default, where the settings that stand before this one have these values."""
        return self.default(values) if callable(self.default) else self.default


class Settings:
    """`Settings().CHAT_DEADLINE` is `django.conf.settings.CHAT_DEADLINE` with a type."""

    CORS_ALLOWED_ORIGINS = Setting[list[str]](
        list,
        [],
        "origins of front ends that browsers may call this API from, such as `https://app.example.org`, comma "
        "separated",
    )
    DATABASE_POOL = Setting(
        int,
        10,
        "PostgreSQL connections of one process; a chat holds one for the length of a statement",
        range=COUNT,
    )
    REDIS_URL = Setting(str, "", "the cache that workers share: needed for more than one")
    WEB_CONCURRENCY = Setting(
        int,
        1,
        "worker processes, as the WSGI server reads it; more than 1 without `REDIS_URL` is refused; one for each "
        "processor is [the cheapest](scale.md)",
        range=COUNT,
    )
    CHAT_RATE_LIMIT = Setting(str, "10/m", "chats of one user: `10/m`, `100/h`, `5/10s`", is_rate=True)
    CONVERSATION_RATE_LIMIT = Setting(str, "30/m", "conversations begun by one user", is_rate=True)
    LOGIN_RATE_LIMIT = Setting(
        str,
        "10/5m",
        "attempts to log in from one address (IPv6: one /64) and for one name. Behind a proxy the address needs "
        "`TRUSTED_PROXY_HOPS`",
        is_rate=True,
    )
    BAD_KEY_RATE_LIMIT = Setting(str, "600/m", "refused keys from one address (IPv6: one /64)", is_rate=True)
    CONVERSATIONS_PER_USER = Setting(int, 1_000, "one more is refused with `invalid_request`", range=COUNT)
    MESSAGES_PER_CONVERSATION = Setting(int, 2_000, "a full one answers `invalid_request`", range=COUNT)
    TOKEN_BUDGET_DEFAULT = Setting(int, 10_000, "tokens of a period, for users without a row", range=(0, 10**15))
    TOKEN_BUDGET_PERIOD = Setting(
        str,
        "month",
        "the period of users without a row: `hour`, `day` or `month` (UTC)",
        choices=("hour", "day", "month"),
    )
    UPGRADE_URL = Setting[str | None](str, None, "told to a user whose budget is spent")
    CHAT_DEADLINE = Setting(float, 60.0, "seconds of one chat, in all", range=SECONDS)
    CHAT_MAX_ATTEMPTS = Setting(int, 3, "provider calls of one chat, in all", range=COUNT)
    CHAT_HEDGE_AFTER = Setting[float | None](
        float, None, "seconds of silence after which the next route is asked too", range=SECONDS, shown="0: off"
    )
    CHAT_STREAM_IDLE_TIMEOUT = Setting(
        float,
        30.0,
        "seconds for which a provider may send nothing within a stream, or a client take nothing",
        range=SECONDS,
    )
    CHAT_STREAM_MAX = Setting(float, 600.0, "seconds that a stream may go on after its first text", range=SECONDS)
    CHAT_KEEP_ALIVE = Setting(
        float, 15.0, "seconds of silence after which a stream's client gets a comment", range=SECONDS
    )
    CHAT_MAX_IN_FLIGHT = Setting(int, 600, "chats, and bodies of conversations, at once in one process", range=COUNT)
    CHAT_MAX_IN_FLIGHT_PER_USER = Setting[int](
        int,
        lambda values: max(1, values["CHAT_MAX_IN_FLIGHT"] // 10),
        "chats at once of one user in one process; more than a quarter of all is warned of",
        range=COUNT,
        shown="a tenth of `CHAT_MAX_IN_FLIGHT`",
    )
    CHAT_TOKEN_ESTIMATE = Setting(
        str,
        "natural",
        "`strict`: bytes, so that a budget can never be passed",
        choices=("natural", "strict"),
    )
    REPLY_CACHE_TTL = Setting(int, 86_400, "seconds for which an answer may stand in later; 0: never", range=(0, 10**9))
    RESERVATION_MARGIN = Setting(
        float,
        30.0,
        "seconds after a chat's deadline (a stream's: and `CHAT_STREAM_MAX`) when a dead worker's reservation is given "
        "back",
        range=(0, 86_400),
    )
    PROVIDER_POOL_SIZE = Setting[int](
        int,
        lambda values: values["CHAT_MAX_IN_FLIGHT"],
        "connections kept to each provider",
        range=COUNT,
        shown="as `CHAT_MAX_IN_FLIGHT`",
    )
    CHAT_MODELS_FILE = Setting(str, "", "the models, their routes and providers", shown="`genai_site/models.toml`")
    KEY_TTL_DAYS = Setting(int, 365, "life of a new key", range=DAYS)
    MAX_BODY_BYTES = Setting(
        int,
        2_621_440,
        "a larger body, or one of more than 200,000 JSON values, is `request_too_large`; a process holds at most one "
        "body for each of its `CHAT_MAX_IN_FLIGHT` slots",
        range=BYTES,
    )
    MAX_V1_BODY_BYTES = Setting(int, 33_554_432, "the same for `/v1/*`", range=BYTES)
    SIMULATOR_LATENCY = Setting(float, 0.3, "seconds of a simulated call", range=(0, 3600))
    SIMULATOR_FAILURE_RATE = Setting(float, 0.1, "the part of simulated calls that fail", range=(0, 1))
    TRUSTED_PROXY_HOPS = Setting(
        int, 0, "proxies in front that append to `X-Forwarded-For`; 0: the header is ignored", range=(0, 10)
    )

    CHAT_METRICS = Setting(bool, False, "`true`: chats are counted, and `/metrics` tells Prometheus", shown="false")
    CHAT_METRICS_ADDRESSES = Setting[list[str]](
        list,
        [],
        "addresses and networks that read `/metrics` without a key, such as `10.0.0.7,10.1.0.0/16`. Behind a proxy "
        "they need `TRUSTED_PROXY_HOPS`",
    )
    OTEL_EXPORTER_OTLP_ENDPOINT = Setting(
        str,
        "",
        "a collector's address, such as `http://127.0.0.1:4318`, that is told of each chat and its calls as "
        "[spans](operate.md#traces)",
    )
    CHAT_ALERT_EMAILS = Setting[list[str]](
        list, [], "who is told of [what needs an operator](operate.md#alerts), comma separated; mails go by `EMAIL_URL`"
    )
    CHAT_ALERT_WEBHOOK_URL = Setting(str, "", "the address that is told the same, signed by the secret")
    CHAT_ALERT_WEBHOOK_SECRET = Setting(str, "", "`whsec_` and base64 of 24 bytes or more")
    CHAT_ALERT_BUDGET_PERCENTS = Setting[list[str]](
        list, ["80", "100"], "the percents of a budget at which that is told", shown="`80,100`"
    )

    @property
    def CHAT_SIMULATOR(self) -> bool:
        """Return whether models without a key of their provider's are simulated. No variable: production never does."""
        return bool(settings.CHAT_SIMULATOR)


conf = Settings()
DECLARED: dict[str, Setting[Any]] = {
    name: value for name, value in vars(Settings).items() if isinstance(value, Setting)
}


def largest_body(path: str) -> int:
    """Return the most bytes that the body of a request to `path` may have."""
    own = conf.MAX_V1_BODY_BYTES if is_vendors(path) else conf.MAX_BODY_BYTES
    return min(own, int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE))


def is_vendors(path: str) -> bool:
    """Return whether `path` belongs to the APIs that vendors' clients speak, however many slashes it begins with."""
    return path.lstrip("/").partition("/")[0] == "v1"
