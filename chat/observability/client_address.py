"""Who is at the other end when proxies stand in between. Standard library only."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

WITH_PORT = re.compile(r"\[(?P<v6>[0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|(?P<v4>[0-9.]+):[0-9]{1,5}")


def client_ip(peer: str, forwarded_for: str, hops: int) -> str:
    """Return the client's address behind `hops` trusted proxies: that many entries from the right of X-Forwarded-For.

    Each proxy appends the address that it was asked from, so only the last `hops` entries are theirs; what stands
    further left, the client may have made up. An entry of theirs that is no address is passed over towards the right.
    With fewer entries than that, the request did not come through all of the proxies, and `peer`, the address at the
    other end of the socket, is all that is known. Without proxies the header is not looked at.
    """
    entries = forwarded_for.rsplit(",", hops)[-hops:] if hops else []
    if len(entries) < hops:
        return peer
    return next((address for entry in entries if (address := _address(entry.strip()))), peer)


def _address(text: str) -> str | None:
    """Return the address, spelt as the log spells all, without a port; None if it is none."""
    if match := WITH_PORT.fullmatch(text):
        text = match["v6"] or match["v4"]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id:  # any text may follow the %
            return None
        address = address.ipv4_mapped or address  # what a socket for both kinds calls an IPv4 client
    return str(address)
