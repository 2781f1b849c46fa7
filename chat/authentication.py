"""Who asks: a key (`Authorization: Token ...` or `Bearer ...`, or `x-api-key`), or the browser's session; and the
log-in that begins one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from hmac import compare_digest
from typing import Any

import structlog
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.cache import cache
from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.models import Model
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone
from knox.auth import TokenAuthentication
from knox.crypto import hash_token
from knox.settings import CONSTANTS
from rest_framework.authentication import SessionAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from chat.backends.database import fetch
from chat.exceptions import CSRFFailed
from chat.models import Key, KeyDetail, TokenBudget
from chat.throttling import limit_bad_keys, limit_logins

log = structlog.get_logger(__name__)

SCHEMES = {b"token", b"bearer"}
USE_NOTED_EVERY = timedelta(minutes=10)
"""How exact `last_used_at` is: a chat pays one UPDATE for it in so long."""
LONGEST_NAME = 150
"""Characters of a username, by Django's own model; no more is counted or logged of what was typed."""


class KeyAuthentication(TokenAuthentication):
    """Knox's keys with one query, which also loads the user's budget.

    Knox itself reads all of the user's keys on every request, to delete expired ones, and fails on a key that is not
    UTF-8.
    """

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, Key] | None:
        try:
            return self.found(request)
        except AuthenticationFailed:
            request.user, request.auth = AnonymousUser(), None  # who asks is settled, or the page would ask again
            limit_bad_keys(request._request)
            raise

    def found(self, request: Request) -> tuple[AbstractBaseUser, Key] | None:
        """Return whose key the request carries; None where it carries none. Raises `AuthenticationFailed`."""
        scheme, *words = get_authorization_header(request).split() or [b""]
        if scheme.lower() not in SCHEMES:
            return None
        if len(words) != 1:
            raise AuthenticationFailed("The Authorization header must be `Token`, one space and the key.")
        return self.authenticate_credentials(words[0])

    def authenticate_credentials(self, token: bytes) -> tuple[AbstractBaseUser, Key]:
        """Return the key's user, and the key. Raises `AuthenticationFailed`, saying whether it is malformed, unknown
        or expired, or its user's account closed."""
        try:
            key = token.decode()
        except UnicodeDecodeError:
            raise AuthenticationFailed("This key is malformed.") from None
        if not key.isascii() or not key.isprintable():
            raise AuthenticationFailed("This key is malformed.")
        digest = hash_token(key)
        for row in beginning_with(key[: CONSTANTS.TOKEN_KEY_LENGTH]):
            if compare_digest(digest, row.digest):
                return self._valid(row)
        raise AuthenticationFailed("This key is not known.")

    def authenticate_header(self, request: Request) -> str:
        return 'Token realm="api", Bearer realm="api"'

    def _valid(self, key: Key) -> tuple[AbstractBaseUser, Key]:
        if key.expiry is not None and key.expiry <= timezone.now():
            raise AuthenticationFailed("This key has expired.")
        if not key.user.is_active:
            raise AuthenticationFailed("This key's user account is not active.")
        structlog.contextvars.bind_contextvars(user_id=key.user_id)
        note_use(key)
        return key.user, key


class EitherKeyAuthentication(KeyAuthentication):
    """The same keys, also in `x-api-key`, where Anthropic's clients send them. `Authorization` comes first."""

    def found(self, request: Request) -> tuple[AbstractBaseUser, Key] | None:
        found = super().found(request)
        key = request.headers.get("x-api-key", "")
        return found or (self.authenticate_credentials(key.encode()) if key else None)


def beginning_with(token_key: str) -> list[Key]:
    """Return the keys that begin so, each with its details, its user and the user's budget."""
    statement = Statement.of(connections[DEFAULT_DB_ALIAS].vendor)
    return [statement.key(list(row)) for row in fetch(statement.sql, [token_key])]


