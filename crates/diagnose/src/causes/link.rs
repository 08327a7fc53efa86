//! A3, A8, A9, B1 and the NIC's own statistics (A1, A2): what a device or its driver drops.

use transect_config::BridgePortState;
use transect_path::{CauseId, Point, Setting, SettingKind};

use super::neighbor_unresolved;
use crate::case::Case;
use crate::finding::{Amount, Finding, Prediction};
use crate::world::says;

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for host in case.hosts_at(Point::NicIn) {
        findings.extend(receiving(case, host));
    }
    for host in case.hosts_at(Point::Xdp) {
        findings.extend(xdp(case, host));
    }
    for host in case.hosts_at(Point::LinkInput) {
        findings.extend(bridge_port(case, host));
    }
    // The kernel takes the queue away from a device without carrier (`dev_deactivate`), so that packets die there; those that
    // a tap saw leave died in the driver.
    let queues = case.hosts_at(Point::Qdisc);
    for host in case.hosts_at(Point::DriverOut) {
        if !queues.contains(&host) {
            findings.extend(down(case, host, Point::DriverOut));
        }
    }
    for host in queues {
        // What waits for the next hop's address does not come so far.
        if !neighbor_unresolved::stops(case, host) {
            findings.extend(down(case, host, Point::Qdisc));
        }
    }
    findings
}

/// A1, A2, A3: ring, damaged and oversize frames, by the link's statistics.
fn receiving(case: &Case<'_>, host: usize) -> Vec<Finding> {
    let Some(device) = case.input(host) else {
        return Vec::new();
    };
    let named = |names: &[&str]| {
        names.iter().find_map(|name| {
            let name = format!("link.{device}.{name}");
            case.delta(host, &name)
                .filter(|&delta| delta > 0)
                .map(|delta| (name, delta))
        })
    };
    let mut findings = Vec::new();
    if let Some((name, delta)) = named(&[
        "rx_missed_errors",
        "rx_fifo_errors",
        "rx_over_errors",
        "rx_missed",
        "rx_fifo",
    ]) {
        let mut finding = case.metered(
            CauseId::NicRingOverrun,
            host,
            Point::NicIn,
            &name,
            delta,
            "the NIC's statistics (`ethtool -S`, `ip -s -s link`)",
        );
        finding.advice.push(format!(
            "raise the receive ring of {device} (`ethtool -G`), spread its interrupts"
        ));
        findings.push(finding);
    }
    if let Some((name, delta)) = named(&[
        "rx_crc_errors",
        "rx_frame_errors",
        "rx_length_errors",
        "rx_crc",
        "rx_frame",
        "rx_length",
        "rx_errors",
    ]) {
        let mut finding = case.metered(
            CauseId::LinkErrors,
            host,
            Point::NicIn,
            &name,
            delta,
            "the NIC's statistics (`ethtool -S`, `ip -s -s link`)",
        );
        finding
            .advice
            .push(format!("check cable, optics and duplex of {device}"));
        findings.push(finding);
    }
    let mtu = case
        .config(host)
        .and_then(|config| config.link(device)?.mtu);
    let too_long = case
        .suspicion
        .sample
        .length
        .zip(mtu)
        .filter(|(length, mtu)| length > mtu);
    if let Some((length, mtu)) = too_long
        && let Some((name, delta)) = named(&["rx_dropped"])
    {
        let mut finding = case.metered(
            CauseId::OversizeFrame,
            host,
            Point::NicIn,
            &name,
            delta,
            "the frame's length, the device's MTU and its drop counter",
        );
        finding.prediction = Prediction::Certain;
        finding.evidence.push(says(
            case.world.meter(host, "config", &format!("link/{device}")),
            format!("packets of {length} bytes, and an MTU of {mtu}"),
        ));
        finding.setting = Some(Setting {
            kind: SettingKind::Link,
            name: format!("{device} mtu"),
            value: mtu.to_string(),
        });
        finding
            .advice
            .push("make the MTUs of both ends of the link alike".to_owned());
        findings.push(finding);
    }
    findings
}

