"""The names and addresses under which this machine is reached: what a request's Host may be."""

import socket
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured


def own_hosts(listening: str, public_url: str) -> list[str]:
    """For ALLOWED_HOSTS, when the server listens on the host `listening` and clients know it by `public_url`, or "".

    The addresses of all interfaces are among them only when it listens on all. Raises ImproperlyConfigured for a
    `public_url` that is none.
    """
    try:
        public = urlsplit(public_url).hostname
    except ValueError as problem:
        raise ImproperlyConfigured(f"REGISTRY_PUBLIC_URL is not a URL: {problem}") from None
    names = ["localhost", "127.0.0.1", "::1", socket.gethostname(), public]
    names += [] if listening.startswith("unix:") else [listening]
    names += interface_addresses() if is_any(listening) else []
    return sorted({as_host(name) for name in names if name})


def is_any(listening: str) -> bool:
    """Whether it stands for all addresses: `0.0.0.0` or `::`."""
    try:
        return ip_address(listening).is_unspecified
    except ValueError:
        return False


def as_host(name: str) -> str:
    """As it stands in a Host header: there an IPv6 address has brackets."""
    try:
        return f"[{IPv6Address(name)}]"
    except ValueError:
        return name.lower()


def interface_addresses() -> list[str]:
    import ifaddr  # only who listens on all addresses needs it

    try:
        found = [address.ip for adapter in ifaddr.get_adapters() for address in adapter.ips]
    except OSError:  # where the system does not tell, the operator has REGISTRY_ALLOWED_HOSTS
        return []
    return [ip if isinstance(ip, str) else ip[0] for ip in found]
