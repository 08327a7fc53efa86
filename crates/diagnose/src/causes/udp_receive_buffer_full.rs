//! H1: the UDP socket's receive buffer is full: the application does not read fast enough.

use transect_config::SocketProtocol;
use transect_path::{CauseId, Point, Setting, SettingKind};

use super::listener::name;
use crate::case::Case;
use crate::finding::{Amount, Finding, Prediction};
use crate::world::says;

const TELL: &str = "`ss -uanm` on the receiver: the socket's own drop count (d)";

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    if !case.is_udp() {
        return Vec::new();
    }
    case.hosts_at(Point::ReceiveBuffer)
        .into_iter()
        .filter_map(|host| at(case, host))
        .collect()
}

fn at(case: &Case<'_>, host: usize) -> Option<Finding> {
    let counter = if case.v6() {
        "Udp6RcvbufErrors"
    } else {
        "UdpRcvbufErrors"
    };
    let mut finding = case.counted(
        CauseId::UdpReceiveBufferFull,
        host,
        Point::ReceiveBuffer,
        counter,
        TELL,
    )?;
    let tuple = case.tuple_at(host);
    let local = (tuple.destination.address, tuple.destination.port);
    let peer = (tuple.source.address, tuple.source.port);
    let mut seen = None;
    let (mut first, mut most, mut fullest) = (None, 0, 0);
    let mut fresh = false;
    for (time, socket) in case.world.sockets(host) {
        if socket.protocol != SocketProtocol::Udp || !socket.accepts(local, peer, case.input(host))
        {
            continue;
        }
        let drops = socket.dropped().unwrap_or(0);
        if first.is_none() {
            let before = case.world.host(host).readings.first();
            fresh = before.is_some_and(|reading| reading.time < time);
        }
        first.get_or_insert(drops);
        most = most.max(drops);
        fullest = fullest.max(socket.recv_queue);
        seen = Some(socket);
    }
    if let Some(socket) = seen {
        // A socket that came during the observation began without drops.
        let own = if fresh {
            most
        } else {
            most.saturating_sub(first.unwrap_or(0))
        };
        let meter = case.world.meter(host, "socket", &name(socket));
        if own > 0 {
            finding.own_meter = true;
            finding.prediction = Prediction::Certain;
            // What this socket did not drop it took: its count is the whole of the loss.
            finding.amount = Amount::compare(own, finding.accounted).max(Amount::Covers);
            finding.accounted = Some(own);
            finding.evidence.push(says(
                meter.clone(),
                format!("the socket itself dropped {own}"),
            ));
        }
        if fullest > 0 {
            finding.prediction = Prediction::Certain;
            finding.evidence.push(says(
                meter,
                format!("{fullest} bytes waited in its receive queue"),
            ));
        }
        let buffer = socket.memory.as_ref().map_or(0, |memory| memory.rcvbuf);
        finding.setting = Some(Setting {
            kind: SettingKind::Socket,
            name: name(socket),
            value: format!("receive buffer {buffer}"),
        });
    }
    finding.advice.push(
        "the application reads too slowly, or not at all; a larger buffer (SO_RCVBUF, net.core.rmem_max) only helps against bursts"
            .to_owned(),
    );
    Some(finding)
}
