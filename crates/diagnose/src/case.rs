//! One suspicion: a class of packets of one flow (or several alike) that went missing, with all that is known of where.

use std::net::IpAddr;

use transect_config::HostConfig;
use transect_packet::{MacAddress, Tuple, protocol};
use transect_path::{CauseId, Direction, Point, Timestamp, What};

use crate::chain::{Bracket, Chain, Meter};
use crate::finding::{Amount, Finding, Prediction};
use crate::world::{Window, World, ip_counter, says};

/// What the lost packets look like, for rules, routes and sizes. Addresses are those at the client unless `tuple_at` says otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// Source and destination as sent.
    pub(crate) tuple: Tuple,
    /// TCP flag bits; None for other protocols.
    pub(crate) tcp_flags: Option<u8>,
    /// ICMP type and code.
    pub(crate) icmp: Option<(u8, u8)>,
    /// Bytes from the IP header on, of the largest lost packet.
    pub(crate) length: Option<u32>,
    /// TTL or hop limit where last seen.
    pub(crate) ttl: Option<u8>,
    /// Don't Fragment (always so for IPv6).
    pub(crate) dont_fragment: bool,
    /// Destination MAC address where last seen.
    pub(crate) destination_mac: Option<MacAddress>,
}

/// A class of packets that went missing, and what is known of where.
#[derive(Debug, Clone)]
pub(crate) struct Suspicion {
    pub(crate) what: What,
    pub(crate) direction: Direction,
    /// How many went missing; None where no capture could see them.
    pub(crate) lost: Option<u64>,
    pub(crate) chain: Chain,
    pub(crate) meters: Vec<Meter>,
    pub(crate) bracket: Bracket,
    /// When each of them was last seen (bounded), in order.
    pub(crate) times: Vec<Timestamp>,
    pub(crate) window: Window,
    pub(crate) sample: Sample,
    /// Whether it is certain that these packets were lost; else it is one of several readings of the same symptom.
    pub(crate) certain: bool,
    /// Nothing says that any are missing: only a cause that proves itself is heard.
    pub(crate) needs_proof: bool,
    /// Interfaces by which the packets came into a host, and by which they left it.
    pub(crate) interfaces: Vec<Passage>,
    /// The packets' addresses as they come to a host, where they are not those at the client.
    pub(crate) arriving: Vec<(usize, Tuple)>,
    /// The packets' addresses behind PRE_ROUTING of a host, where it translates them.
    pub(crate) routed: Vec<(usize, Tuple)>,
    /// The host that knew the connection by other addresses than those with which these packets came there, and those.
    pub(crate) former: Option<(usize, Tuple)>,
    /// The interface by which packets of the other direction came to the host that sends these.
    pub(crate) opposite: Option<String>,
    /// Whether anything of the other direction was seen: then connection tracking may know the flow.
    pub(crate) answered: bool,
}

/// The interfaces that packets of one direction use on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Passage {
    pub(crate) host: usize,
    pub(crate) input: Option<String>,
    pub(crate) output: Option<String>,
}

/// A suspicion in its world: what a cause is asked about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) world: &'a World<'a>,
    pub(crate) suspicion: &'a Suspicion,
}

impl<'a> Case<'a> {
    pub(crate) fn v6(&self) -> bool {
        self.suspicion.sample.tuple.is_ipv6()
    }

    pub(crate) fn is_tcp(&self) -> bool {
        self.suspicion.sample.tuple.protocol == protocol::TCP
    }

    pub(crate) fn is_udp(&self) -> bool {
        self.suspicion.sample.tuple.protocol == protocol::UDP
    }

    pub(crate) fn lost(&self) -> Option<u64> {
        self.suspicion.lost
    }

    /// The hosts on which the packets can have died at this point.
    pub(crate) fn hosts_at(&self, point: Point) -> Vec<usize> {
        let Suspicion { chain, bracket, .. } = self.suspicion;
        chain
            .between(*bracket)
            .into_iter()
            .filter(|station| station.point == point)
            .filter_map(|station| station.host)
            .collect()
    }

    /// Whether the packets can have died at this point of this host.
    pub(crate) fn possible_at(&self, host: Option<usize>, point: Point) -> bool {
        self.suspicion
            .chain
            .inside(self.suspicion.bracket, host, point)
    }

    /// Source and destination as the packets come to this host.
    pub(crate) fn arriving_at(&self, host: usize) -> Tuple {
        let other = self.suspicion.arriving.iter().find(|(at, _)| *at == host);
        other.map_or(self.suspicion.sample.tuple, |&(_, tuple)| tuple)
    }

    /// Source and destination as this host routes and delivers the packets: behind its own translation.
    pub(crate) fn tuple_at(&self, host: usize) -> Tuple {
        let translated = self.suspicion.routed.iter().find(|(at, _)| *at == host);
        translated.map_or_else(|| self.arriving_at(host), |&(_, tuple)| tuple)
    }

    pub(crate) fn source_at(&self, host: usize) -> IpAddr {
        self.tuple_at(host).source.address
    }

    pub(crate) fn destination_at(&self, host: usize) -> IpAddr {
        self.tuple_at(host).destination.address
    }

    pub(crate) fn passage(&self, host: usize) -> Option<&'a Passage> {
        self.suspicion
            .interfaces
            .iter()
            .find(|passage| passage.host == host)
    }

    pub(crate) fn input(&self, host: usize) -> Option<&'a str> {
        self.passage(host)?.input.as_deref()
    }

    pub(crate) fn output(&self, host: usize) -> Option<&'a str> {
        self.passage(host)?.output.as_deref()
    }

    pub(crate) fn config(&self, host: usize) -> Option<&'a HostConfig> {
        self.world.config(host, self.suspicion.window)
    }

    /// A counter's difference over the time of the loss.
    pub(crate) fn delta(&self, host: usize, name: &str) -> Option<u64> {
        self.world.delta(host, name, self.suspicion.window)
    }

    /// An IP counter's difference over the time of the loss, of the flow's IP version.
    pub(crate) fn ip_delta(&self, host: usize, name: &str) -> Option<u64> {
        self.delta(host, &ip_counter(self.v6(), name))
    }

    /// A finding by a counter that only this cause moves: none when it was not read or did not move.
    pub(crate) fn counted(
        &self,
        cause: CauseId,
        host: usize,
        point: Point,
        counter: &str,
        tell: &str,
    ) -> Option<Finding> {
        let delta = self.delta(host, counter).filter(|&delta| delta > 0)?;
        Some(self.metered(cause, host, point, counter, delta, tell))
    }

    /// A finding by a meter that rose by `delta`.
    pub(crate) fn metered(
        &self,
        cause: CauseId,
        host: usize,
        point: Point,
        counter: &str,
        delta: u64,
        tell: &str,
    ) -> Finding {
        let mut finding = Finding::new(cause, Some(host), point, tell);
        let meter = self.world.meter(host, "counter", counter);
        finding.amount = Amount::compare(delta, self.lost());
        finding.prediction = Prediction::Possible;
        finding.accounted = Some(delta);
        finding
            .evidence
            .push(says(meter.clone(), format!("{counter} rose by {delta}")));
        finding.meter = Some(meter);
        finding
    }
}
