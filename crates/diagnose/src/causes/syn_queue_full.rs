//! F4, F6: too many half-open connections wait at the listener, and SYN cookies are off.

use transect_config::{SocketProtocol, SocketState};
use transect_path::{CauseId, Point, Setting, SettingKind};

use super::listener::{self, Listener};
use crate::case::Case;
use crate::finding::{Amount, Finding, Prediction};
use crate::world::says;

const TELL: &str = "TcpExtTCPReqQFullDrop, and the number of sockets in SYN-RECV on the server";

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
    let full = case.delta(host, "TcpExtTCPReqQFullDrop").unwrap_or(0);
    let drops = case.delta(host, "TcpExtListenDrops").unwrap_or(0);
    let overflows = case.delta(host, "TcpExtListenOverflows").unwrap_or(0);
    let unroutable = case.ip_delta(host, "OutNoRoutes").unwrap_or(0);
    let cookies = case
        .config(host)
        .and_then(|config| config.sysctls.number("net.ipv4.tcp_syncookies"));
    // The reserve of tcp_max_syn_backlog (F6) drops without a counter of its own: what no other reason of ListenDrops explains.
    let (counter, delta) = if full > 0 {
        ("TcpExtTCPReqQFullDrop", full)
    } else {
        let rest = drops.checked_sub(overflows)?.saturating_sub(unroutable);
        if rest == 0 || cookies != Some(0) {
            return None;
        }
        ("TcpExtListenDrops", rest)
    };
    let half_open = half_open(case, host);
    if full == 0 && half_open == 0 {
        return None;
    }
    let mut finding = case.metered(
        CauseId::SynQueueFull,
        host,
        Point::SocketInput,
        counter,
        delta,
        TELL,
    );
    if half_open > 0 {
        finding.evidence.push(says(
            case.world.meter(host, "sockets", "SYN-RECV"),
            format!("{half_open} half-open connections were seen at once"),
        ));
    }
    if cookies == Some(0) && half_open > 0 {
        finding.prediction = Prediction::Certain;
    }
    if let Some(drops) = Listener::of(case, host).and_then(|listener| listener.drops) {
        finding.amount = finding
            .amount
            .max(Amount::compare(drops, case.lost()).min(Amount::Exact));
    }
    finding.setting = cookies.map(|value| Setting {
        kind: SettingKind::Sysctl,
        name: "net.ipv4.tcp_syncookies".to_owned(),
        value: value.to_string(),
    });
    finding.advice.push(
        "turn SYN cookies on (net.ipv4.tcp_syncookies=1); if this is no attack, raise net.ipv4.tcp_max_syn_backlog and listen()'s backlog"
            .to_owned(),
    );
    Some(finding)
}

/// The most connections to the flow's port that were seen in SYN-RECV in one reading.
fn half_open(case: &Case<'_>, host: usize) -> u64 {
    let port = case.tuple_at(host).destination.port;
    let mut by_time = std::collections::BTreeMap::new();
    for (time, socket) in case.world.sockets(host) {
        if socket.protocol == SocketProtocol::Tcp
            && socket.state == Some(SocketState::SynRecv)
            && socket.local.port == Some(port)
        {
            *by_time.entry(time).or_insert(0) += 1;
        }
    }
    by_time.into_values().max().unwrap_or(0)
}
