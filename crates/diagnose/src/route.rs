//! Which observed hosts a packet would pass, by their own routes.

use transect_packet::Tuple;
use transect_walk::routing::{RouteDecision, RouteQuery, route};

use crate::world::World;

/// Longer chains of observed hosts are not followed: a loop would never end.
const MOST_HOPS: usize = 16;

/// The observed hosts behind `sender` on the way to the destination, in order, the destination's own host included.
pub(crate) fn hops(world: &World<'_>, sender: usize, tuple: Tuple) -> Vec<usize> {
    let destination = tuple.destination.address;
    let mut hops = Vec::new();
    let mut at = sender;
    while hops.len() < MOST_HOPS {
        if world.owns(at, destination) == Some(true) {
            break;
        }
        let Some(config) = world.any_config(at) else {
            break;
        };
        let source = (at == sender).then_some(tuple.source.address);
        let answer = route(config, &RouteQuery::output(destination, source));
        let Some(RouteDecision::Unicast { gateway, .. }) =
            answer.certain().map(|result| result.decision.clone())
        else {
            break;
        };
        let next = gateway.unwrap_or(destination);
        let Some(&owner) = world.owners(next).iter().find(|&&owner| owner != at) else {
            break;
        };
        if hops.contains(&owner) || owner == sender {
            break;
        }
        hops.push(owner);
        at = owner;
    }
    hops
}
