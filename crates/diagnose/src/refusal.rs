//! Flows whose sender was told no: by a reset, or by an ICMP error, from whoever.

use transect_evidence::conversation::QuotedError;
use transect_packet::IcmpVersion;
use transect_path::{Direction, Edge, HostEdge, Outcome, Point, Symptom, What};

use crate::chain::Role;
use crate::fate::Fate;
use crate::flow::{FlowView, TapEnd};
use crate::suspect::{Draft, by_class};
use crate::tcp::Tcp;
use crate::world::{World, bounds_line, count, says};

/// A connection attempt that was answered by a reset or an ICMP error.
pub(crate) fn of_connection(tcp: &Tcp<'_, '_>) -> Option<Fate> {
    let syns = tcp.view.any(Direction::ToServer, What::Syn);
    if syns == 0 || tcp.is_established() {
        return None;
    }
    let reset = tcp.view.any(Direction::ToClient, What::Rst) > 0;
    let error = error(tcp.view, Direction::ToServer);
    // An error about a SYN that was answered all the same is history.
    let answered = tcp.view.any(Direction::ToClient, What::SynAck) > 0;
    if !reset && (error.is_none() || answered) {
        return None;
    }
    let mut draft = Draft::new(
        tcp.world,
        tcp.view,
        What::Syn,
        Direction::ToServer,
        &by_class(What::Syn),
    );
    draft.bound_by_counters();
    let mut fate = Fate::new(Outcome::Refused, Symptom::ConnectionRefused);
    tell(tcp.world, tcp.view, reset, error, &mut fate);
    end_at_refuser(tcp.world, tcp.view, &mut draft, reset, error);
    let lost = Some(draft.sent);
    fate.suspicions.push(draft.finish(lost, true));
    Some(fate)
}

/// A reset that ended an open connection before it had done its work.
pub(crate) fn reset_of_connection(tcp: &Tcp<'_, '_>) -> Option<Fate> {
    let to_client = tcp.view.any(Direction::ToClient, What::Rst) > 0;
    if !to_client {
        return None;
    }
    // A server that has answered and then resets (an application that closes with bytes unread) has done its work.
    let answered = tcp.view.any(Direction::ToClient, What::Data) > 0;
    if answered {
        return None;
    }
    let mut fate = Fate::new(Outcome::Refused, Symptom::ConnectionReset);
    tell(tcp.world, tcp.view, true, None, &mut fate);
    if let Some(server) = tcp.end(Direction::ToServer) {
        for (counter, words) in [
            (
                "TcpExtTCPAbortOnClose",
                "the application closed the connection with bytes unread",
            ),
            (
                "TcpExtTCPAbortOnData",
                "the application closed the connection by a reset (SO_LINGER 0), or after its peer had gone",
            ),
        ] {
            if tcp
                .world
                .delta(server, counter, crate::world::Window::ALL)
                .unwrap_or(0)
                > 0
            {
                fate.evidence
                    .push(says(tcp.world.meter(server, "counter", counter), words));
            }
        }
    }
    Some(fate)
}

/// An ICMP error that says that packets of this direction cannot be delivered. "Fragmentation needed" and "packet too big"
/// are path MTU discovery at work and no refusal.
pub(crate) fn error(view: &FlowView, direction: Direction) -> Option<&QuotedError> {
    view.seen
        .iter()
        .flat_map(|seen| &seen.conversation.errors)
        .find(|error| {
            error.direction == direction
                && match error.version {
                    IcmpVersion::V4 => match error.kind {
                        3 => error.code != 4,
                        11 | 12 => true,
                        _ => false,
                    },
                    IcmpVersion::V6 => matches!(error.kind, 1 | 3 | 4),
                }
        })
}

