//! Links, bridges, sysctls, addresses, routes, neighbours: one batch of `ip` for the links and one for each host.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::command::{self, Limit};
use super::relay::{self, Relay};
use super::{HostNamespace, WorldError};
use crate::model::SEED;
use crate::model::wire::{Wire, WireSeeds, WireSetup};
use crate::scenario::{Host, Link, Scenario, mac};

/// Below are the loopback and what the kernel makes by itself in each new namespace (tunnels, ifb).
const FIRST_INDEX: usize = 100;

/// Frames that wait for the carrier of a link with conditions.
const RING: usize = 10_000;

/// Carriers come up within milliseconds.
const CARRIER: Duration = Duration::from_secs(5);

type Hosts = BTreeMap<String, Arc<HostNamespace>>;

/// Makes everything that an experiment has of this kind; what carries its links with conditions.
pub(super) fn build(
    scenario: &Scenario,
    hosts: &Hosts,
    folder: &Path,
) -> Result<Vec<Relay>, WorldError> {
    for (name, host) in &scenario.hosts {
        let namespace = lookup(hosts, name)?;
        set_sysctls(namespace, defaults())?;
        prefer_cubic(namespace)?;
        // Forwarding before the links: devices inherit it.
        if host.forwarding {
            let forwarding = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"];
            set_sysctls(
                namespace,
                forwarding.map(|name| (name.to_owned(), "1".to_owned())),
            )?;
        }
    }
    let mut batch = String::new();
    let mut relays = Vec::new();
    let mut seeds = WireSeeds::of(scenario, SEED);
    for (index, link) in scenario.links.iter().enumerate() {
        let seeds = seeds.next_pair();
        match &link.conditions {
            None => add_link(&mut batch, index, link, hosts)?,
            Some(conditions) => {
                let setup = WireSetup::of(conditions);
                let wires = seeds.map(|seed| Wire::new(setup, seed));
                relays.push(add_relay(index, link, hosts, folder, wires)?);
            }
        }
    }
    if let Some(any) = hosts.values().next() {
        ip_batch(any, folder, "links", "-4", &batch)?;
    }
    for (name, host) in &scenario.hosts {
        let namespace = lookup(hosts, name)?;
        // Before the addresses: a sysctl such as accept_dad decides what happens to them.
        set_sysctls(namespace, host.sysctl.clone())?;
        let batch = host_batch(scenario, name, host);
        let family = if scenario.ipv6 { "-6" } else { "-4" };
        ip_batch(namespace, folder, name, family, &batch)?;
    }
    for (name, host) in hosts {
        wait_for_carriers(name, host, folder)?;
    }
    Ok(relays)
}

/// A link with conditions.
fn add_relay(
    index: usize,
    link: &Link,
    hosts: &Hosts,
    folder: &Path,
    wires: [Wire; 2],
) -> Result<Relay, WorldError> {
    let mut files = Vec::new();
    for (end_index, end) in link.ends.iter().enumerate() {
        let (host, interface) = end
            .split_once(':')
            .ok_or_else(|| WorldError::new(format!("\"{end}\" is no end of a link")))?;
        let host = lookup(hosts, host)?;
        files.push(relay::open(host, interface)?);
        let both = link.mtu;
        let mtu = both.and_then(|both| both.get(end_index).copied());
        // Without a discipline, like a veth; what the file's reader has not taken yet waits in a ring of that length.
        let text = format!(
            "link set {interface} address {} mtu {} txqueuelen {RING}\n",
            mac(index, end_index),
            mtu.unwrap_or(1500)
        );
        ip_batch(host, folder, "links", "-4", &text)?;
        let plain = format!("tc qdisc replace dev {interface} root noqueue");
        command::run_successfully(host, folder, &plain)?;
    }
    let ends: [File; 2] = files
        .try_into()
        .map_err(|_| WorldError::new("a link has two ends"))?;
    Relay::start(ends, wires)
}

