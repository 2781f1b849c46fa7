"""Who asks: a key (`Authorization: Token ...` or `Bearer ...`), or the browser's session."""

from __future__ import annotations

from hmac import compare_digest
from typing import Any

import structlog
from django.contrib.auth.models import AbstractBaseUser
from django.utils import timezone
from knox.auth import TokenAuthentication
from knox.crypto import hash_token
from knox.models import AuthToken, get_token_model
from knox.settings import CONSTANTS
from rest_framework.authentication import SessionAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from chat.problems import CSRFFailed

SCHEMES = {b"token", b"bearer"}


class KeyAuthentication(TokenAuthentication):
    """Knox's keys with one query, which also loads the user's budget.

    Knox itself reads all of the user's keys on every request, to delete expired ones, and fails on a key that is not
    UTF-8.
    """

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, AuthToken] | None:
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
        candidates = get_token_model().objects.filter(token_key=key[: CONSTANTS.TOKEN_KEY_LENGTH])
        digest = hash_token(key)
        for auth_token in candidates.select_related("user__token_budget"):
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
        return auth_token.user, auth_token


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
