"""The WSGI entry point, of runserver as of a production server."""

import os
from io import BytesIO
from typing import Any

import django
import structlog
from django.conf import settings
from django.core import checks
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.management.base import SystemCheckError
from django.db import connection

from chat.conf import largest_body
from chat.database import bound_waits

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "genai_site.settings.production")

log = structlog.get_logger(__name__)


class Request(WSGIRequest):
    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            super()._set_content_type_params(meta)  # type: ignore[misc]
        except ValueError:
            # Parameters that Django cannot decode would end in a bare 500 before any middleware runs.
            plain = meta["CONTENT_TYPE"].partition(";")[0]
            super()._set_content_type_params(meta | {"CONTENT_TYPE": plain})  # type: ignore[misc]


class Handler(WSGIHandler):
    request_class = Request

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ.get("wsgi.input_terminated") and not environ.get("CONTENT_LENGTH"):
            # A chunked body has no length, which Django takes for no body. One byte more than may be tells a long one.
            try:
                body, missing = environ["wsgi.input"].read(largest_body(environ["PATH_INFO"]) + 1), 0
            except Exception as exc:  # the server's own classes, for a chunk that is malformed or cut short
                log.warning("broken_chunked_body", exc_info=exc)
                body, missing = b"", 1  # the parser misses a byte, and answers as for any body cut short
            environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body) + missing)}
        return super().__call__(environ, start_response)


django.setup(set_prefix=False)
bound_waits()
application = Handler()

# A server other than runserver would not run the system checks, and a mistake would come up in some user's request.
found = checks.run_checks()
if errors := [str(message) for message in found if message.is_serious(checks.ERROR)]:
    raise SystemCheckError("\n".join(errors))
for message in found:
    log.log(message.level, "system_check", id=message.id, detail=message.msg, hint=message.hint)
if connection.vendor == "sqlite" and not settings.DEBUG:
    log.warning("budgets_in_a_file", file=str(connection.settings_dict["NAME"]), hint="Set DATABASE_URL in production.")
