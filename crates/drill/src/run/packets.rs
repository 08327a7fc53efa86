//! Packets: those of the remote side, and those that the host must send.

use std::time::Duration;

use super::timing::Moment;
use super::{Runner, in_words};
use crate::compare::compare;
use crate::script::{Body, Echoed, Event, EventTime, Flags, Icmp, OptionList, Packet, Segment};
use crate::wire::{Live, build, read};

/// What several packets that make up one of the script's have from the last of them.
const LAST: Flags = Flags::PSH.with(Flags::FIN);

/// How long a packet is waited for that may come whenever.
const WHENEVER: Duration = Duration::from_secs(120);

/// A packet of the host.
struct Came {
    time: Duration,
    /// The flow's place among all.
    flow: usize,
    /// With the numbers of the wire.
    live: Packet,
    bytes: Vec<u8>,
}

impl Runner<'_> {
    /// The remote side sends a packet.
    pub(super) fn inject(&mut self, event: &Event, packet: &Packet) -> Result<Moment, String> {
        let index = self.flows.inbound(packet);
        let flow = self.flows.get_mut(index).ok_or("there is no socket")?;
        flow.hear(packet);
        let (live, ends) = (flow.to_live(packet), flow.ends());
        let quoted = match &live.body {
            Body::Icmp(message) => self.quoted(index, message)?,
            _ => Vec::new(),
        };
        let bytes = build(&live, ends, &quoted).map_err(|error| error.to_string())?;
        let started = self.wait_for(event)?;
        self.world.inject(&bytes).map_err(in_words)?;
        let ended = self.world.now();
        Ok(Moment { started, ended })
    }

    /// What an ICMP error quotes: what the script says, or the last packet that the host sent.
    fn quoted(&self, index: usize, message: &Icmp) -> Result<Vec<u8>, String> {
        let flow = self.flows.get(index).ok_or("there is no socket")?;
        let body = match message.echoed {
            None => return Ok(flow.last_sent.clone()),
            Some(Echoed::Udp(length)) => Body::Udp(length),
            Some(Echoed::Tcp { sequence, length }) => Body::Tcp(Segment {
                flags: Flags::ACK,
                sequence,
                length,
                ack: Some(0),
                window: Some(0),
                urgent: None,
                options: OptionList::These(Vec::new()),
            }),
        };
        let packet = Packet {
            direction: crate::script::Direction::Out,
            ip: crate::script::IpInfo::default(),
            ports: None,
            body,
        };
        build(&packet, flow.ends().reversed(), &[]).map_err(|error| error.to_string())
    }

    /// The host must send a packet.
    pub(super) fn expect(&mut self, event: &Event, expected: &Packet) -> Result<Moment, String> {
        let window = self.window(event.time);
        let deadline = match window {
            Some((_, latest)) => latest.saturating_add(self.world.grace()),
            None => self.world.now().saturating_add(WHENEVER),
        };
        let Some(Came {
            time,
            flow: index,
            live,
            bytes,
        }) = self.next_packet(expected, deadline)?
        else {
            return Err(self.nothing_came(expected, window));
        };
        let flow = self.flows.get_mut(index).ok_or("there is no socket")?;
        flow.learn(expected, &live);
        flow.last_sent = bytes;
        let whole = self.whole(expected, live, deadline)?;
        let flow = self.flows.get_mut(index).ok_or("there is no socket")?;
        let actual = flow.to_script(&whole);
        let ticks = self.stamp_tolerance();
        compare(expected, &actual, ticks)
            .map_err(|difference| self.differs(expected, &actual, time, event.time, &difference))?;
        if let Some(flow) = self.flows.get_mut(index) {
            flow.confirm(expected, &whole);
        }
        self.in_time("the packet came", window, time)
            .map_err(|late| self.differs(expected, &actual, time, event.time, &late))?;
        self.last_sent = Some(time);
        Ok(Moment::at(time))
    }

    /// The next packet of the flow that is looked at; nothing where none comes by then.
    fn next_packet(
        &mut self,
        expected: &Packet,
        deadline: Duration,
    ) -> Result<Option<Came>, String> {
        loop {
            let Some(captured) = self.world.capture(deadline).map_err(in_words)? else {
                return Ok(None);
            };
            let Some(live) = read(&captured.bytes) else {
                continue;
            };
            if let Some(flow) = self.belongs(expected, &live) {
                return Ok(Some(Came {
                    time: captured.time,
                    flow,
                    live: live.packet,
                    bytes: captured.bytes,
                }));
            }
        }
    }

    /// A packet together with those behind it that carry the rest of what is expected at once.
    fn whole(
        &mut self,
        expected: &Packet,
        mut live: Packet,
        deadline: Duration,
    ) -> Result<Packet, String> {
        let wanted = match &expected.body {
            Body::Tcp(segment) if !self.options.strict_segments => segment.length,
            _ => return Ok(live),
        };
        loop {
            let Body::Tcp(so_far) = &mut live.body else {
                return Ok(live);
            };
            if so_far.length == 0 || so_far.length >= wanted {
                return Ok(live);
            }
            let Some(came) = self.next_packet(expected, deadline)? else {
                return Ok(live);
            };
            let Body::Tcp(next) = &came.live.body else {
                return Ok(live);
            };
            if next.sequence != so_far.end() || next.length == 0 {
                return Ok(live);
            }
            // PSH and FIN are the last one's; the rest of the header is the first one's.
            so_far.length = so_far.length.saturating_add(next.length);
            so_far.flags = so_far.flags.without(LAST).with(next.flags);
        }
    }

    /// The flow of a packet, where it is the one that is looked at: that of the ports which the script names, or the one under test.
    fn belongs(&mut self, expected: &Packet, live: &Live) -> Option<usize> {
        // What answers a ping is no socket's affair; a script that waits for it says so.
        let informs = matches!(live.packet.body, Body::Icmp(_)) && live.quoted.is_none();
        if informs && !matches!(expected.body, Body::Icmp(_)) {
            return None;
        }
        let index = self.flows.outbound(live)?;
        let wanted = match expected.ports {
            Some(ports) => self.flows.get(index)?.ports() == ports,
            None => self.flows.current() == Some(index),
        };
        wanted.then_some(index)
    }

    /// How many ticks a timestamp may be off; nothing where the script does not ask for it.
    fn stamp_tolerance(&self) -> Option<u32> {
        let tick = self.options.timestamp_tick;
        if tick.is_zero() {
            return None;
        }
        let ticks = self.options.tolerance.as_nanos().div_ceil(tick.as_nanos());
        Some(u32::try_from(ticks).unwrap_or(u32::MAX))
    }

    fn nothing_came(&self, expected: &Packet, window: Option<(Duration, Duration)>) -> String {
        let when = match window {
            Some((earliest, latest)) => format!(
                " between {} and {}",
                self.shown(earliest),
                self.shown(latest)
            ),
            None => format!(" within {} seconds", WHENEVER.as_secs()),
        };
        format!("expected a packet{when}, none came\n  script packet: {expected}")
    }

    /// Both packets in the script's notation.
    fn differs(
        &self,
        expected: &Packet,
        actual: &Packet,
        time: Duration,
        event: EventTime,
        difference: &str,
    ) -> String {
        let mut actual = actual.clone();
        // What the script is silent about would only hide what it is about.
        if expected.ip.tos.is_none() {
            actual.ip.tos = None;
        }
        if expected.ip.ttl.is_none() {
            actual.ip.ttl = None;
        }
        if expected.ip.flow_label.is_none() {
            actual.ip.flow_label = None;
        }
        let due = match self.due(event) {
            Some(due) => self.shown(due),
            None => "*".to_owned(),
        };
        let came = self.shown(time);
        let width = due.len().max(came.len());
        format!(
            "{difference}\n  script packet: {due:>width$} {expected}\n  actual packet: {came:>width$} {actual}"
        )
    }
}
