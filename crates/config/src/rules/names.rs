//! Names that rule sets use for numbers: protocols, ICMP types and codes, DSCP classes.

use super::Family;

/// The protocol number behind a name of /etc/protocols, or the number itself. 0 is "all" for iptables.
pub(super) fn protocol(name: &str) -> Option<u8> {
    Some(match name.to_ascii_lowercase().as_str() {
        "all" | "ip" => 0,
        "icmp" => 1,
        "igmp" => 2,
        "ipencap" | "ipip" | "ipv4" => 4,
        "tcp" => 6,
        "udp" => 17,
        "dccp" => 33,
        "ipv6" => 41,
        "ipv6-route" => 43,
        "ipv6-frag" => 44,
        "rsvp" => 46,
        "gre" => 47,
        "esp" | "ipsec-esp" => 50,
        "ah" | "ipsec-ah" => 51,
        "ipv6-icmp" | "icmpv6" | "icmp6" => 58,
        "ipv6-nonxt" => 59,
        "ipv6-opts" => 60,
        "ospf" | "ospfigp" => 89,
        "pim" => 103,
        "comp" | "ipcomp" => 108,
        "vrrp" => 112,
        "l2tp" => 115,
        "sctp" => 132,
        "ipv6-mh" | "mh" | "mobility-header" => 135,
        "udplite" => 136,
        other => return other.parse().ok(),
    })
}

/// An ICMP type's number: by name (nft's and iptables' names) or by number.
pub(super) fn icmp_type(name: &str) -> Option<u8> {
    Some(match name {
        "echo-reply" | "pong" => 0,
        "destination-unreachable" => 3,
        "source-quench" => 4,
        "redirect" => 5,
        "echo-request" | "ping" => 8,
        "router-advertisement" => 9,
        "router-solicitation" => 10,
        "time-exceeded" | "ttl-exceeded" => 11,
        "parameter-problem" => 12,
        "timestamp-request" => 13,
        "timestamp-reply" => 14,
        "info-request" => 15,
        "info-reply" => 16,
        "address-mask-request" => 17,
        "address-mask-reply" => 18,
        other => return other.parse().ok(),
    })
}

/// The type and code behind iptables' names that mean both; else the type alone.
pub(super) fn icmp_type_and_code(family: Family, name: &str) -> Option<(u8, Option<u8>)> {
    if let Some((kind, code)) = name.split_once('/') {
        return Some((kind.parse().ok()?, Some(code.parse().ok()?)));
    }
    if family == Family::Ip6 {
        return icmp6_type(name).map(|kind| (kind, None));
    }
    let code = icmp_code(name).filter(|_| name.parse::<u8>().is_err());
    match code {
        Some(code) => Some((3, Some(code))),
        None => icmp_type(name).map(|kind| (kind, None)),
    }
}

/// An ICMPv6 type's number.
pub(super) fn icmp6_type(name: &str) -> Option<u8> {
    Some(match name {
        "destination-unreachable" => 1,
        "packet-too-big" => 2,
        "time-exceeded" | "ttl-exceeded" => 3,
        "parameter-problem" => 4,
        "echo-request" | "ping" => 128,
        "echo-reply" | "pong" => 129,
        "mld-listener-query" => 130,
        "mld-listener-report" => 131,
        "mld-listener-done" | "mld-listener-reduction" => 132,
        "nd-router-solicit" | "router-solicitation" => 133,
        "nd-router-advert" | "router-advertisement" => 134,
        "nd-neighbor-solicit" | "neighbour-solicitation" | "neighbor-solicitation" => 135,
        "nd-neighbor-advert" | "neighbour-advertisement" | "neighbor-advertisement" => 136,
        "nd-redirect" | "redirect" => 137,
        "router-renumbering" => 138,
        "ind-neighbor-solicit" => 141,
        "ind-neighbor-advert" => 142,
        "mld2-listener-report" => 143,
        other => return other.parse().ok(),
    })
}

/// The code of "destination unreachable" (RFC 792, RFC 1122, RFC 1812).
pub(super) fn icmp_code(name: &str) -> Option<u8> {
    Some(match name {
        "net-unreachable" | "network-unreachable" => 0,
        "host-unreachable" => 1,
        "prot-unreachable" | "protocol-unreachable" => 2,
        "port-unreachable" => 3,
        "frag-needed" | "fragmentation-needed" => 4,
        "source-route-failed" => 5,
        "net-prohibited" | "network-prohibited" => 9,
        "host-prohibited" => 10,
        "admin-prohibited" | "communication-prohibited" => 13,
        other => return other.parse().ok(),
    })
}

/// The code of ICMPv6's "destination unreachable" (RFC 4443 section 3.1).
pub(super) fn icmp6_code(name: &str) -> Option<u8> {
    Some(match name {
        "no-route" => 0,
        "admin-prohibited" => 1,
        "addr-unreachable" => 3,
        "port-unreachable" => 4,
        "policy-fail" => 5,
        "reject-route" => 6,
        other => return other.parse().ok(),
    })
}

/// A DSCP class (RFC 2474, RFC 2597, RFC 3246), or the number.
pub(super) fn dscp(name: &str) -> Option<u8> {
    let name = name.to_ascii_lowercase();
    Some(match name.as_str() {
        "be" | "df" => 0,
        "lephb" => 1,
        "ef" => 46,
        "va" => 44,
        _ => {
            if let Some(class) = name.strip_prefix("cs").and_then(|c| c.parse::<u8>().ok()) {
                return (class < 8).then_some(class << 3);
            }
            if let Some(class) = name.strip_prefix("af").and_then(|c| c.parse::<u8>().ok()) {
                let (class, drop) = (class / 10, class % 10);
                return ((1..=4).contains(&class) && (1..=3).contains(&drop))
                    .then_some(class * 8 + drop * 2);
            }
            return number(&name).and_then(|n| u8::try_from(n).ok());
        }
    })
}

/// A number, decimal or with 0x.
pub(super) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A MAC address.
pub(super) fn mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dscp_classes_are_those_of_the_rfcs() {
        assert_eq!(dscp("af41"), Some(34));
        assert_eq!(dscp("cs6"), Some(48));
        assert_eq!(dscp("0x2e"), Some(46));
        assert_eq!(dscp("af99"), None);
        assert_eq!(dscp("cs9"), None);
    }

    #[test]
    fn an_icmp_name_may_mean_a_code() {
        let of = |name| icmp_type_and_code(Family::Ip, name);
        assert_eq!(of("fragmentation-needed"), Some((3, Some(4))));
        assert_eq!(of("3/4"), Some((3, Some(4))));
        assert_eq!(of("8"), Some((8, None)));
        assert_eq!(of("echo-request"), Some((8, None)));
        assert_eq!(icmp_type_and_code(Family::Ip6, "128"), Some((128, None)));
    }

    #[test]
    fn a_mac_address_has_six_bytes() {
        assert_eq!(mac("02:00:00:00:00:01"), Some([2, 0, 0, 0, 0, 1]));
        assert_eq!(mac("02:00:00:00:00:01:02"), None);
        assert_eq!(mac("02:00"), None);
    }
}
