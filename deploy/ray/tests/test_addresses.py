"""Which addresses a name may lead to: the same table as in the host."""

from ipaddress import ip_address

import pytest

from conclave_executor.addresses import forbidden


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("169.254.169.254", "a link-local address"),
        ("169.254.0.1", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("fe80::1%lo", "a link-local address"),
        ("febf::1", "a link-local address"),
        ("::ffff:169.254.169.254", "a link-local address"),
        ("::169.254.169.254", "a link-local address"),
        ("64:ff9b::169.254.169.254", "a link-local address"),
        ("2002:a9fe:a9fe::1", "a link-local address"),
        ("100.100.100.200", "a cloud metadata address"),
        ("::ffff:100.100.100.200", "a cloud metadata address"),
        ("168.63.129.16", "a cloud metadata address"),
        ("fd00:ec2::254", "a cloud metadata address"),
        ("224.0.0.1", "a multicast address"),
        ("239.255.255.255", "a multicast address"),
        ("ff02::1", "a multicast address"),
        ("::ffff:224.0.0.1", "a multicast address"),
        ("0.0.0.0", "an unspecified address"),
        ("0.1.2.3", "an unspecified address"),
        ("::", "an unspecified address"),
        ("::ffff:0.0.0.0", "an unspecified address"),
        ("255.255.255.255", "a broadcast address"),
        ("::ffff:255.255.255.255", "a broadcast address"),
        ("127.0.0.1", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("10.0.0.1", None),
        ("172.16.0.1", None),
        ("192.168.1.1", None),
        ("fd12:3456::1", None),
        ("8.8.8.8", None),
        ("2606:4700::1111", None),
    ],
)
def test_the_rules_hold_in_every_spelling(address: str, reason: str | None) -> None:
    assert forbidden(ip_address(address)) == reason
