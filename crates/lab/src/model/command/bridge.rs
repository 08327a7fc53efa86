//! `bridge link set dev PORT state|hairpin|isolated|learning|flood|mcast_flood|bcast_flood VALUE`.

use transect_config::BridgePortState;

use crate::error::WorldError;
use crate::model::network::NodeId;
use crate::model::task::Clock;
use transect_host::namespace::change_link;

/// Carries out one command; `arguments` are those behind `bridge`.
pub(super) fn run(clock: &Clock, node: NodeId, arguments: &[&str]) -> Result<(), WorldError> {
    let unknown = || {
        WorldError(format!(
            "the model world does not know \"bridge {}\"; it knows link set dev PORT state disabled|forwarding and \
             hairpin|isolated|learning|flood|mcast_flood|bcast_flood on|off",
            arguments.join(" ")
        ))
    };
    let ["link", "set", "dev", port, settings @ ..] = arguments else {
        return Err(unknown());
    };
    let none = || WorldError(format!("{port} is no port of a bridge"));
    let id = clock.call(node, |host, _| host.device(port))?;
    let id = id.ok_or_else(none)?;
    let flags = clock.call(node, |host, _| host.port_flags(id))?;
    let mut flags = flags.ok_or_else(none)?;
    for setting in settings.chunks(2) {
        let [name, value] = setting else {
            return Err(unknown());
        };
        if *name == "state" {
            let state = state(value).ok_or_else(unknown)?;
            clock.call(node, |host, now| {
                host.reconfigure(now, |config| {
                    change_link(config, port, |link| link.bridge_port = Some(state));
                });
            })?;
            continue;
        }
        let on = match *value {
            "on" => true,
            "off" => false,
            _ => return Err(unknown()),
        };
        match *name {
            "hairpin" => flags.hairpin = on,
            "isolated" => flags.isolated = on,
            "learning" => flags.learning = on,
            "flood" => flags.flood = on,
            "mcast_flood" => flags.multicast_flood = on,
            "bcast_flood" => flags.broadcast_flood = on,
            _ => return Err(unknown()),
        }
    }
    clock.call(node, |host, _| host.set_port_flags(id, flags))?;
    clock.network(|network| network.announce(node, "a link"));
    Ok(())
}

/// Without a spanning tree the kernel keeps these two alone: every other one is "forwarding" at once
/// (`br_port_state_selection`).
fn state(word: &str) -> Option<BridgePortState> {
    match word {
        "0" | "disabled" => Some(BridgePortState::Disabled),
        "1" | "2" | "3" | "4" | "listening" | "learning" | "forwarding" | "blocking" => {
            Some(BridgePortState::Forwarding)
        }
        _ => None,
    }
}
