"""Settings that every environment shares.

Most of what an operator may change is declared in chat/conf; the rest is read from the environment here,
with its default beside it. genai_site/docs/configure.md says what each one means.
"""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from corsheaders.defaults import default_headers
from django.core.exceptions import ImproperlyConfigured

from chat.conf import DECLARED
from genai_site.environment import Environment, is_command
from genai_site.logging import configure_logging
from genai_site.private_files import PrivateDatabase

env = Environment()
BASE_DIR = Path(__file__).resolve().parents[2]

declared = env.values(DECLARED)
declared["CHAT_HEDGE_AFTER"] = declared["CHAT_HEDGE_AFTER"] or None  # 0 is off
declared["CHAT_MODELS_FILE"] = declared["CHAT_MODELS_FILE"] or str(BASE_DIR / "genai_site" / "models.toml")
globals().update(declared)

# --- Django ---------------------------------------------------------------------------------------------------------
DEBUG = False
ROOT_URLCONF = "genai_site.urls"
WSGI_APPLICATION = "genai_site.wsgi.application"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
FORMAT_MODULE_PATH = "genai_site.formats"
USE_THOUSAND_SEPARATOR = True  # on pages; an attribute that is a number is `unlocalize`d
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
LOGIN_URL = "rest_framework:login"
LOGIN_REDIRECT_URL = "/"
CSRF_FAILURE_VIEW = "chat.handlers.csrf_failure"
# Django's own, behind ours.
DATA_UPLOAD_MAX_MEMORY_SIZE = max(declared["MAX_BODY_BYTES"], declared["MAX_V1_BODY_BYTES"])

INSTALLED_APPS = [
    "chat",  # first, for its templates and its runserver
    "unfold",  # before the admin, whose templates it replaces
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "knox",
    "corsheaders",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]

SECURITY = "django.middleware.security.SecurityMiddleware"
MIDDLEWARE = [
    "chat.middleware.RequestIDMiddleware",
    "corsheaders.middleware.CorsMiddleware",  # around all that makes errors, which a front end must be able to read
    "chat.middleware.ErrorMiddleware",
    SECURITY,
    "django.contrib.sessions.middleware.SessionMiddleware",
    "chat.middleware.SlashMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            "libraries": {"amounts": "chat.dashboard.amounts", "links": "chat.admin.links"},
        },
    }
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}Validator"}
    for name in ("UserAttributeSimilarity", "MinimumLength", "CommonPassword", "NumericPassword")
]


# --- front ends of other origins --------------------------------------------------------------------------------------
# Nobody's until it is named. Their users' keys come in a header, so cookies (CORS_ALLOW_CREDENTIALS) stay out of it.
CORS_EXPOSE_HEADERS = [
    "x-request-id",
    "request-id",
    "retry-after",
    "x-should-retry",
    "ratelimit",
    "ratelimit-policy",
    "idempotent-replayed",
    "x-cached",
    "x-budget-limited",
    "x-ignored-parameters",
]
CORS_ALLOW_HEADERS = [
    *default_headers,
    "idempotency-key",
    "x-request-id",
    # What the official JavaScript SDKs send from a browser: OpenAI's, Anthropic's, and both.
    "openai-beta",
    "openai-organization",
    "openai-project",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "anthropic-version",
    "x-api-key",
    "x-stainless-arch",
    "x-stainless-async",
    "x-stainless-custom-poll-interval",
    "x-stainless-helper",
    "x-stainless-helper-method",
    "x-stainless-lang",
    "x-stainless-os",
    "x-stainless-package-version",
    "x-stainless-poll-helper",
    "x-stainless-retry-count",
    "x-stainless-runtime",
    "x-stainless-runtime-version",
    "x-stainless-timeout",
    # What tracing tools add to every request of a page.
    "traceparent",
    "tracestate",
    "baggage",
    "sentry-trace",
    "x-client-request-id",
    *env.list("CORS_ALLOWED_HEADERS", default=[]),
]


