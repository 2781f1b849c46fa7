"""Where a provider is asked."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

import requests
from requests.utils import get_environ_proxies

COMMON_HEADERS = {
    "Accept": "application/json",
    # Compression buys nothing on a few kilobytes and lets a hostile server send a bomb.
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
    "User-Agent": "genai-chat",
}


class Endpoint:
    """Where a provider is asked, and the headers that never change; prepared once, since preparing is what costs.

    Raises `ValueError` for a URL or a header that HTTP cannot carry; its text holds neither.
    """

    def __init__(
        self, provider: str, base_url: str, path: str, headers: Mapping[str, str], *, method: str = "POST"
    ) -> None:
        parts = urlsplit(base_url.strip())
        url = urlunsplit(parts._replace(path=parts.path.rstrip("/") + path, fragment=""))
        self.provider = provider
        self.method = method
        self.host = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
        self.secrets = tuple(filter(None, [parts.password]))
        try:
            prepared = requests.Request(method, url, headers=COMMON_HEADERS).prepare()
        except (requests.RequestException, UnicodeError):
            raise ValueError(f"The base URL of provider {provider!r} is not usable.") from None
        self.url = prepared.url
        # After preparing, because credentials in the URL would otherwise take the place of our key.
        for name, value in headers.items():
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"The {name} header of provider {provider!r} holds characters that HTTP cannot carry.")
            prepared.headers[name] = value
        self.headers = dict(prepared.headers)
        self.proxies = {} if _is_loopback(parts.hostname) else get_environ_proxies(url)


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
