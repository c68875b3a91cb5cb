//! Which addresses a name may lead to: the guard against a name that someone points at a service
//! inside the operator's network (server-side request forgery).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Addresses outside link-local ranges where clouds serve credentials to their machines.
const METADATA: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), // Alibaba
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),   // Azure
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),     // Oracle
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), // AWS
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)), // AWS, EKS Pod Identity
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)), // Google
];

/// Why no name may lead to this address; `None` where one may. Private and loopback addresses are
/// fine: only names that the operator has listed are ever resolved.
pub(super) fn forbidden(address: IpAddr) -> Option<&'static str> {
    if METADATA.contains(&address) {
        return Some("a cloud metadata address");
    }
    match address {
        IpAddr::V4(v4) => forbidden_v4(v4),
        IpAddr::V6(v6) => forbidden_v6(v6),
    }
}

fn forbidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    if address.is_link_local() {
        Some("a link-local address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.octets()[0] == 0 {
        Some("an unspecified address")
    } else if address.is_broadcast() {
        Some("a broadcast address")
    } else {
        None
    }
}

fn forbidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("an unspecified address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.is_unicast_link_local() {
        Some("a link-local address")
    } else if address.is_loopback() {
        None
    } else {
        carried(address).and_then(|v4| forbidden(IpAddr::V4(v4)))
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped (::ffff:0:0/96), compatible (::/96),
/// translated (64:ff9b::/96, 64:ff9b:1::/48) or tunnelled (2002::/16).
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0 | 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

/// A name that leads only to forbidden addresses.
#[derive(Debug, thiserror::Error)]
#[error("{name} resolves to {address}, {kind}")]
pub(super) struct Refused {
    name: String,
    address: IpAddr,
    kind: &'static str,
}

/// Resolves names as the system does and leaves out what [`forbidden`] names. It works at the moment
/// of connecting: what a name led to a moment ago does not matter.
#[derive(Debug)]
pub(crate) struct FilteringResolver;

impl Resolve for FilteringResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted = filtered(name.as_str(), found)?;
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

pub(super) fn filtered(
    name: &str,
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, Refused> {
    let mut refused = None;
    let mut permitted = Vec::new();
    for address in found {
        match forbidden(address.ip()) {
            None => permitted.push(address),
            Some(kind) => refused = Some((address.ip(), kind)),
        }
    }
    match refused {
        Some((address, kind)) if permitted.is_empty() => Err(Refused {
            name: name.to_owned(),
            address,
            kind,
        }),
        _ => Ok(permitted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_hold_in_every_spelling() {
        let table = [
            ("169.254.169.254", Some("a link-local address")),
            ("169.254.0.1", Some("a link-local address")),
            ("fe80::1", Some("a link-local address")),
            ("febf::1", Some("a link-local address")),
            ("::ffff:169.254.169.254", Some("a link-local address")),
            ("::169.254.169.254", Some("a link-local address")),
            ("64:ff9b::169.254.169.254", Some("a link-local address")),
            ("2002:a9fe:a9fe::1", Some("a link-local address")),
            ("100.100.100.200", Some("a cloud metadata address")),
            ("::ffff:100.100.100.200", Some("a cloud metadata address")),
            ("168.63.129.16", Some("a cloud metadata address")),
            ("fd00:ec2::254", Some("a cloud metadata address")),
            ("224.0.0.1", Some("a multicast address")),
            ("239.255.255.255", Some("a multicast address")),
            ("ff02::1", Some("a multicast address")),
            ("::ffff:224.0.0.1", Some("a multicast address")),
            ("0.0.0.0", Some("an unspecified address")),
            ("0.1.2.3", Some("an unspecified address")),
            ("::", Some("an unspecified address")),
            ("::ffff:0.0.0.0", Some("an unspecified address")),
            ("255.255.255.255", Some("a broadcast address")),
            ("::ffff:255.255.255.255", Some("a broadcast address")),
            ("127.0.0.1", None),
            ("::1", None),
            ("::ffff:127.0.0.1", None),
            ("10.0.0.1", None),
            ("172.16.0.1", None),
            ("192.168.1.1", None),
            ("fd12:3456::1", None),
            ("8.8.8.8", None),
            ("2606:4700::1111", None),
        ];
        for (address, expected) in table {
            assert_eq!(forbidden(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn a_name_keeps_its_permitted_addresses_and_is_refused_without_any() {
        let sockets = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let mixed = sockets(&["169.254.169.254:0", "10.0.0.7:0"]);
        assert_eq!(
            filtered("vllm", mixed.into_iter()).unwrap(),
            sockets(&["10.0.0.7:0"])
        );
        let refused = filtered("meta", sockets(&["[fe80::1]:0"]).into_iter()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "meta resolves to fe80::1, a link-local address"
        );
    }
}
