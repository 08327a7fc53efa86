//! E3, E4: a firewall rule rejects the packet and tells its sender.

use transect_config::rules::Action;
use transect_path::CauseId;

use super::netfilter;
use crate::case::Case;
use crate::finding::Finding;

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    netfilter::suspects(case)
        .iter()
        .filter(|suspect| matches!(suspect.decision.action, Action::Reject { .. }))
        .filter_map(|suspect| {
            let mut finding = netfilter::finding(case, suspect, CauseId::NetfilterReject)?;
            let host = &case.world.labels[suspect.host];
            finding
                .advice
                .push(netfilter::advice(&suspect.decision.rule, host));
            Some(finding)
        })
        .collect()
}
