//! Failures before any packet exists: no route to the destination, no local port left.

use std::net::IpAddr;

use transect_path::{
    CauseId, Edge, HostEdge, Outcome, Point, Setting, SettingKind, Symptom, Verdict,
};
use transect_walk::routing::{RouteDecision, RouteQuery, RouteResult, route};

use crate::chain::{Chain, Role};
use crate::fate::Fate;
use crate::finding::{Amount, Finding, Prediction};
use crate::flow::FlowView;
use crate::judge::judge;
use crate::world::{Window, World, bounds_line, ip_counter, says};

/// What connect(2) and sendto(2) say where no port is free (EADDRNOTAVAIL), as programs print it.
const NO_PORT: &str = "Cannot assign requested address";

/// Where nothing was captured: the verdict that nothing can have been sent, if something shows it.
///
/// `destinations` are the addresses that the filter names.
pub(crate) fn examine(
    world: &World<'_>,
    view: &FlowView,
    destinations: &[IpAddr],
) -> Option<Verdict> {
    let (host, finding) = world
        .hosts()
        .find_map(|host| Some((host, unroutable(world, host, destinations)?)))
        .or_else(|| {
            world
                .hosts()
                .find_map(|host| Some((host, no_port(world, host)?)))
        })?;
    let mut fate = Fate::new(Outcome::NotSent, Symptom::SendFailed);
    fate.settled = Some((finding, Chain::new(&world.labels, &[(host, Role::Sender)])));
    let mut verdict = judge(world, view, fate, 1);
    verdict.flow = None;
    Some(verdict)
}

/// C12, C5, C6: the host's own look-up fails, and its counter or the program says so.
fn unroutable(world: &World<'_>, host: usize, destinations: &[IpAddr]) -> Option<Finding> {
    let config = world.config(host, Window::ALL)?;
    destinations.iter().find_map(|&destination| {
        if world.owns(host, destination) != Some(false) {
            return None;
        }
        let answer = route(config, &RouteQuery::output(destination, None));
        let result = answer.certain()?;
        let (cause, errors): (_, &[&str]) = match result.decision {
            RouteDecision::NoRoute => (CauseId::NoRoute, &["Network is unreachable"]),
            RouteDecision::Blackhole => (CauseId::BlackholeRoute, &["Invalid argument"]),
            RouteDecision::Prohibit => (CauseId::ProhibitRoute, &["Permission denied"]),
            RouteDecision::Unreachable => (
                CauseId::ProhibitRoute,
                &["No route to host", "Network is unreachable"],
            ),
            _ => return None,
        };
        let finding = failed_lookup(world, host, destination, cause, result);
        let told = says_one_of(world, errors);
        supported(world, host, destination, finding, told)
    })
}

fn failed_lookup(
    world: &World<'_>,
    host: usize,
    destination: IpAddr,
    cause: CauseId,
    result: &RouteResult,
) -> Finding {
    let tell = "`ip route get` on the sending host";
    let mut finding = Finding::new(cause, Some(host), Point::RouteOutput, tell);
    finding.prediction = Prediction::Certain;
    let text = result.text.clone();
    finding.evidence.push(says(
        world.meter(host, "config", "route"),
        match &text {
            Some(text) => format!("{destination} falls into `{text}`"),
            None => format!("no route matches {destination}"),
        },
    ));
    finding.setting = Some(Setting {
        kind: SettingKind::Route,
        name: destination.to_string(),
        value: text.unwrap_or_else(|| "none".to_owned()),
    });
    finding.advice.push(format!(
        "give {} a route to {destination} (see `ip route get {destination}` there)",
        world.labels[host]
    ));
    finding
}

/// A route that is missing harms nobody who does not ask for it: somebody must have asked.
fn supported(
    world: &World<'_>,
    host: usize,
    destination: IpAddr,
    mut finding: Finding,
    told: Option<&'static str>,
) -> Option<Finding> {
    let counter = ip_counter(destination.is_ipv6(), "OutNoRoutes");
    let refused = world.delta(host, &counter, Window::ALL).unwrap_or(0);
    if finding.cause == CauseId::NoRoute && refused > 0 {
        finding.amount = Amount::Covers;
        let edge = HostEdge::new(world.labels[host].clone(), Edge::left(Point::RouteOutput));
        finding.evidence.push(bounds_line(
            world.meter(host, "counter", &counter),
            edge,
            None,
            Some(0),
            format!("{counter} rose by {refused}"),
        ));
        return Some(finding);
    }
    // Without a word of the kernel's, the configuration and a command that failed make it likely and no more.
    let run = world.evidence.command.as_ref();
    let status = run.and_then(|run| run.status).filter(|&status| status != 0);
    let words = match (told, status) {
        (Some(error), _) => format!("the command said \"{error}\""),
        (None, Some(status)) => format!("the command ended with status {status}"),
        (None, None) => return None,
    };
    finding.evidence.push(says("command".to_owned(), words));
    Some(finding)
}

