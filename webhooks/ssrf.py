"""Where a webhook may go: a pure guard against server-side request forgery. No DNS here: who connects asks twice.

First `check_url` when a URL is saved and before each attempt, then `check_addresses` with everything the name resolved
to; connect only to an address that passed (pinned, so that a second look-up cannot change it), never follow redirects.
Python's is_private and is_global are not enough: 64:ff9b::a9fe:a9fe (the metadata service through NAT64) is "global".
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_URL_CHARACTERS = 2_048
# Ports below are other services' (22, 25, 110…): a POST there can be read as commands.
FIRST_FREE_PORT = 1_024
_DEFAULT_PORTS = {"https": 443, "http": 80}

# IANA special-purpose registries (RFC 6890 and later).
FORBIDDEN: tuple[IPNetwork, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier NAT; Alibaba's metadata service
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local; metadata services
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata service
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved; 255.255.255.255 broadcast
        # IPv6 outside 2000::/3 is not on the public Internet: ::, ::1, old IPv4-compatible forms, NAT64 (64:ff9b::/96,
        # 64:ff9b:1::/48), discard (100::/64) …
        "::/3",
        # … SRv6 (5f00::/16) …
        "4000::/2",
        # … unique local (fc00::/7), link-local (fe80::/10), site-local (fec0::/10), multicast (ff00::/8).
        "8000::/1",
        "2001::/23",  # protocol assignments: Teredo (2001::/32), benchmarks, ORCHID (2001:10::/28, 2001:20::/28)
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: carries any IPv4 address
        "3fff::/20",  # documentation
    )
)

# What an operator's allow-list can open at all: networks that a deployment may own.
OPENABLE: tuple[IPNetwork, ...] = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)
# Metadata services inside those (AWS, Google, Alibaba): they hand out credentials to whoever asks.
NEVER: tuple[IPNetwork, ...] = tuple(
    ipaddress.ip_network(text) for text in ("fd00:ec2::254/128", "fd20:ce::254/128", "100.100.100.200/32")
)

_PRINTABLE = re.compile(r"[!-\[\]-~]+")  # ASCII without space, controls and the backslash
_NAME = re.compile(
    r"(?=.{1,253}\.?\Z)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*(?:[A-Za-z0-9_-]{1,63})\.?"
)
_BRACKETS = re.compile(r"\[[^\[\]]+\](?::[0-9]*)?")
# A last label of digits or hex makes it an IPv4 address to a browser or to inet_aton (WHATWG URL, "ends in a number").
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")


class UnsafeUrlError(ValueError):
    """The URL, or what it resolves to, must not be connected to. The message repeats none of it (credentials)."""


@dataclass(frozen=True)
class ParsedTarget:
    """A URL taken apart: scheme and host in lower case (IPv6 without brackets), port, and path with its query."""

    scheme: str
    host: str
    port: int
    path: str


def is_forbidden(ip_text: str, allowed_networks: Iterable[str | IPNetwork] = ()) -> bool:
    """Say whether an address must not be connected to. What is no plain IP address (or has a zone) is forbidden.

    IPv4-mapped addresses are judged as the IPv4 address. `allowed_networks` may open private and loopback networks,
    never link-local or metadata addresses.
    """
    address = _address(ip_text)
    if address is None:
        return True
    return _is_in(address, FORBIDDEN) and not _is_opened(address, allowed_networks)


def check_url(url: str, allowed_networks: Iterable[str | IPNetwork] = ()) -> ParsedTarget:
    """Return the URL taken apart, or raise UnsafeUrlError.

    https only, at most 2,048 printable ASCII characters, no credentials, no fragment, ports 443 and from 1024. http
    (and port 80) only towards allow-listed networks: at once for an IP address, for a name by `check_addresses`.
    """
    allowed = [ipaddress.ip_network(network) for network in allowed_networks]
    # Before urlsplit, which drops tabs and line ends in silence.
    if not isinstance(url, str) or len(url) > MAX_URL_CHARACTERS or not _PRINTABLE.fullmatch(url):
        raise UnsafeUrlError(f"a URL has 1 to {MAX_URL_CHARACTERS} printable ASCII characters")
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        raise UnsafeUrlError("not a valid URL") from None
    if scheme not in _DEFAULT_PORTS:
        raise UnsafeUrlError("only https is allowed")
    if "@" in parts.netloc:
        raise UnsafeUrlError("a URL with credentials is not allowed")
    if "#" in url:
        raise UnsafeUrlError("a URL with a fragment is not allowed")
    port = _DEFAULT_PORTS[scheme] if port is None else port
    if port != _DEFAULT_PORTS[scheme] and port < FIRST_FREE_PORT:
        raise UnsafeUrlError("the port is not allowed")
    host = _check_host(host, parts.netloc, scheme, allowed)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return ParsedTarget(scheme, host, port, path)


def check_addresses(addresses: Iterable[str], allowed_networks: Iterable[str | IPNetwork] = (), *, scheme: str) -> None:
    """Raise UnsafeUrlError unless every address a name resolved to may be connected to, and there is one.

    With scheme "http" each must be in an allow-listed network: plain text never leaves the operator's own.
    """
    allowed = [ipaddress.ip_network(network) for network in allowed_networks]
    texts = list(addresses)
    if not texts:
        raise UnsafeUrlError("the name has no address")
    for text in texts:
        _check_address(_address(text), scheme, allowed)


def _check_host(host: str, netloc: str, scheme: str, allowed: list[IPNetwork]) -> str:
    if "[" in netloc:
        # urlsplit forgives what stands around the brackets: [::1]evil.example has the hostname ::1.
        if not _BRACKETS.fullmatch(netloc):
            raise UnsafeUrlError("not a valid host name")
        _check_address(_address(host), scheme, allowed)
        return host
    if not _NAME.fullmatch(host):
        raise UnsafeUrlError("not a valid host name")
    name = host.removesuffix(".")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        # Strict dotted quad only: 127.1, 0177.0.0.1, 0x7f.1 and 2130706433 mean different hosts to different readers.
        _check_address(_address(name), scheme, allowed)
        return name
    if name == "localhost" or name.endswith(".localhost"):
        _check_address(ipaddress.IPv4Address("127.0.0.1"), scheme, allowed)
    elif scheme == "http" and not allowed:
        raise UnsafeUrlError("only https is allowed")
    return name


def _check_address(address: IPAddress | None, scheme: str, allowed: list[IPNetwork]) -> None:
    if address is None:
        raise UnsafeUrlError("not a valid IP address")
    opened = _is_opened(address, allowed)
    if _is_in(address, FORBIDDEN) and not opened:
        raise UnsafeUrlError("the address is not on the public Internet and not allow-listed")
    if scheme != "https" and not opened and not _is_listed(address, allowed):
        raise UnsafeUrlError("only https is allowed")


def _address(text: str) -> IPAddress | None:
    try:
        address = ipaddress.ip_address(text) if isinstance(text, str) and "%" not in text else None
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _is_opened(address: IPAddress, allowed: Iterable[str | IPNetwork]) -> bool:
    return _is_in(address, OPENABLE) and not _is_in(address, NEVER) and _is_listed(address, allowed)


def _is_listed(address: IPAddress, allowed: Iterable[str | IPNetwork]) -> bool:
    return any(address in ipaddress.ip_network(network) for network in allowed)


def _is_in(address: IPAddress, networks: Iterable[IPNetwork]) -> bool:
    return any(address in network for network in networks)
