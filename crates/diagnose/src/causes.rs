//! The catalogue: one file for each cause (or family of causes with one kind of evidence), one line in one list.

mod accept_queue_full;
mod conntrack_invalid;
mod conntrack_state_lost;
mod counters;
mod error_route;
mod fragment_lost;
mod link;
mod listener;
mod martian_source;
mod nat_state_lost;
mod neighbor_unresolved;
mod netfilter;
mod netfilter_drop;
mod netfilter_reject;
mod network_loss;
mod no_listener;
mod no_return_route;
mod no_route;
mod not_local;
mod pmtu_black_hole;
mod queue_without_reader;
mod reverse_path_filter;
mod routing;
mod socket_filter;
mod syn_queue_full;
mod traffic_control;
mod transport_checksum;
mod ttl_expired;
mod udp_receive_buffer_full;
mod wrong_destination_mac;

use crate::case::Case;
use crate::finding::Finding;

pub(crate) use listener::name as listener_name;

/// Asks one cause about one suspicion.
type Examine = fn(&Case<'_>) -> Vec<Finding>;

/// Every cause that can be found for lost packets. A closed window and a silent application lose none: see `stall`.
const CATALOGUE: &[Examine] = &[
    netfilter_drop::examine,
    netfilter_reject::examine,
    queue_without_reader::examine,
    conntrack_invalid::examine,
    conntrack_state_lost::examine,
    nat_state_lost::examine,
    neighbor_unresolved::examine,
    wrong_destination_mac::examine,
    link::examine,
    traffic_control::examine,
    reverse_path_filter::examine,
    martian_source::examine,
    not_local::examine,
    no_route::examine,
    error_route::examine,
    no_return_route::examine,
    fragment_lost::examine,
    ttl_expired::examine,
    pmtu_black_hole::examine,
    accept_queue_full::examine,
    syn_queue_full::examine,
    no_listener::examine,
    socket_filter::examine,
    transport_checksum::examine,
    udp_receive_buffer_full::examine,
    counters::examine,
    network_loss::examine,
];

/// Everything that the catalogue has to say about a suspicion.
pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    let inside = |finding: &Finding| case.possible_at(finding.host, finding.point);
    CATALOGUE
        .iter()
        .flat_map(|examine| examine(case))
        .filter(inside)
        .collect()
}
