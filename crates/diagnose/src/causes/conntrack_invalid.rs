//! E8, E9, E15: a rule drops what connection tracking calls INVALID. The rule is the hand, the lost state is the reason.

use transect_config::rules::Action;
use transect_path::{CauseId, What};

use super::netfilter;
use crate::case::Case;
use crate::finding::{Amount, Finding, Prediction};
use crate::world::says;

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    netfilter::suspects(case)
        .iter()
        .filter(|suspect| matches!(suspect.decision.action, Action::Drop))
        .filter(|suspect| suspect.decision.is_about_invalid())
        .filter_map(|suspect| {
            let mut finding = netfilter::finding(case, suspect, CauseId::ConntrackInvalid)?;
            // A first packet is INVALID only when it is damaged: what such a rule counts beside are other flows' packets.
            if case.suspicion.what == What::Syn && finding.amount != Amount::Exact {
                finding.own_meter = false;
                finding.prediction = Prediction::Unknown;
            }
            if let Some(invalid) = case.delta(suspect.host, "conntrack.invalid").filter(|&invalid| invalid > 0) {
                finding.evidence.push(says(
                    case.world.meter(suspect.host, "counter", "conntrack.invalid"),
                    format!("connection tracking called {invalid} packets INVALID"),
                ));
            }
            finding.advice.push(
                "find out why connection tracking does not know the flow: does only one direction pass this host, \
                 or was its entry lost (time-out, flush, failover)?"
                    .to_owned(),
            );
            Some(finding)
        })
        .collect()
}