/// Says who refused, and how.
pub(crate) fn tell(
    world: &World<'_>,
    view: &FlowView,
    reset: bool,
    error: Option<&QuotedError>,
    fate: &mut Fate,
) {
    if reset {
        let taps = view.placement(world, Direction::ToClient);
        for (host, role) in taps {
            let (end, point) = match role {
                Role::Receiver | Role::Observer => (TapEnd::In, Point::TapIn),
                _ => (TapEnd::Out, Point::TapOut),
            };
            let resets = view.count(host, role, end, Direction::ToClient, What::Rst);
            if resets > 0 {
                let verb = if end == TapEnd::In { "arrived" } else { "left" };
                fate.evidence.push(bounds_line(
                    world.meter(
                        host,
                        "capture",
                        view.interface(world, host, role, end, Direction::ToClient)
                            .as_deref()
                            .unwrap_or(""),
                    ),
                    HostEdge::new(world.labels[host].clone(), Edge::left(point)),
                    Some(resets),
                    Some(resets),
                    format!("{} {verb}", count(resets, "reset")),
                ));
            }
        }
    }
    if let Some(error) = error {
        let owners = world.owners(error.reporter);
        let who = owners.first().map_or_else(
            || error.reporter.to_string(),
            |&host| format!("{} ({})", world.labels[host], error.reporter),
        );
        let meter = view
            .seen
            .iter()
            .find(|seen| seen.conversation.errors.iter().any(|own| own == error));
        let meter = meter.map_or_else(String::new, |seen| {
            world.meter(seen.host, "capture", "icmp")
        });
        fate.evidence.push(says(
            meter,
            format!(
                "{who} said \"{}\" ({})",
                words(error),
                count(error.count, "ICMP error")
            ),
        ));
    }
}

/// The packets died on the host that refused them: none of them got past it.
pub(crate) fn end_at_refuser(
    world: &World<'_>,
    view: &FlowView,
    draft: &mut Draft<'_, '_>,
    reset: bool,
    error: Option<&QuotedError>,
) {
    let receiver = draft.receiver();
    let reporter = error.and_then(|error| world.owners(error.reporter).first().copied());
    let refuser = reporter.or_else(|| {
        // The reset was made where it left a host that it had not entered.
        let sent = |host: usize| {
            let out = view.tallies(host, Direction::ToClient).any(|(_, tally)| {
                tally.counts.rst > 0
                    && tally.tap.direction == Some(transect_packet::FrameDirection::Out)
            });
            let came_in = view.tallies(host, Direction::ToClient).any(|(_, tally)| {
                tally.counts.rst > 0
                    && tally.tap.direction == Some(transect_packet::FrameDirection::In)
            });
            out && !came_in
        };
        reset
            .then(|| world.hosts().find(|&host| sent(host)))
            .flatten()
    });
    if let Some(host) = refuser {
        // A router answers from route_input (no route) up to the neighbour layer (nobody there).
        let last = if Some(host) == receiver {
            Point::SocketInput
        } else {
            Point::Neighbor
        };
        let what = if reset { "a reset" } else { "an ICMP error" };
        draft.meter(
            host,
            Edge::left(last),
            None,
            Some(0),
            world.meter(host, "capture", ""),
            format!("{} answered by {what}", world.labels[host]),
        );
        // Who answered had the packets.
        if Some(host) == receiver && draft.sent > 0 {
            let sent = draft.sent;
            draft.meter(
                host,
                Edge::left(Point::TapIn),
                Some(sent),
                None,
                world.meter(host, "capture", ""),
                format!("{} answered, so it had the packets", world.labels[host]),
            );
        }
    }
}

/// An ICMP error in the words of its RFC (792, 1812, 4443).
fn words(error: &QuotedError) -> &'static str {
    match (error.version, error.kind, error.code) {
        (IcmpVersion::V4, 3, 0) => "network unreachable",
        (IcmpVersion::V4, 3, 1) => "host unreachable",
        (IcmpVersion::V4, 3, 2) => "protocol unreachable",
        (IcmpVersion::V4, 3, 3) => "port unreachable",
        (IcmpVersion::V4, 3, 9 | 10 | 13) => "administratively prohibited",
        (IcmpVersion::V4, 3, _) => "unreachable",
        (IcmpVersion::V4, 11, _) | (IcmpVersion::V6, 3, _) => "time exceeded",
        (IcmpVersion::V6, 1, 0) => "no route to destination",
        (IcmpVersion::V6, 1, 1) => "administratively prohibited",
        (IcmpVersion::V6, 1, 3) => "address unreachable",
        (IcmpVersion::V6, 1, 4) => "port unreachable",
        (IcmpVersion::V6, 1, 5) => "source address failed policy",
        (IcmpVersion::V6, 1, 6) => "reject route to destination",
        (IcmpVersion::V6, 1, _) => "unreachable",
        _ => "parameter problem",
    }
}