/// B1: an XDP program. Most drivers count its drops nowhere, so its presence alone makes it possible.
fn xdp(case: &Case<'_>, host: usize) -> Option<Finding> {
    let device = case.input(host)?;
    let program = case.config(host)?.link(device)?.xdp.first()?;
    let mut finding = Finding::new(
        CauseId::XdpDrop,
        Some(host),
        Point::Xdp,
        "the driver's xdp statistics (`ethtool -S`), or the program's own counters",
    );
    finding.prediction = Prediction::Possible;
    let prefix = format!("ethtool.{device}.");
    let drops: u64 = case
        .world
        .moved(host, &prefix, "xdp_drops", case.suspicion.window)
        .into_iter()
        .map(|(_, delta)| delta)
        .sum();
    if drops > 0 {
        finding.amount = Amount::compare(drops, case.lost());
        finding.accounted = Some(drops);
        finding.evidence.push(says(
            case.world
                .meter(host, "counter", &format!("{prefix}xdp_drops")),
            format!("the driver counted {drops} packets dropped by XDP"),
        ));
    }
    let id = program
        .id
        .map_or_else(|| "?".to_owned(), |id| id.to_string());
    let name = program
        .name
        .as_ref()
        .map_or_else(String::new, |name| format!("\"{name}\", "));
    finding.evidence.push(says(
        case.world.meter(host, "config", &format!("link/{device}")),
        format!(
            "an XDP program ({name}id {id}, {}) is attached to {device}",
            program.mode
        ),
    ));
    finding.setting = Some(Setting {
        kind: SettingKind::Xdp,
        name: device.to_owned(),
        value: match &program.name {
            Some(name) => format!("{name} (id {id})"),
            None => format!("id {id}"),
        },
    });
    finding.advice.push(format!("look at the program (`bpftool prog show id {id}`), or take it off (`ip link set {device} xdp off`)"));
    Some(finding)
}

/// A9: the bridge port does not forward.
fn bridge_port(case: &Case<'_>, host: usize) -> Option<Finding> {
    let device = case.input(host)?;
    let state = case.config(host)?.link(device)?.bridge_port?;
    if state == BridgePortState::Forwarding {
        return None;
    }
    let mut finding = Finding::new(
        CauseId::BridgePortBlocked,
        Some(host),
        Point::LinkInput,
        "`bridge link`",
    );
    finding.prediction = Prediction::Certain;
    finding.evidence.push(says(
        case.world.meter(host, "config", &format!("link/{device}")),
        format!("the bridge port {device} is {state}"),
    ));
    finding.setting = Some(Setting {
        kind: SettingKind::Link,
        name: device.to_owned(),
        value: format!("bridge port {state}"),
    });
    finding
        .advice
        .push("wait for the spanning tree, or set the port's state (`bridge link set`)".to_owned());
    Some(finding)
}

/// A8: the outgoing device is down or has no carrier.
fn down(case: &Case<'_>, host: usize, point: Point) -> Option<Finding> {
    let device = case.output(host)?;
    let link = case.config(host)?.link(device)?;
    if link.is_up() && link.has_carrier() || link.flags.is_empty() {
        return None;
    }
    let mut finding = Finding::new(
        CauseId::LinkDown,
        Some(host),
        point,
        "`ip -s link`: state, and dropped on the way out",
    );
    finding.prediction = Prediction::Certain;
    let counter = format!("link.{device}.tx_dropped");
    if let Some(delta) = case.delta(host, &counter).filter(|&delta| delta > 0) {
        finding.amount = Amount::compare(delta, case.lost());
        finding.accounted = Some(delta);
        finding.evidence.push(says(
            case.world.meter(host, "counter", &counter),
            format!("{device} dropped {delta} on the way out"),
        ));
    }
    let state = if link.is_up() {
        "without carrier"
    } else {
        "down"
    };
    finding.evidence.push(says(
        case.world.meter(host, "config", &format!("link/{device}")),
        format!("{device} is {state}"),
    ));
    finding.setting = Some(Setting {
        kind: SettingKind::Link,
        name: device.to_owned(),
        value: state.to_owned(),
    });
    finding.advice.push(format!(
        "bring {device} up, check its cable or the other end of its pair"
    ));
    Some(finding)
}
