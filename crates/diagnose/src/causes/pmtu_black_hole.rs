//! D1, D3: packets are larger than the next link takes, must not be fragmented, and the sender does not hear of it.
//!
//! On a forwarding Linux host the packet dies before the FORWARD hook, and IpFragFails counts it. Between two hosts that were
//! not observed only the sizes speak: small packets pass, large ones do not.

use transect_path::{CauseId, Point, Setting, SettingKind, What};
use transect_walk::routing::InputDecision;

use super::routing;
use crate::case::Case;
use crate::finding::Finding;
use crate::world::{ip_counter, says};

const TELL: &str = "IpFragFails (IPv6: Ip6InTooBigErrors) on the router, and its devices' MTU; `ping -M do -s SIZE`";

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    if matches!(case.suspicion.what, What::Syn | What::SynAck | What::Ack) {
        return Vec::new();
    }
    case.hosts_at(Point::Forward)
        .into_iter()
        .filter_map(|host| at(case, host))
        .collect()
}

fn at(case: &Case<'_>, host: usize) -> Option<Finding> {
    let sample = &case.suspicion.sample;
    let answer = routing::input(case, host);
    let (prediction, way) = routing::predicted(answer.as_ref(), |decision| match decision {
        InputDecision::Forward { device, mtu, .. } => Some((device.clone(), *mtu)),
        _ => None,
    });
    let mut finding = Finding::new(CauseId::PmtuBlackHole, Some(host), Point::Forward, TELL);
    let counters = [
        ip_counter(case.v6(), "FragFails"),
        "Ip6InTooBigErrors".to_owned(),
    ];
    for counter in counters
        .iter()
        .filter(|name| case.v6() || !name.starts_with("Ip6"))
    {
        if let Some(counted) =
            case.counted(CauseId::PmtuBlackHole, host, Point::Forward, counter, TELL)
        {
            finding = counted;
            break;
        }
    }
    let (device, mtu) = way?;
    let (length, mtu) = (sample.length?, mtu?);
    if length <= mtu || !(sample.dont_fragment || case.v6()) {
        return None;
    }
    if finding.accounted.is_none() {
        // The counter was read and stood still.
        if case.ip_delta(host, "FragFails").is_some()
            && case.delta(host, "Ip6InTooBigErrors").unwrap_or(0) == 0
        {
            return None;
        }
    }
    finding.prediction = prediction;
    finding.evidence.push(says(
        case.world.meter(host, "config", &format!("link/{device}")),
        format!("packets of {length} bytes that must not be fragmented would leave by {device}, whose MTU is {mtu}"),
    ));
    finding.setting = Some(Setting {
        kind: SettingKind::Link,
        name: format!("{device} mtu"),
        value: mtu.to_string(),
    });
    finding.advice.push(
        "let ICMP \"fragmentation needed\" (IPv6: \"packet too big\") reach the sender, or clamp the MSS \
         (iptables … -j TCPMSS --clamp-mss-to-pmtu), or make the MTUs alike"
            .to_owned(),
    );
    Some(finding)
}
