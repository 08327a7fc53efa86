//! A4: the frame carries another host's MAC address; the capture shows it, IP never sees it (OTHERHOST).

use transect_path::{CauseId, Point, Setting, SettingKind};

use crate::case::Case;
use crate::finding::{Finding, Prediction};
use crate::world::says;

const TELL: &str =
    "the destination MAC in a capture against the device's own; otherhost in `ip -s -s link`";

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    case.hosts_at(Point::LinkInput)
        .into_iter()
        .filter_map(|host| at(case, host))
        .collect()
}

fn at(case: &Case<'_>, host: usize) -> Option<Finding> {
    let device = case.input(host)?;
    let carried = case.suspicion.sample.destination_mac?;
    let own = case
        .config(host)
        .and_then(|config| config.link(device)?.mac);
    if own.is_some_and(|own| own == carried.0) || carried.0[0] & 1 != 0 {
        return None;
    }
    let counter = format!("link.{device}.rx_otherhost");
    let mut finding = match case.counted(
        CauseId::WrongDestinationMac,
        host,
        Point::LinkInput,
        &counter,
        TELL,
    ) {
        Some(finding) => finding,
        None if case.delta(host, &counter).is_some() => return None,
        None => Finding::new(
            CauseId::WrongDestinationMac,
            Some(host),
            Point::LinkInput,
            TELL,
        ),
    };
    let own = transect_packet::MacAddress(own?);
    finding.prediction = Prediction::Certain;
    // The frame itself says it: a per-packet observation.
    finding.own_meter = true;
    finding.evidence.push(says(
        case.world.meter(host, "capture", device),
        format!("the frames are addressed to {carried}, {device} has {own}"),
    ));
    finding.setting = Some(Setting {
        kind: SettingKind::Link,
        name: format!("{device} address"),
        value: format!("{own}, frames carry {carried}"),
    });
    finding.advice.push(
        "look at the sender's neighbour entry (`ip neigh`): a static or stale entry, or a second host with this IP address".to_owned(),
    );
    Some(finding)
}
