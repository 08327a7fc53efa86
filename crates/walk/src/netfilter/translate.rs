//! The packet behind a translation.

use transect_config::rules::{AddressKind, Nat, NatKind};
use transect_path::Hook;

use super::{AddressFamily, PacketFacts};

/// The packet behind a translation. What the translation chooses by itself is not known.
pub(super) fn translated(facts: &PacketFacts, nat: &Nat, hook: Hook) -> PacketFacts {
    let mut facts = facts.clone();
    let address = match nat.addresses {
        Some((first, last)) if first == last => Some(first),
        _ => None,
    };
    let port = |old: Option<u16>| match nat.ports {
        _ if nat.computed => None,
        Some((first, last)) if first == last => Some(first),
        Some(_) => None,
        None => old,
    };
    match nat.kind {
        NatKind::Destination => {
            if nat.addresses.is_some() || nat.computed {
                facts.destination = address;
                facts.destination_kind = None;
            }
            facts.destination_port = port(facts.destination_port);
        }
        NatKind::Redirect => {
            // `nf_nat_redirect_ipv4`: loopback for the host's own packets, else an address of the input interface.
            facts.destination = match (hook, facts.family) {
                (Hook::LocalOut, AddressFamily::Ip) => Some(std::net::Ipv4Addr::LOCALHOST.into()),
                (Hook::LocalOut, AddressFamily::Ip6) => Some(std::net::Ipv6Addr::LOCALHOST.into()),
                _ => None,
            };
            facts.destination_kind = Some(AddressKind::Local);
            facts.destination_port = port(facts.destination_port);
        }
        NatKind::Source | NatKind::Masquerade => {
            facts.source = address;
            facts.source_kind = None;
            // Kept where it is free.
            facts.source_port = None;
        }
    }
    facts
}
