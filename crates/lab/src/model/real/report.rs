//! What became of the host: its counters as `nstat` shows them, its sockets as `ss` does.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use transect_evidence::counters;
use transect_host::Host;

use super::{AttachPlan, ErrandReport, ServiceReport};
use crate::error::WorldError;

/// Name and version of the schema.
pub const HOST_SCHEMA: &str = "transect.host/1";

/// A host at its end.
#[derive(Debug, Clone, Serialize)]
pub struct HostReport {
    /// [`HOST_SCHEMA`].
    pub schema: &'static str,
    /// The device.
    pub device: String,
    /// How long it ran.
    pub seconds: f64,
    /// Every counter that is not zero, under the name that `nstat` gives it.
    pub counters: BTreeMap<String, u64>,
    /// As `ip -j -s link` has them.
    pub links: Value,
    /// As `ss -H -O -n -e -m -i -o -t -u -w -a` prints them.
    pub sockets: Vec<String>,
    /// As `conntrack -L -o extended` prints them.
    pub conntrack: Vec<String>,
    /// Frames that the machine's device did not take.
    pub unsent: u64,
    /// What the host holds.
    pub left: Left,
    /// Servers.
    pub services: Vec<ServiceReport>,
    /// Clients.
    pub errands: Vec<ErrandReport>,
}

/// What a host holds: what is to be gone when connections are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    /// TCP connections and listeners, and sockets of other kinds.
    pub sockets: usize,
    /// Connections in TIME_WAIT, and FIN_WAIT_2 without a program.
    pub time_wait: usize,
    /// Timers that run.
    pub timers: usize,
    /// Tracked connections.
    pub conntrack: usize,
}

pub(super) fn of_host(host: &Host, plan: &AttachPlan) -> Result<HostReport, WorldError> {
    let mut counted = counters::snmp(&host.counters().snmp(false, 64)).value;
    counted.merge(counters::snmp(&host.counters().netstat()).value);
    counted.merge(counters::snmp6(&host.counters().snmp6()).value);
    let settings = [
        "IpForwarding",
        "IpDefaultTTL",
        "TcpRtoAlgorithm",
        "TcpRtoMin",
        "TcpRtoMax",
    ];
    let counters = counted
        .iter()
        .filter(|(name, value)| *value != 0 && !settings.contains(name))
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let links = serde_json::from_str(&host.link_json())
        .map_err(WorldError::doing("writing the interfaces as JSON"))?;
    let lines = |text: String| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let holdings = host.holdings();
    Ok(HostReport {
        schema: HOST_SCHEMA,
        device: plan.device.clone(),
        seconds: 0.0,
        counters,
        links,
        sockets: lines(host.sockets_text()),
        conntrack: lines(host.conntrack_entries_text()),
        unsent: 0,
        left: Left {
            sockets: holdings.sockets,
            time_wait: holdings.time_wait,
            timers: holdings.timers,
            conntrack: holdings.tracked,
        },
        services: Vec::new(),
        errands: Vec::new(),
    })
}

impl HostReport {
    /// Whether every client did what it was to do.
    pub fn succeeded(&self) -> bool {
        self.errands.iter().all(|errand| errand.done)
    }

    /// For people: the clients and servers, then counters and sockets as `nstat` and `ss` print them. Text from files and
    /// peers is not cleaned.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        for errand in &self.errands {
            let outcome = match (&errand.error, errand.done) {
                (Some(error), _) => error.as_str(),
                (None, true) => "done",
                (None, false) => "not finished",
            };
            let _ = writeln!(
                text,
                "{}: {outcome}: {} connections, {} bytes sent, {} received in {:.3} s",
                errand.errand, errand.connections, errand.sent, errand.received, errand.seconds
            );
        }
        for service in &self.services {
            let _ = writeln!(
                text,
                "{}:{}: {} accepted, {} open, {} failed, {} bytes received, {} sent",
                service.service,
                service.port,
                service.accepted,
                service.open,
                service.failed,
                service.received,
                service.sent
            );
        }
        if self.unsent > 0 {
            let _ = writeln!(
                text,
                "{} frames were not taken by {}: is it up?",
                self.unsent, self.device
            );
        }
        let _ = writeln!(text, "#model");
        for (name, value) in &self.counters {
            let _ = writeln!(text, "{name:<32}{value:<16}   0.0");
        }
        for line in &self.sockets {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}
