"""Who asks: a key (`Authorization: Token ...` or `Bearer ...`, or `x-api-key`), or the browser's session."""

from __future__ import annotations

from hmac import compare_digest
from typing import Any

import structlog
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.utils import timezone
from knox.auth import TokenAuthentication
from knox.crypto import hash_token
from knox.settings import CONSTANTS
from rest_framework.authentication import SessionAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from chat.accounts import keys
from chat.exceptions import CSRFFailed
from chat.models import Key
from chat.throttling import limit_bad_keys

SCHEMES = {b"token", b"bearer"}


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
        for row in keys.beginning_with(key[: CONSTANTS.TOKEN_KEY_LENGTH]):
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
        keys.note_use(key)
        return key.user, key


class EitherKeyAuthentication(KeyAuthentication):
    """The same keys, also in `x-api-key`, where Anthropic's clients send them. `Authorization` comes first."""

    def found(self, request: Request) -> tuple[AbstractBaseUser, Key] | None:
        found = super().found(request)
        key = request.headers.get("x-api-key", "")
        return found or (self.authenticate_credentials(key.encode()) if key else None)


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
