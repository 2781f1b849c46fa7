"""Who asks: a key (`Authorization: Token ...` or `Bearer ...`, or `x-api-key`), or the browser's session."""

from __future__ import annotations

from functools import cache
from hmac import compare_digest
from typing import Any

import structlog
from django.contrib.auth.models import AbstractBaseUser
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils import timezone
from knox.auth import TokenAuthentication
from knox.crypto import hash_token
from knox.models import AuthToken, get_token_model
from knox.settings import CONSTANTS
from rest_framework.authentication import SessionAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from chat.accounts.keys import note_use
from chat.backends.database import fetch
from chat.problems.table import CSRFFailed
from chat.throttling import limit_bad_keys

SCHEMES = {b"token", b"bearer"}


class KeyAuthentication(TokenAuthentication):
    """Knox's keys with one query, which also loads the user's budget.

    Knox itself reads all of the user's keys on every request, to delete expired ones, and fails on a key that is not
    UTF-8.
    """

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, AuthToken] | None:
        try:
            return self.found(request)
        except AuthenticationFailed:
            limit_bad_keys(request._request)
            raise

    def found(self, request: Request) -> tuple[AbstractBaseUser, AuthToken] | None:
        """Return whose key the request carries; None where it carries none. Raises `AuthenticationFailed`."""
        scheme, *words = get_authorization_header(request).split() or [b""]
        if scheme.lower() not in SCHEMES:
            return None
        if len(words) != 1:
            raise AuthenticationFailed("The Authorization header must be `Token`, one space and the key.")
        return self.authenticate_credentials(words[0])

    def authenticate_credentials(self, token: bytes) -> tuple[AbstractBaseUser, AuthToken]:
        """The key's user. Raises `AuthenticationFailed`, saying whether the key is unknown, expired or its user's
        account closed."""
        try:
            key = token.decode()
        except UnicodeDecodeError:
            raise AuthenticationFailed("This key is malformed.") from None
        if not key.isascii() or not key.isprintable():
            raise AuthenticationFailed("This key is malformed.")
        digest = hash_token(key)
        for auth_token in candidates(key[: CONSTANTS.TOKEN_KEY_LENGTH]):
            if compare_digest(digest, auth_token.digest):
                return self._valid(auth_token)
        raise AuthenticationFailed("This key is not known.")

    def authenticate_header(self, request: Request) -> str:
        return 'Token realm="api", Bearer realm="api"'

    def _valid(self, auth_token: AuthToken) -> tuple[AbstractBaseUser, AuthToken]:
        if auth_token.expiry is not None and auth_token.expiry <= timezone.now():
            raise AuthenticationFailed("This key has expired.")
        if not auth_token.user.is_active:
            raise AuthenticationFailed("This key's user account is not active.")
        structlog.contextvars.bind_contextvars(user_id=auth_token.user_id)
        note_use(auth_token)
        return auth_token.user, auth_token


class EitherKeyAuthentication(KeyAuthentication):
    """The same keys, also in `x-api-key`, where Anthropic's clients send them. `Authorization` comes first."""

    def found(self, request: Request) -> tuple[AbstractBaseUser, AuthToken] | None:
        found = super().found(request)
        key = request.headers.get("x-api-key", "")
        return found or (self.authenticate_credentials(key.encode()) if key else None)


def candidates(token_key: str) -> list[AuthToken]:
    """The keys that begin so, each with its details, its user and the user's budget."""
    database = connections[DEFAULT_DB_ALIAS]
    sql, names, converters, model = _select(database.vendor)
    rows = [list(row) for row in fetch(sql, [token_key])]
    for row in rows:
        for column, (functions, expression) in converters.items():
            for function in functions:
                row[column] = function(row[column], expression, database)
    return [_instance(model, names, row) for row in rows]


@cache
def _select(vendor: str) -> tuple[str, list[str], dict[int, Any], dict[str, Any]]:
    """The ORM's own SELECT for `candidates` and its plan of the rows, made once for each kind of database: to make it
    anew for each chat costs more than to run it."""
    keys = get_token_model().objects.filter(token_key="").select_related("user__token_budget", "details")
    compiler = keys.query.get_compiler(DEFAULT_DB_ALIAS)
    sql, _ = compiler.as_sql()
    columns = [column for column, _, _ in compiler.select]
    return sql, [column.target.attname for column in columns], compiler.get_converters(columns), compiler.klass_info


def _instance(model: dict[str, Any], names: list[str], row: list[Any]) -> Any:
    """The instance that a row holds of one of the joined models, with those that are joined to it. These are not tied
    back to it: such a pair would wait for the garbage collector."""
    columns = model["select_fields"]
    values = [row[column] for column in columns]
    if all(value is None for value in values):
        return None
    instance = model["model"].from_db(DEFAULT_DB_ALIAS, [names[column] for column in columns], values)
    for joined in model.get("related_klass_infos", ()):
        joined["local_setter"](instance, _instance(joined, names, row))
    return instance


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
            raise CSRFFailed() from None
