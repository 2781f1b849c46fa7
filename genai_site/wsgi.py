"""The WSGI entry point, of runserver as of a production server."""

import os
from collections.abc import Callable
from typing import Any

import django
import structlog
from django.conf import settings
from django.core import checks
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.management.base import SystemCheckError
from django.db import connection
from django.utils import timezone

from chat.backends.database import bound_waits
from chat.conf import largest_body
from chat.exceptions import BodyTooLarge

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "genai_site.settings.production")

log = structlog.get_logger(__name__)


class Request(WSGIRequest):
    def __init__(self, environ: dict[str, Any]) -> None:
        try:
            super().__init__(environ)
        except ValueError:
            # Parameters that Django cannot decode would end in a bare 500 before any middleware runs.
            environ["CONTENT_TYPE"] = environ.get("CONTENT_TYPE", "").partition(";")[0]
            super().__init__(environ)


FORMS = ("application/x-www-form-urlencoded", "multipart/")


class Chunked:
    """A chunked body, read when somebody asks for it. Raises `BodyTooLarge` above `most` bytes, and `OSError` for a
    chunk that is malformed or cut short."""

    def __init__(self, body: Any, most: int) -> None:
        self.body, self.most, self.left = body, most, most

    def read(self, size: int = -1) -> bytes:
        return self._take(self.body.read, size)

    def readline(self, size: int = -1) -> bytes:
        return self._take(self.body.readline, size)

    def _take(self, read: Callable[[int], bytes], size: int) -> bytes:
        wanted = self.left if size < 0 else min(size, self.left)
        try:
            piece = read(wanted)
            if len(piece) == self.left and self.body.read(1):
                raise BodyTooLarge(limit_bytes=self.most)
        except (OSError, BodyTooLarge):
            raise
        except Exception as exc:  # the server's own classes
            raise OSError(f"a broken chunked body: {type(exc).__name__}") from exc
        self.left -= len(piece)
        return piece


class Handler(WSGIHandler):
    request_class = Request

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        is_form = environ.get("CONTENT_TYPE", "").lower().startswith(FORMS)
        # A server that promises the input's end promises it for every request, those without a body included.
        is_chunked = (
            environ.get("wsgi.input_terminated") and "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
        )
        if is_chunked and not environ.get("CONTENT_LENGTH") and not is_form:
            # A chunked body has no length, which Django takes for no body. It may be as long as any may be here, and
            # the byte after that tells one that is longer. No browser sends a form so.
            most = largest_body(environ["PATH_INFO"])
            environ |= {"wsgi.input": Chunked(environ["wsgi.input"], most), "CONTENT_LENGTH": str(most)}
        return super().__call__(environ, start_response)


def look_up_prices() -> None:
    """Look up what the models on offer cost, which takes half a second that the first chat would wait for."""
    from chat.billing.prices import price_of  # not before Django is set up
    from chat.routing import catalogue

    for model in catalogue.current().all_models:
        for route in model.routes:
            price_of(route, timezone.now())


django.setup(set_prefix=False)
bound_waits()
application = Handler()

# A server other than runserver would not run the system checks, and a mistake would come up in some user's request.
found = checks.run_checks()
if errors := [str(message) for message in found if message.is_serious(checks.ERROR)]:
    raise SystemCheckError("\n".join(errors))
for message in found:
    log.log(message.level, "system_check", id=message.id, detail=message.msg, hint=message.hint)
look_up_prices()
if connection.vendor == "sqlite" and not settings.DEBUG:
    log.warning("budgets_in_a_file", file=str(connection.settings_dict["NAME"]), hint="Set DATABASE_URL in production.")
