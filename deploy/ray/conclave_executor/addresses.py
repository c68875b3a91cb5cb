"""Which addresses a name may lead to: the guard against a name that someone points at a service inside the cluster's
network (server-side request forgery). The host keeps the same list for its own calls, in `openai/addresses.rs`.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

# Outside link-local ranges, where clouds serve credentials to their machines.
_METADATA = frozenset(
    map(
        ip_address,
        (
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure
            "192.0.0.192",  # Oracle
            "fd00:ec2::254",  # AWS
            "fd00:ec2::23",  # AWS, EKS Pod Identity
            "fd20:ce::254",  # Google
        ),
    )
)
_UNSPECIFIED = IPv4Network("0.0.0.0/8")
_BROADCAST = IPv4Address("255.255.255.255")


def forbidden(address: IPv4Address | IPv6Address) -> str | None:
    """Why no name may lead to this address; `None` where one may. Private and loopback addresses are fine."""
    if address in _METADATA:
        return "a cloud metadata address"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    if isinstance(address, IPv6Address):
        if address.is_unspecified:
            return "an unspecified address"
        carried = None if address.is_loopback else _carried(address)
        return None if carried is None else forbidden(carried)
    if address in _UNSPECIFIED:
        return "an unspecified address"
    return "a broadcast address" if address == _BROADCAST else None


def _carried(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for: mapped, compatible, translated or tunnelled."""
    packed = address.packed
    parts = [int.from_bytes(packed[at : at + 2], "big") for at in range(0, 16, 2)]
    match parts:
        case [0, 0, 0, 0, 0, 0 | 0xFFFF, _, _] | [0, 0, 0, 0, 0xFFFF, 0, _, _] | [0x64, 0xFF9B, 0 | 1, _, _, _, _, _]:
            return IPv4Address(packed[12:])
        case [0x2002, *_]:
            return IPv4Address(packed[2:6])
    return None


class FilteringResolver(AbstractResolver):
    """Resolves names as the system does and leaves out what is forbidden, at the moment of connecting."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The permitted addresses; raises `OSError` if there is none."""
        found = await self._resolver.resolve(host, port, family)
        reasons = {result["host"]: forbidden(ip_address(result["host"])) for result in found}
        permitted = [result for result in found if reasons[result["host"]] is None]
        if not permitted:
            told = ", ".join(f"{address}, {reason}" for address, reason in reasons.items())
            raise OSError(errno.EACCES, f"{host} resolves to {told}")
        return permitted

    async def close(self) -> None:
        await self._resolver.close()
