"""Where an answer begins. Source: RFC 9110, section 15.2."""

from __future__ import annotations

from http import HTTPStatus
from http.client import HTTPResponse

BODILESS = {HTTPStatus.SWITCHING_PROTOCOLS, HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}


class FinalResponse(HTTPResponse):
    """An answer, without those that only announce it, of which `http.client` passes over 100 alone. Whoever asked next
    on the same connection would get the answer that was announced to another."""

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        announces = 100 <= status < 200 and status != HTTPStatus.SWITCHING_PROTOCOLS
        return version, HTTPStatus.CONTINUE if announces else status, reason

    def begin(self) -> None:
        """Read the head. An answer that by its status has no body is none to a chat: if a body comes after all, it is
        not taken for the answer to the next."""
        super().begin()
        self.will_close = self.will_close or self.status in BODILESS
