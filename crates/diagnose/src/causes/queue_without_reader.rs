//! E16: a rule hands the packet to a queue that no program reads.

use transect_config::rules::Action;
use transect_path::CauseId;

use super::netfilter;
use crate::case::Case;
use crate::finding::Finding;

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    netfilter::suspects(case)
        .iter()
        .filter_map(|suspect| {
            let Action::Queue { first, last, .. } = suspect.decision.action else { return None };
            let mut finding = netfilter::finding(case, suspect, CauseId::QueueWithoutReader)?;
            let host = &case.world.labels[suspect.host];
            let queues = if first == last { format!("queue {first}") } else { format!("queues {first} to {last}") };
            finding.advice.push(format!(
                "on {host}, start the program that reads Netfilter {queues}, or let packets pass without it (--queue-bypass; nft: `queue … bypass`)"
            ));
            finding.advice.push(netfilter::advice(&suspect.decision.rule, host));
            Some(finding)
        })
        .collect()
}