/// Waits until every link that is up can carry packets; before that, the kernel drops them, and IPv6 answers no solicitation.
fn wait_for_carriers(name: &str, host: &HostNamespace, folder: &Path) -> Result<(), WorldError> {
    let deadline = Instant::now() + CARRIER;
    loop {
        let shown = command::run(host, folder, "ip -o link show up", Limit::time(CARRIER))?;
        let waiting = shown
            .output
            .lines()
            .any(|line| line.contains(" state DOWN ") || line.contains(" state LOWERLAYERDOWN "));
        if !waiting {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(WorldError(format!(
                "{name}: a link has no carrier after {CARRIER:?}:\n{}",
                shown.output
            )));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lookup<'a>(hosts: &'a Hosts, name: &str) -> Result<&'a Arc<HostNamespace>, WorldError> {
    hosts
        .get(name)
        .ok_or_else(|| WorldError::new(format!("there is no host {name}")))
}

/// What a new namespace inherits depends on the machine (net.core.devconf_inherit_init_net); experiments must not.
fn defaults() -> impl IntoIterator<Item = (String, String)> {
    [
        ("net.ipv4.conf.all.rp_filter", "0"),
        ("net.ipv4.conf.default.rp_filter", "0"),
        ("net.ipv4.ip_forward", "0"),
        ("net.ipv6.conf.all.forwarding", "0"),
        ("net.ipv6.conf.all.disable_ipv6", "0"),
        ("net.ipv6.conf.default.disable_ipv6", "0"),
        // Link-local addresses are usable at once.
        ("net.ipv6.conf.all.accept_dad", "0"),
        ("net.ipv6.conf.default.accept_dad", "0"),
        // Multicast memberships are reported at once, and not spread at random over the first second.
        ("net.ipv6.conf.all.mldv2_unsolicited_report_interval", "0"),
        (
            "net.ipv6.conf.default.mldv2_unsolicited_report_interval",
            "0",
        ),
        // So are a bridge's (`br_multicast_join_snoopers`).
        ("net.ipv4.conf.all.igmpv3_unsolicited_report_interval", "0"),
        (
            "net.ipv4.conf.default.igmpv3_unsolicited_report_interval",
            "0",
        ),
        // There is no router to solicit.
        ("net.ipv6.conf.default.router_solicitations", "0"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn add_link(
    batch: &mut String,
    index: usize,
    link: &Link,
    hosts: &Hosts,
) -> Result<(), WorldError> {
    let mut ends = Vec::new();
    for (end_index, end) in link.ends.iter().enumerate() {
        let (host, interface) = end
            .split_once(':')
            .ok_or_else(|| WorldError::new(format!("\"{end}\" is no end of a link")))?;
        let mtu = link
            .mtu
            .and_then(|both| both.get(end_index).copied())
            .unwrap_or(1500);
        // The two ends must differ in index: only then does the kernel act on their carrier at once, and not within a second
        // (linkwatch_urgent_event compares it with that of the peer, in whatever namespace).
        let mut text = format!(
            "name {interface} index {} address {} mtu {mtu}",
            FIRST_INDEX + 2 * index + end_index,
            mac(index, end_index)
        );
        let path = lookup(hosts, host)?.path();
        let _ = write!(text, " netns {}", path.display());
        ends.push(text);
    }
    let _ = writeln!(batch, "link add {} type veth peer {}", ends[0], ends[1]);
    Ok(())
}

fn host_batch(scenario: &Scenario, name: &str, host: &Host) -> String {
    let mut batch = String::from("link set lo up\n");
    let bridges = scenario.bridges.iter().filter(|one| one.host == name);
    for bridge in bridges {
        let _ = writeln!(batch, "link add name {} type bridge", bridge.name);
        for port in &bridge.ports {
            let _ = writeln!(batch, "link set {port} master {}", bridge.name);
        }
        let _ = writeln!(batch, "link set {} up", bridge.name);
    }
    for (link, index, interface) in ends_of(scenario, name) {
        let addresses = if scenario.ipv6 {
            &link.ipv6
        } else {
            &link.ipv4
        };
        let address = addresses.as_ref().map(|both| both[index].as_str());
        if let Some(address) = address.filter(|address| *address != "-") {
            let nodad = if scenario.ipv6 { " nodad" } else { "" };
            let _ = writeln!(batch, "address add {address} dev {interface}{nodad}");
        }
        let _ = writeln!(batch, "link set {interface} up");
    }
    for neighbor in &host.neighbors {
        let _ = writeln!(
            batch,
            "neighbor replace {} lladdr {} dev {} nud permanent",
            neighbor.address, neighbor.mac, neighbor.dev
        );
    }
    for route in &host.routes {
        let _ = writeln!(batch, "route add {route}");
    }
    batch
}

/// The ends of links that are in a host: link, index of the end, interface.
fn ends_of<'a>(
    scenario: &'a Scenario,
    host: &'a str,
) -> impl Iterator<Item = (&'a Link, usize, &'a str)> {
    scenario.links.iter().flat_map(move |link| {
        link.ends
            .iter()
            .enumerate()
            .filter_map(move |(index, end)| {
                let (owner, interface) = end.split_once(':')?;
                (owner == host).then_some((link, index, interface))
            })
    })
}

fn ip_batch(
    host: &Arc<HostNamespace>,
    folder: &Path,
    name: &str,
    family: &str,
    batch: &str,
) -> Result<(), WorldError> {
    let path = folder.join(format!("{name}.ip"));
    std::fs::write(&path, batch)
        .map_err(WorldError::doing(format!("writing {}", path.display())))?;
    command::run_successfully(
        host,
        folder,
        &format!("ip {family} -batch {}", path.display()),
    )
    .map_err(|error| WorldError(format!("{error}the batch was:\n{batch}")))
}

/// Sets sysctls of the namespace. /proc/sys/net shows the namespace of the thread that opens it.
/// The same congestion control everywhere, whatever the machine prefers, where a namespace may choose it: the kernel refuses what
/// `net.ipv4.tcp_allowed_congestion_control` leaves out (`tcp_set_default_congestion_control`). The laboratory's own sockets
/// choose it for themselves.
fn prefer_cubic(host: &Arc<HostNamespace>) -> Result<(), WorldError> {
    let path = "/proc/sys/net/ipv4/tcp_congestion_control";
    host.run(move || match std::fs::write(path, "cubic") {
        Err(error) if error.kind() != std::io::ErrorKind::PermissionDenied => {
            Err(WorldError(format!("writing cubic to {path}: {error}")))
        }
        _ => Ok(()),
    })
    .map_err(WorldError::doing("entering the namespace"))?
}

fn set_sysctls(
    host: &Arc<HostNamespace>,
    sysctls: impl IntoIterator<Item = (String, String)>,
) -> Result<(), WorldError> {
    let sysctls: Vec<_> = sysctls.into_iter().collect();
    host.run(move || {
        for (name, value) in sysctls {
            // sysctl(8): a slash in the name stands for a dot inside of one of its parts.
            let path: String = name
                .chars()
                .map(|c| match c {
                    '.' => '/',
                    '/' => '.',
                    _ => c,
                })
                .collect();
            std::fs::write(format!("/proc/sys/{path}"), &value)
                .map_err(WorldError::doing(format!("setting {name} = {value}")))?;
        }
        Ok(())
    })
    .map_err(WorldError::doing("entering the namespace"))?
}
