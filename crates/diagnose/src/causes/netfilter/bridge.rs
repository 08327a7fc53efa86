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

/// How the packets pass a host: its devices, each with its bridge where it is one or a port of one.
#[derive(Debug, Clone, Default)]
struct Way {
    input: Option<Option<String>>,
    output: Option<Option<String>>,
    /// The bridge's own host takes them.
    taken: bool,
    /// It is the only one that does.
    delivered: bool,
}

impl Way {
    /// Whether they come to a bridge's hook: frames that go from port to port meet neither what guards its own host nor what that
    /// host sends, and those that its host takes or routes do not meet what lies between its ports.
    fn passes(&self, own: bool, hook: Hook) -> bool {
        let came = self.input.as_ref().is_some_and(Option::is_some);
        let leaves = self.output.as_ref().is_some_and(Option::is_some);
        let bridged = came && self.input == self.output;
        match (own, hook) {
            (false, Hook::PreRouting) => came,
            (false, Hook::LocalIn) => came && (self.taken || self.output.is_some() && !bridged),
            (false, Hook::Forward | Hook::PostRouting) => {
                came && !self.delivered && (bridged || self.output.is_none())
            }
            (true, Hook::LocalOut | Hook::PostRouting) => leaves && !bridged,
            _ => false,
        }
    }
}

/// The facts for the chains of a bridge's hook; none where the packets pass no bridge on this host, or the hook is none of
/// theirs. `own`: the host sends them by its bridge.
pub(super) fn frame_facts(
    case: &Case<'_>,
    host: usize,
    hook: Hook,
    own: bool,
) -> Option<PacketFacts> {
    let port = |device: Option<&str>| {
        let device = device?;
        bridge_of(case, host, device).map(|_| device.to_owned())
    };
    // A bridge, or that of the port.
    let bridge = |device: &str| {
        let link = case.config(host)?.link(device)?;
        match link.kind.as_deref() {
            Some("bridge") => Some(device.to_owned()),
            _ => bridge_of(case, host, device).map(str::to_owned),
        }
    };
    let (input, output) = (case.input(host), case.output(host));
    let (came, leaves) = (port(input), port(output));
    let destination = case.arriving_at(host).destination.address;
    let way = Way {
        input: input.map(bridge),
        output: output.map(bridge),
        taken: destination.is_multicast() || case.world.owns(host, destination) == Some(true),
        delivered: case.world.owns(host, destination) == Some(true),
    };
    let passes = way.passes(own, hook);
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

#[cfg(test)]
mod tests {
    use super::*;

    const HOOKS: [(bool, Hook); 6] = [
        (false, Hook::PreRouting),
        (false, Hook::LocalIn),
        (false, Hook::Forward),
        (false, Hook::PostRouting),
        (true, Hook::LocalOut),
        (true, Hook::PostRouting),
    ];

    #[test]
    fn packets_meet_the_hooks_of_their_own_way_through_a_bridge() {
        let hooks = |way: &Way| HOOKS.map(|(own, hook)| u8::from(way.passes(own, hook)));
        let bridge = || Some(Some("br0".to_owned()));
        let other = || Some(None);
        let way = |input, output| Way {
            input,
            output,
            ..Way::default()
        };
        let delivered = Way {
            taken: true,
            delivered: true,
            ..way(bridge(), None)
        };
        let group = Way {
            taken: true,
            ..way(bridge(), None)
        };
        assert_eq!(
            hooks(&way(bridge(), bridge())),
            [1, 0, 1, 1, 0, 0],
            "bridged"
        );
        assert_eq!(hooks(&way(bridge(), None)), [1, 0, 1, 1, 0, 0], "seen only");
        assert_eq!(hooks(&way(bridge(), other())), [1, 1, 0, 0, 0, 0], "routed");
        assert_eq!(hooks(&way(other(), bridge())), [0, 0, 0, 0, 1, 1], "routed");
        assert_eq!(hooks(&way(None, bridge())), [0, 0, 0, 0, 1, 1], "sent");
        assert_eq!(hooks(&delivered), [1, 1, 0, 0, 0, 0], "received");
        assert_eq!(hooks(&group), [1, 1, 1, 1, 0, 0], "to a group");
        assert_eq!(hooks(&way(other(), other())), [0; 6], "no bridge");
    }
}
