//! B5, E1, E2, E5, E6, E7: a firewall rule or a policy drops the packet.

use transect_config::rules::Action;
use transect_path::CauseId;

use super::netfilter;
use crate::case::Case;
use crate::finding::Finding;

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    netfilter::suspects(case)
        .iter()
        .filter(|suspect| matches!(suspect.decision.action, Action::Drop | Action::Stolen(_)))
        .filter(|suspect| !suspect.decision.is_about_invalid())
        .filter(|suspect| {
            // The rule is only the hand where connection tracking forgot the flow (E10).
            !(netfilter::spares_tracked(case, suspect) && netfilter::entry_lost(case, suspect.host))
        })
        .filter_map(|suspect| {
            let mut finding = netfilter::finding(case, suspect, CauseId::NetfilterDrop)?;
            let host = &case.world.labels[suspect.host];
            finding
                .advice
                .push(netfilter::advice(&suspect.decision.rule, host));
            Some(finding)
        })
        .collect()
}
