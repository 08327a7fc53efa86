//! Which points of which hosts the packets of a verdict would have passed, in order.
//!
//! A verdict does not say which host sends, forwards or receives; the edges that it names do.

use transect_path::{Direction, Half, HostEdge, Point, Verdict};

/// The label that stands for everything between the hosts.
const NETWORK: &str = "network";

/// One pass of the packets through a host.
type Pass<'a> = (&'a str, &'static [Point]);

/// Every point that the packets would have passed, on the hosts that the verdict names, in order.
pub(super) fn route(
    hosts: &[String],
    verdict: &Verdict,
    direction: Direction,
) -> Vec<(String, Point)> {
    let mut edges: Vec<&HostEdge> = verdict
        .between
        .iter()
        .flatten()
        .chain(
            verdict
                .reached
                .iter()
                .filter(|reached| reached.direction == direction)
                .map(|reached| &reached.point),
        )
        .collect();
    edges.extend(witnesses(verdict, &edges));
    let mut route: Vec<(String, Point)> = Vec::new();
    for (label, walk) in passes(hosts, verdict, &edges) {
        // Nothing stands between a host and itself.
        if route.last().is_some_and(|(host, _)| host != label) {
            route.push((NETWORK.to_owned(), Point::Network));
        }
        route.extend(
            walk.iter()
                .filter(|point| **point != Point::TxCompletion)
                .map(|point| (label.to_owned(), *point)),
        );
    }
    add_network(&mut route, verdict, &edges);
    route
}

/// The hosts in the order in which the packets come to them: who sends, who forwards, who answers, who receives.
fn passes<'a>(hosts: &'a [String], verdict: &'a Verdict, edges: &[&'a HostEdge]) -> Vec<Pass<'a>> {
    let mut labels: Vec<&str> = hosts.iter().map(String::as_str).collect();
    for edge in edges {
        if edge.host != NETWORK && !labels.contains(&edge.host.as_str()) {
            labels.push(&edge.host);
        }
    }
    let answering = answering_host(verdict);
    let (mut sending, mut between, mut receiving) = (Vec::new(), Vec::new(), Vec::new());
    for label in labels {
        let points = || {
            edges
                .iter()
                .filter(|edge| edge.host == label)
                .map(|edge| edge.edge.point)
        };
        let sends = points().any(|point| point.half() == Half::Sending);
        let receives = points().any(|point| point.half() == Half::Receiving);
        let forwards = points().any(|point| point == Point::Forward);
        if answering == Some(label) {
            between.push((label, Point::receiving()));
            between.push((label, Point::sending()));
        } else if sends && receives && !forwards && talks_to_itself(verdict) {
            sending.push((label, Point::sending()));
            receiving.push((label, Point::receiving()));
        } else if forwards || (sends && receives) {
            between.push((label, Point::forwarding()));
        } else if sends {
            sending.push((label, Point::sending()));
        } else if receives {
            receiving.push((label, Point::receiving()));
        }
    }
    sending.extend(between);
    sending.extend(receiving);
    sending
}

/// The network before the first host or behind the last one, where the verdict speaks of it.
fn add_network(route: &mut Vec<(String, Point)>, verdict: &Verdict, edges: &[&HostEdge]) {
    if !edges.iter().any(|edge| edge.host == NETWORK) {
        return;
    }
    let network = || (NETWORK.to_owned(), Point::Network);
    let ends_in_network = verdict
        .between
        .as_ref()
        .is_some_and(|[_, to]| to.host == NETWORK);
    let sends = route
        .last()
        .is_some_and(|(_, point)| point.half() == Half::Sending);
    if ends_in_network && sends {
        route.push(network());
    } else if !route.iter().any(|(host, _)| host == NETWORK) {
        match route.first() {
            Some((_, point)) if point.half() == Half::Receiving => route.insert(0, network()),
            _ => route.push(network()),
        }
    }
}

/// The host that received the packets and from which no answer came: the bracket begins on its way in and ends behind it. A
/// router looks alike; but nothing at its end points is ever in question.
fn answering_host(verdict: &Verdict) -> Option<&str> {
    let [from, to] = verdict.between.as_ref()?;
    let host = from.host.as_str();
    let begins_inside = from.edge.point.half() == Half::Receiving;
    let ends_inside = to.host == host && to.edge.point.half() == Half::Receiving;
    let end_point = |point: Point| !Point::forwarding().contains(&point) && point != Point::Network;
    let mut in_question = verdict
        .alternatives
        .iter()
        .filter(|item| item.host.as_deref() == Some(host))
        .filter_map(|item| item.point)
        .chain(
            verdict
                .point
                .filter(|_| verdict.host.as_deref() == Some(host)),
        );
    (begins_inside && !ends_inside && in_question.any(end_point)).then_some(host)
}

/// Edges of hosts that stand in the evidence alone. The bracket says on which side of it they must be: what lies before a
/// receiver sends, what lies behind a sender receives; evidence about the other direction is not mistaken for this one.
fn witnesses<'a>(verdict: &'a Verdict, known: &[&HostEdge]) -> Vec<&'a HostEdge> {
    let Some([from, _]) = &verdict.between else {
        return Vec::new();
    };
    let wanted = match from.edge.point.half() {
        Half::Sending => Half::Receiving,
        Half::Receiving => Half::Sending,
        Half::Network => return Vec::new(),
    };
    verdict
        .evidence
        .iter()
        .filter_map(|item| item.edge.as_ref())
        .filter(|edge| {
            edge.edge.point.half() == wanted && known.iter().all(|other| other.host != edge.host)
        })
        .collect()
}

/// Whether both ends of the flow are one host: packets over its loopback pass its sending half and then its receiving one.
fn talks_to_itself(verdict: &Verdict) -> bool {
    let crosses = verdict.between.as_ref().is_some_and(|[from, to]| {
        from.host == to.host
            && from.edge.point.half() == Half::Sending
            && to.edge.point.half() == Half::Receiving
    });
    let address = |end: &str| {
        end.rsplit_once(':')
            .map_or(end.to_owned(), |(address, _)| address.to_owned())
    };
    crosses
        || verdict
            .flow
            .as_ref()
            .is_some_and(|flow| address(&flow.client) == address(&flow.server))
}
