//! E10: connection tracking has forgotten a connection that it had let through (time-out, flush, failover), so that the
//! rules take its packets for new or INVALID ones, and the default drops them.

use transect_config::rules::Action;
use transect_path::CauseId;

use super::netfilter;
use crate::case::Case;
use crate::finding::{Finding, Prediction};
use crate::world::says;

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    netfilter::suspects(case)
        .iter()
        .filter(|suspect| matches!(suspect.decision.action, Action::Drop | Action::Stolen(_)))
        .filter(|suspect| !suspect.decision.is_about_invalid())
        .filter(|suspect| netfilter::spares_tracked(case, suspect))
        .filter_map(|suspect| {
            let mut finding = netfilter::finding(case, suspect, CauseId::ConntrackStateLost)?;
            finding.prediction = Prediction::Possible;
            finding.tell = "`conntrack -L` for the flow on this host, before and after; `conntrack -S`: invalid".to_owned();
            if netfilter::entry_lost(case, suspect.host) {
                finding.prediction = Prediction::Certain;
                finding.evidence.push(says(
                    case.world.meter(suspect.host, "conntrack", ""),
                    "connection tracking had an entry for the flow, and has none any more",
                ));
            }
            if let Some(invalid) = case
                .delta(suspect.host, "conntrack.invalid")
                .filter(|&invalid| invalid > 0)
            {
                finding.evidence.push(says(
                    case.world.meter(suspect.host, "counter", "conntrack.invalid"),
                    format!("connection tracking called {invalid} packets INVALID"),
                ));
            }
            finding.advice.push(
                "the rules let the flow pass only while connection tracking knows it: find out why its entry went \
                 (time-out, `conntrack -F`, failover), or let it pick up running connections \
                 (net.netfilter.nf_conntrack_tcp_loose=1)"
                    .to_owned(),
            );
            Some(finding)
        })
        .collect()
}