@dataclass(frozen=True)
class Statement:
    """The SELECT of a key and what is read with it. The ORM makes it once for each kind of database: to make it anew
    costs four times what it costs to run it."""

    sql: str
    parts: list[tuple[type[Model], list[str]]]
    """The models in a row, from left to right, and the names of their columns."""
    conversions: list[tuple[int, Any, Any]]
    """Where the database stores another type: the place in a row, the function, and the expression that it is given."""

    @staticmethod
    @functools.cache
    def of(vendor: str) -> Statement:
        """Return the statement for a kind of database."""
        joined: list[tuple[str, type[Model]]] = [
            ("", Key),
            ("details__", KeyDetail),
            ("user__", get_user_model()),
            ("user__token_budget__", TokenBudget),
        ]
        fields = [(path + field.attname, field) for path, model in joined for field in model._meta.concrete_fields]
        query = Key.objects.filter(token_key="").values_list(*(name for name, _ in fields)).query
        database, conversions = connections[DEFAULT_DB_ALIAS], []
        for place, (_, field) in enumerate(fields):
            column = field.get_col(field.model._meta.db_table)
            functions = database.ops.get_db_converters(column) + column.get_db_converters(database)
            conversions += [(place, function, column) for function in functions]
        parts = [(model, [field.attname for field in model._meta.concrete_fields]) for _, model in joined]
        return Statement(query.sql_with_params()[0], parts, conversions)

    def key(self, row: list[Any]) -> Key:
        """Return the key of a row, which this converts in place.

        Neither user nor details are tied back to the key: such a pair would wait for the garbage collector.
        """
        database = connections[DEFAULT_DB_ALIAS]
        for place, function, column in self.conversions:
            row[place] = function(row[place], column, database)
        instances: list[Any] = []
        for model, names in self.parts:
            values, row = row[: len(names)], row[len(names) :]
            missing = all(value is None for value in values)
            instances.append(None if missing else model.from_db(DEFAULT_DB_ALIAS, names, values))
        key, details, user, budget = instances
        for owner, name, part in ((key, "details", details), (key, "user", user), (user, "token_budget", budget)):
            owner._meta.get_field(name).set_cached_value(owner, part)
        return key  # type: ignore[no-any-return]


def note_use(row: Key) -> None:
    """Write down that the key was used, unless that was done within `USE_NOTED_EVERY`, here or by another worker.

    Raises nothing for a database that does not write: the request may still be served.
    """
    details, now = getattr(row, "details", None), timezone.now()
    if details is None or (details.last_used_at and now - details.last_used_at < USE_NOTED_EVERY):
        return
    if not cache.add(f"key-used:{details.pk}", 1, timeout=USE_NOTED_EVERY.seconds):
        return
    try:
        KeyDetail.objects.filter(pk=details.pk).update(last_used_at=now)
    except Error as exc:
        log.warning("key_use_not_stored", key_id=str(details.pk), reason=type(exc).__name__)


class BrowserAuthentication(SessionAuthentication):
    """Django's session, for the browsable API."""

    def authenticate(self, request: Request) -> Any:
        found = super().authenticate(request)
        if found:
            structlog.contextvars.bind_contextvars(user_id=found[0].pk)
        return found

    def enforce_csrf(self, request: Request) -> None:
        try:
            # Django's request: to look for a token in DRF's would parse the body, before its time.
            super().enforce_csrf(request._request)  # type: ignore[arg-type]
        except PermissionDenied:
            request.user, request.auth = AnonymousUser(), None
            raise CSRFFailed("The CSRF token is missing or does not match.") from None


def limited(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Return a log-in view, the admin's or the browsable API's, with a limit by address and by name, and the event
    `login_failed`. The view raises `TooManyAttempts`, which the middleware answers."""

    @functools.wraps(view)
    def door(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method != "POST":
            return view(request, *args, **kwargs)
        username = request.POST.get("username", "")[:LONGEST_NAME]
        limit_logins(request, username)
        response = view(request, *args, **kwargs)
        if response.status_code == 200:  # the form again: who is let in is redirected
            log.warning("login_failed", username=username)
        return response

    return door
