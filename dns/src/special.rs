//! Addresses that no public mail server has, and names that no name server is asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a name is one of this machine (RFC 6761, 6.3).
pub(crate) fn is_localhost(name: &str) -> bool {
    last_label(name).eq_ignore_ascii_case("localhost")
}

/// Whether a name is not in DNS by decree (RFC 6761, 6.3 and 6.4; RFC 7686).
pub(crate) fn is_outside_dns(name: &str) -> bool {
    let last = last_label(name);
    ["localhost", "invalid", "onion"].iter().any(|label| last.eq_ignore_ascii_case(label))
}

fn last_label(name: &str) -> &str {
    name.trim_end_matches('.').rsplit('.').next().unwrap_or_default()
}

/// Whether an address can be reached by everybody: not loopback, private, link-local,
/// shared (RFC 6598), reserved, for documentation or benchmarks, multicast or unspecified
/// (the registries of RFC 6890). An MX that points elsewhere is a mistake, or an attempt to
/// reach what is behind us.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = a == 0
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (b == 18 || b == 19))
        // Multicast, reserved, broadcast.
        || a >= 224;
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let s = ip.segments();
    // Ways to write an IPv4 address: mapped, NAT64 (RFC 6052), 6to4 (RFC 3056).
    if let Some(v4) = ip.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    if s[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return is_public_v4(v4(s[6], s[7]));
    }
    if s[0] == 0x2002 {
        return is_public_v4(v4(s[1], s[2]));
    }
    // Only 2000::/3 is given out; within it documentation, Teredo, ORCHID, benchmarks.
    let given_out = s[0] & 0xe000 == 0x2000;
    let documentation = (s[0] == 0x2001 && s[1] == 0xdb8) || (s[0] == 0x3fff && s[1] < 0x1000);
    let protocol = s[0] == 0x2001 && s[1] < 0x200;
    given_out && !documentation && !protocol
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_and_other_special_addresses_are_not_public() {
        let of = |ip: &str| is_public(ip.parse().expect("an address"));
        for ip in [
            "127.0.0.1",
            "127.8.8.8",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "3fff::1",
            "2001::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "fec0::1",
            "::7f00:1",
        ] {
            assert!(!of(ip), "{ip}");
        }
        for ip in [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
            "2a00:1450:4001::1a",
            "2001:4860::1",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
        ] {
            assert!(of(ip), "{ip}");
        }
    }

    #[test]
    fn some_names_are_asked_of_nobody() {
        for name in ["localhost", "mx.LocalHost.", "a.invalid", "x.onion"] {
            assert!(is_outside_dns(name), "{name}");
        }
        for name in ["localhost.example.org", "onion.example", "invalid.", ""] {
            assert_eq!(is_outside_dns(name), name == "invalid.", "{name}");
        }
        assert!(is_localhost("localhost") && !is_localhost("a.invalid"));
    }
}
