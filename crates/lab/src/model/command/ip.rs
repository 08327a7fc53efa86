//! `ip route`, `ip neighbor`, `ip address`.

use transect_config::{HostConfig, IpVersion};

use crate::error::WorldError;
use crate::model::network::NodeId;
use crate::model::task::Clock;
use transect_host::namespace::{
    RouteChange, add_address, change_link, change_route, delete_neighbor, set_carrier,
    set_neighbor, set_up,
};

/// Carries out one command; `arguments` are those behind `ip`.
pub(super) fn run(clock: &Clock, node: NodeId, arguments: &[&str]) -> Result<(), WorldError> {
    let mut rest = arguments;
    let mut version = IpVersion::V4;
    while let [option, behind @ ..] = rest
        && option.starts_with('-')
    {
        version = match *option {
            "-4" => IpVersion::V4,
            "-6" => IpVersion::V6,
            other => {
                return Err(WorldError(format!(
                    "the model world does not know ip's option {other}"
                )));
            }
        };
        rest = behind;
    }
    if let ["link" | "l", "set", words @ ..] = rest {
        return set_link(clock, node, words);
    }
    let (announced, change) = Change::parse(version, rest)?;
    let mut result = Ok(());
    clock.call(node, |host, now| {
        host.reconfigure(now, |config| result = change.make(config));
    })?;
    result?;
    if let Some(what) = announced {
        clock.network(|network| network.announce(node, what));
    }
    Ok(())
}

/// `ip link set [dev] DEVICE up|down|mtu BYTES|txqueuelen PACKETS`; the other end of the link sees the carrier come and go.
fn set_link(clock: &Clock, node: NodeId, words: &[&str]) -> Result<(), WorldError> {
    let words = match words {
        ["dev", rest @ ..] => rest,
        rest => rest,
    };
    let unknown = || {
        WorldError(format!(
            "the model world does not know \"ip link set {}\"; it knows up, down, mtu and txqueuelen",
            words.join(" ")
        ))
    };
    let [device, change @ ..] = words else {
        return Err(unknown());
    };
    let number = |text: &str| {
        text.parse()
            .map_err(WorldError::doing(format!("\"{text}\"")))
    };
    let id = clock.call(node, |host, _| host.device(device))?;
    let id = id.ok_or_else(|| WorldError(format!("there is no interface {device}")))?;
    match change {
        ["up" | "down"] => {
            let up = change == ["up"];
            clock.call(node, |host, now| {
                host.reconfigure(now, |config| set_up(config, device, up));
            })?;
            if let Some((far, theirs)) = clock.network(|network| network.far_end(node, id)) {
                clock.call(far, |host, now| {
                    host.reconfigure(now, |config| {
                        let links = config.links.iter().flatten();
                        let name = links
                            .filter(|link| link.index == theirs.index())
                            .map(|link| link.name.clone())
                            .next();
                        if let Some(name) = name {
                            set_carrier(config, &name, up);
                        }
                    });
                })?;
                clock.network(|network| network.announce(far, "a link"));
            }
        }
        ["mtu", bytes] => {
            let bytes = number(bytes)?;
            clock.call(node, |host, now| {
                host.reconfigure(now, |config| {
                    change_link(config, device, |link| link.mtu = Some(bytes));
                });
            })?;
            if let Some((far, theirs)) = clock.network(|network| network.far_end(node, id)) {
                clock.call(far, |host, _| host.set_peer_mtu(theirs, bytes))?;
            }
        }
        ["txqueuelen", packets] => {
            let packets = number(packets)?;
            clock.call(node, |host, now| {
                host.reconfigure(now, |config| {
                    change_link(config, device, |link| link.txqlen = Some(packets));
                });
            })?;
        }
        _ => return Err(unknown()),
    }
    clock.network(|network| network.announce(node, "a link"));
    Ok(())
}

/// A change of the configuration.
enum Change<'a> {
    Route(IpVersion, RouteChange, String),
    Neighbor(&'a str, &'a str, Option<&'a str>),
    Address(&'a str, &'a str),
}

impl<'a> Change<'a> {
    /// The change, and what the kernel announces of it; neighbours change too often to be listened to.
    fn parse(
        version: IpVersion,
        words: &[&'a str],
    ) -> Result<(Option<&'static str>, Self), WorldError> {
        let unknown = || {
            WorldError(format!(
                "the model world does not know \"ip {}\"; it knows route add|replace|del, neighbor add|replace|del, address add and link set",
                words.join(" ")
            ))
        };
        let [object, verb, spec @ ..] = words else {
            return Err(unknown());
        };
        let change = match *verb {
            "add" | "append" => RouteChange::Add,
            "replace" | "change" => RouteChange::Replace,
            "del" | "delete" => RouteChange::Delete,
            _ => return Err(unknown()),
        };
        if object.is_empty() {
            return Err(unknown());
        }
        // `ip` takes any beginning of a word, in this order of preference.
        if "address".starts_with(object) {
            let (Some(address), Some(dev), RouteChange::Add) =
                (spec.first(), value(spec, "dev"), change)
            else {
                return Err(unknown());
            };
            return Ok((Some("an address"), Change::Address(address, dev)));
        }
        if "route".starts_with(object) {
            let change = Change::Route(version, change, spec.join(" "));
            return Ok((Some("a route"), change));
        }
        if "neighbor".starts_with(object) || "neighbour".starts_with(object) {
            let (Some(address), Some(dev)) = (spec.first(), value(spec, "dev")) else {
                return Err(unknown());
            };
            let mac = value(spec, "lladdr");
            if mac.is_none() && change != RouteChange::Delete {
                return Err(unknown());
            }
            let mac = mac.filter(|_| change != RouteChange::Delete);
            return Ok((None, Change::Neighbor(address, dev, mac)));
        }
        Err(unknown())
    }

    fn make(self, config: &mut HostConfig) -> Result<(), WorldError> {
        match self {
            Change::Route(version, change, spec) => change_route(config, version, change, &spec)?,
            Change::Neighbor(address, device, mac) => {
                let address = address
                    .parse()
                    .map_err(WorldError::doing(format!("\"{address}\" is no IP address")))?;
                match mac {
                    None => delete_neighbor(config, address, device),
                    Some(mac) => {
                        let mac = mac
                            .parse()
                            .map_err(WorldError::doing(format!("\"{mac}\"")))?;
                        set_neighbor(config, address, mac, device)?;
                    }
                }
            }
            Change::Address(text, device) => {
                let (address, length) = prefix(text)?;
                if config.link(device).is_none() {
                    return Err(WorldError(format!("there is no interface {device}")));
                }
                add_address(config, device, address, length);
            }
        }
        Ok(())
    }
}

/// `address/length`; without a length, all bits.
pub(in crate::model) fn prefix(text: &str) -> Result<(std::net::IpAddr, u8), WorldError> {
    let wrong = || {
        WorldError(format!(
            "\"{text}\" is no address with a prefix length, such as 10.0.0.1/24"
        ))
    };
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address = address.parse().map_err(|_| wrong())?;
    let bits = IpVersion::of(address).bits();
    let length = match length {
        None => bits,
        Some(length) => length.parse().map_err(|_| wrong())?,
    };
    if length > bits {
        return Err(wrong());
    }
    Ok((address, length))
}

/// The word behind a word.
fn value<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    let at = words.iter().position(|word| *word == name)?;
    words.get(at + 1).copied()
}