# --- database and cache -----------------------------------------------------------------------------------------------
def database(url: str) -> dict[str, Any]:
    """Django's entry for a database URL, with the options under which budgets hold and no connection is hogged."""
    try:
        if not url.startswith(("sqlite://", "postgres://", "postgresql://")):
            raise ValueError
        config: dict[str, Any] = env.db_url_config(url)
    except ValueError:  # without the URL, which holds a password
        raise ImproperlyConfigured(
            "DATABASE_URL must read postgresql://USER:PASSWORD@HOST:PORT/NAME or sqlite:///PATH."
        ) from None
    options = config.setdefault("OPTIONS", {})
    if config["ENGINE"].endswith("sqlite3"):
        # IMMEDIATE takes the write lock at BEGIN, where SQLite waits for it; taken later, it fails at once instead.
        options |= {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "factory": PrivateDatabase,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    else:
        config["CONN_MAX_AGE"] = 0
        # By default each failed try to connect doubles the wait for the next: after a long outage the pool would come
        # back minutes after the server. Once it has given up, the next request makes it try anew. One worker opens
        # one connection at a time, and waits two seconds for a host that has vanished.
        most = declared["DATABASE_POOL"]
        pool = {"min_size": min(2, most), "max_size": most, "timeout": 1.5, "reconnect_timeout": 0.75}
        pool["num_workers"] = most
        # A host that vanishes resets nothing, and the kernel would go on for minutes. The first is for bytes that are
        # not acknowledged (milliseconds), the others are for a wait in which none are under way (seconds).
        vanished = {"tcp_user_timeout": 2000, "keepalives_idle": 1, "keepalives_interval": 1}
        config["OPTIONS"] = {"connect_timeout": 2} | vanished | ({} if is_command() else {"pool": pool}) | options
    return config


def cache(url: str | None) -> dict[str, Any]:
    """Redis when there is a URL, else this process's own memory. Redis going away is survived by `FallbackCache`."""

    def local(name: str, entries: int) -> dict[str, Any]:
        # What has expired leaves it only when there are more than so many, so that a memory of answers must be small.
        # At Django's default of 300 it would forget rate limit counters.
        backend = "django.core.cache.backends.locmem.LocMemCache"
        return {"BACKEND": backend, "LOCATION": name, "OPTIONS": {"MAX_ENTRIES": entries}}

    numbers, replies = local("local", 100_000), local("local_replies", 1_000)
    if not url:
        return {"default": numbers, "replies": replies}
    try:
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError
        _ = urlsplit(url).port
    except ValueError:  # without the URL, as above
        raise ImproperlyConfigured("REDIS_URL must read redis://:PASSWORD@HOST:PORT/NUMBER.") from None
    redis = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": url,
        "OPTIONS": {
            "SERIALIZER": "chat.backends.cache.JSONSerializer",
            "SOCKET_CONNECT_TIMEOUT": 0.25,
            "SOCKET_TIMEOUT": 0.25,
        },
    }
    return {
        "default": {"BACKEND": "chat.backends.cache.FallbackCache", "LOCATION": "local"},
        "counters": {"BACKEND": "chat.backends.cache.CounterCache", "LOCATION": "local"},
        "replies": {"BACKEND": "chat.backends.cache.FallbackCache", "LOCATION": "local_replies"},
        "redis": redis,
        "local": numbers,
        "local_replies": replies,
    }


def mail(url: str) -> dict[str, Any]:
    """Django's settings for a mail server."""
    try:
        config: dict[str, Any] = env.email_url_config(url)
    except (KeyError, ValueError):  # without the URL, which holds a password
        raise ImproperlyConfigured("EMAIL_URL must read smtp+tls://USER:PASSWORD@HOST:PORT.") from None
    if config["EMAIL_BACKEND"] == "django.core.mail.backends.smtp.EmailBackend":
        config["EMAIL_BACKEND"] = "chat.management.mail.EmailBackend"
    return config


DATABASES = {"default": database(env.str("DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}"))}
CACHES = cache(declared["REDIS_URL"])
RATELIMIT_IP_META_KEY = "chat.throttling.address_of"
RATELIMIT_USE_CACHE = "counters" if declared["REDIS_URL"] else "default"

# --- the API ----------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "EXCEPTION_HANDLER": "chat.handlers.exception_handler",
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "chat.authentication.KeyAuthentication",
        "chat.authentication.BrowserAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["chat.api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": [
        "rest_framework.renderers.JSONRenderer",
        "chat.problems.negotiation.BrowsableAPIRenderer",
    ],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "chat.problems.negotiation.ContentNegotiation",
    "URL_FORMAT_OVERRIDE": None,
    "DEFAULT_SCHEMA_CLASS": "chat.api.openapi.AutoSchema",
}
SPECTACULAR_SETTINGS = {
    "OAS_VERSION": "3.1.0",
    "TITLE": "Chat API",
    "DESCRIPTION": "A chat back end that says what went wrong. Every error is also in [/errors](/errors).",
    "VERSION": "1.0.0",
    "SCHEMA_PATH_PREFIX": "/",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "PREPROCESSING_HOOKS": ["chat.api.openapi.without_trailing_slash"],
    "POSTPROCESSING_HOOKS": [],
}
KNOX_TOKEN_MODEL = "knox.AuthToken"  # its own default, which the migrations of what points there must find
REST_KNOX = {"TOKEN_TTL": timedelta(days=declared["KEY_TTL_DAYS"])}

CHAT_SIMULATOR = True

# --- the admin --------------------------------------------------------------------------------------------------------
UNFOLD = {
    "SITE_TITLE": "Chat administration",
    "SITE_HEADER": "Chat administration",
    "SITE_SYMBOL": "forum",
    "ENVIRONMENT": "chat.admin.look.environment",
    "STYLES": ["chat.admin.look.stylesheet"],
    "SCRIPTS": ["chat.admin.look.script"],
    "GLOBAL_CALLBACK": "chat.admin.look.no_inline_colours",
    "DASHBOARD_CALLBACK": "chat.dashboard.overview.first_page",
    "SIDEBAR": {"navigation": "chat.admin.look.sidebar"},
}

# --- mail -------------------------------------------------------------------------------------------------------------
# Django's own, for what an operator is told and for lost passwords. Without a server it is printed.
globals().update(mail(env.str("EMAIL_URL", "consolemail://")))
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.str("DEFAULT_FROM_EMAIL", "chat@localhost")
EMAIL_TIMEOUT = 20  # for all of a mail

# --- the log ----------------------------------------------------------------------------------------------------------
LOGGING_CONFIG = None
# Who runs it by hand reads it.
LOG_FORMAT = env.str("LOG_FORMAT", "console" if sys.argv[1:2] == ["runserver"] else "json").lower()
LOG_LEVEL = env.str("LOG_LEVEL", "INFO").upper()
LOG_FILE = env.str("LOG_FILE", "")
try:
    configure_logging(format=LOG_FORMAT, level=LOG_LEVEL, file=LOG_FILE)
except ValueError as exc:
    raise ImproperlyConfigured(
        f"{LOG_FORMAT=}, {LOG_LEVEL=}, {LOG_FILE=}: the log cannot be set up so ({exc.__cause__ or exc})."
    ) from None
