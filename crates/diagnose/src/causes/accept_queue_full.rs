//! F1, F2, F3: the listener's accept queue is full, so that SYNs, or the handshake's last ACKs, are dropped.

use transect_path::{CauseId, Point, Setting, SettingKind};

use super::listener::{self, Listener};
use crate::case::Case;
use crate::finding::{Amount, Finding, Prediction};
use crate::world::says;

const TELL: &str =
    "`ss -ltnm` on the server: Recv-Q above Send-Q, and the listener's own drop count (d)";

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    if !listener::concerns(case) {
        return Vec::new();
    }
    case.hosts_at(Point::SocketInput)
        .into_iter()
        .filter_map(|host| at(case, host))
        .collect()
}

fn at(case: &Case<'_>, host: usize) -> Option<Finding> {
    let listener = Listener::of(case, host);
    let overflows = case.delta(host, "TcpExtListenOverflows").unwrap_or(0);
    let full = listener.as_ref().is_some_and(Listener::was_full);
    if overflows == 0 {
        return None;
    }
    let mut finding = case.metered(
        CauseId::AcceptQueueFull,
        host,
        Point::SocketInput,
        "TcpExtListenOverflows",
        overflows,
        TELL,
    );
    if let Some(listener) = &listener {
        let meter = case.world.meter(host, "socket", &listener.name);
        if let Some(drops) = listener.drops.filter(|&drops| drops > 0) {
            finding.evidence.push(says(
                meter.clone(),
                format!("the listener itself dropped {drops}"),
            ));
            finding.own_meter = true;
            finding.amount = finding.amount.max(Amount::compare(drops, case.lost()));
        }
        if full {
            finding.prediction = Prediction::Certain;
            finding.evidence.push(says(
                meter,
                format!(
                    "{} connections waited to be accepted, {} may",
                    listener.waiting, listener.limit
                ),
            ));
        }
        finding.setting = Some(Setting {
            kind: SettingKind::Socket,
            name: listener.name.clone(),
            value: format!("accept queue {} of {}", listener.waiting, listener.limit),
        });
    }
    finding.advice.push(
        "the application does not call accept() fast enough: look at what it waits for; \
         a longer queue (listen()'s backlog and net.core.somaxconn) only buys time"
            .to_owned(),
    );
    Some(finding)
}