/// What the command printed, if it is one of these errors.
fn says_one_of(world: &World<'_>, errors: &[&'static str]) -> Option<&'static str> {
    errors
        .iter()
        .copied()
        .find(|error| world.evidence.command_output.contains(error))
}

/// F15: no local port was free. Nothing counts it; the program says it, and the sockets show it.
fn no_port(world: &World<'_>, host: usize) -> Option<Finding> {
    let error = says_one_of(world, &[NO_PORT])?;
    let config = world.config(host, Window::ALL)?;
    let range = config.sysctls.values.get("net.ipv4.ip_local_port_range")?;
    let mut ends = range
        .split_whitespace()
        .filter_map(|end| end.parse::<u16>().ok());
    let (first, last) = (ends.next()?, ends.next()?);
    let room = u64::from(last.saturating_sub(first)) + 1;
    let taken = world
        .host(host)
        .readings
        .iter()
        .filter_map(|reading| reading.sockets.as_deref())
        .map(|sockets| {
            let in_range = |socket: &&transect_config::Socket| {
                socket
                    .local
                    .port
                    .is_some_and(|port| (first..=last).contains(&port))
            };
            sockets.iter().filter(in_range).count() as u64
        })
        .max()?;
    // Half the range may go to each parity before connect() gives up (`__inet_hash_connect`).
    if taken * 2 < room {
        return None;
    }
    let tell = "`ss -tan` on the client against net.ipv4.ip_local_port_range";
    let mut finding = Finding::new(
        CauseId::EphemeralPortsExhausted,
        Some(host),
        Point::AppSend,
        tell,
    );
    finding.prediction = Prediction::Certain;
    finding.amount = Amount::Covers;
    finding.evidence.push(says(
        "command".to_owned(),
        format!("the command said \"{error}\""),
    ));
    finding.evidence.push(says(
        world.meter(host, "sockets", ""),
        format!("{taken} sockets have a port of the range {first} to {last}"),
    ));
    finding.setting = Some(Setting {
        kind: SettingKind::Sysctl,
        name: "net.ipv4.ip_local_port_range".to_owned(),
        value: format!("{first} {last}"),
    });
    finding.advice.push(
        "widen net.ipv4.ip_local_port_range, let connections live longer instead of opening new ones, or use more source addresses".to_owned(),
    );
    Some(finding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use transect_evidence::Evidence;
    use transect_path::{Certainty, CommandRun};

    fn evidence(status: i32, output: &str) -> Evidence {
        let mut config = transect_config::HostConfig {
            addresses: Some(Vec::new()),
            routes4: Some(Vec::new()),
            policy_rules4: Some(Vec::new()),
            ..Default::default()
        };
        config.links = Some(Vec::new());
        let reading = transect_evidence::Reading {
            time: transect_path::Timestamp(1),
            ended: transect_path::Timestamp(1),
            phase: transect_evidence::bundle::Phase::Before,
            counters: Default::default(),
            sockets: None,
            conntrack: None,
            config: Some(std::sync::Arc::new(config)),
            rules: None,
            unseen: Vec::new(),
        };
        Evidence {
            hosts: vec![transect_evidence::HostEvidence {
                label: "client".to_owned(),
                readings: vec![reading],
                ..Default::default()
            }],
            filter: Some("tcp and host 192.0.2.1".to_owned()),
            command: Some(CommandRun {
                argv: vec!["curl".to_owned()],
                status: Some(status),
            }),
            command_output: output.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn a_missing_route_is_likely_when_the_command_failed_and_nothing_when_it_did_not() {
        let report = crate::explain(&evidence(7, ""));
        let verdict = &report.verdicts[0];
        assert_eq!(verdict.outcome, Outcome::NotSent);
        assert_eq!(verdict.cause, Some(CauseId::NoRoute));
        assert_eq!(verdict.certainty, Certainty::Likely);
        let report = crate::explain(&evidence(0, ""));
        assert_eq!(report.verdicts[0].outcome, Outcome::Undetermined);
        assert_eq!(report.verdicts[0].cause, None);
    }
}
