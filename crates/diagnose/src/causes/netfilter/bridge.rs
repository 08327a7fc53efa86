//! What rules see of packets that pass a bridge.

use transect_path::Hook;
use transect_walk::netfilter::{AddressFamily, PacketFacts};

use super::facts;
use crate::case::Case;

/// The bridge that a port belongs to.
fn bridge_of<'a>(case: &Case<'a>, host: usize, port: &str) -> Option<&'a str> {
    let config = case.config(host)?;
    let master = config.link(port)?.master.as_deref()?;
    let is_bridge = config.link(master)?.kind.as_deref() == Some("bridge");
    is_bridge.then_some(master)
}

/// The device that IP's hooks see: for a bridge's port, the bridge (`brnf_get_logical_dev`).
pub(super) fn seen_by_ip(case: &Case<'_>, host: usize, device: Option<&str>) -> Option<String> {
    let device = device?;
    Some(bridge_of(case, host, device).unwrap_or(device).to_owned())
}

/// The facts for the chains of a bridge's hook; none where the packets pass no bridge on this host, or the hook is none of
/// theirs. `own`: the host sends them by its bridge.
pub(super) fn frame_facts(
    case: &Case<'_>,
    host: usize,
    hook: Hook,
    own: bool,
) -> Option<PacketFacts> {
    let is_bridge = |device: &str| {
        let link = case.config(host).and_then(|config| config.link(device));
        link.is_some_and(|link| link.kind.as_deref() == Some("bridge"))
    };
    let port = |device: Option<&str>| {
        let device = device?;
        bridge_of(case, host, device).map(|_| device.to_owned())
    };
    let (input, output) = (case.input(host), case.output(host));
    let (came, leaves) = (port(input), port(output));
    let passes = match (own, hook) {
        (false, Hook::PreRouting | Hook::LocalIn | Hook::Forward | Hook::PostRouting) => {
            came.is_some() || input.is_some_and(is_bridge)
        }
        (true, Hook::LocalOut | Hook::PostRouting) => {
            leaves.is_some() || output.is_some_and(is_bridge)
        }
        _ => false,
    };
    let none = || Some(String::new());
    passes.then(|| PacketFacts {
        family: AddressFamily::Bridge,
        ether_type: Some(if case.v6() { 0x86dd } else { 0x0800 }),
        in_interface: match hook {
            Hook::LocalOut | Hook::PostRouting => none(),
            _ => came,
        },
        out_interface: match hook {
            Hook::PreRouting | Hook::LocalIn => none(),
            _ => leaves,
        },
        ..facts(case, host, hook)
    })
}
