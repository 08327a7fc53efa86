//! The path of one class of packets over the observed hosts, as one line of edges, and the bracket on it.

use transect_path::{Edge, HostEdge, Point, Side};

/// What a host does with a packet of one direction of one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// The packet begins here.
    Sender,
    /// The packet passes through.
    Forwarder,
    /// The packet ends here.
    Receiver,
    /// The packet was seen here; whether it began, ended or passed here is not known.
    Observer,
}

/// A point on a host, or the network between two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Station {
    /// Index of the host in the evidence; `None` for the network.
    pub(crate) host: Option<usize>,
    /// The point.
    pub(crate) point: Point,
}

/// A place on a chain: twice the station's index, plus one for *left*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position(pub(crate) usize);

/// Everything that the packets pass, in order, as far as it was observed.
///
/// Hosts that were not observed are part of a network station: at the ends where the sender or the receiver is
/// unknown, and between every two hosts.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    stations: Vec<Station>,
    labels: Vec<String>,
}

impl Chain {
    /// Builds the chain from the observed hosts in path order. `labels` are those of all hosts, by index.
    pub(crate) fn new(labels: &[String], nodes: &[(usize, Role)]) -> Self {
        let mut stations = Vec::new();
        let network = Station {
            host: None,
            point: Point::Network,
        };
        for (place, &(host, role)) in nodes.iter().enumerate() {
            let follows_itself = place > 0 && nodes[place - 1].0 == host;
            if place == 0 && role != Role::Sender || place > 0 && !follows_itself {
                stations.push(network);
            }
            let points = match role {
                Role::Sender => Point::sending(),
                Role::Forwarder => Point::forwarding(),
                Role::Receiver => Point::receiving(),
                Role::Observer => &[Point::TapIn],
            };
            // The completion interrupt comes when the packet has already gone.
            let passed = points.iter().filter(|&&point| point != Point::TxCompletion);
            stations.extend(passed.map(|&point| Station {
                host: Some(host),
                point,
            }));
        }
        if nodes.last().is_none_or(|&(_, role)| role != Role::Receiver) {
            stations.push(network);
        }
        Chain {
            stations,
            labels: labels.to_vec(),
        }
    }

    /// The stations in order.
    #[cfg(test)]
    pub(crate) fn stations(&self) -> &[Station] {
        &self.stations
    }

    /// The place of an edge on a host.
    pub(crate) fn position(&self, host: Option<usize>, edge: Edge) -> Option<Position> {
        let at = self
            .stations
            .iter()
            .position(|station| station.host == host && station.point == edge.point)?;
        Some(Position(2 * at + usize::from(edge.side == Side::Left)))
    }

    /// Whether both the host that sends and the host that receives were observed.
    pub(crate) fn ends_observed(&self) -> bool {
        let observed =
            |station: Option<&Station>| station.is_some_and(|station| station.host.is_some());
        observed(self.stations.first()) && observed(self.stations.last())
    }

    /// The first edge of the chain.
    pub(crate) fn start(&self) -> Position {
        Position(0)
    }

    /// The last edge of the chain.
    pub(crate) fn end(&self) -> Position {
        Position(2 * self.stations.len().max(1) - 1)
    }

    /// The station of a place.
    pub(crate) fn station(&self, position: Position) -> Station {
        let last = self.stations.len().saturating_sub(1);
        self.stations
            .get((position.0 / 2).min(last))
            .copied()
            .unwrap_or(Station {
                host: None,
                point: Point::Network,
            })
    }

    /// The edge of a place, with the host's label.
    pub(crate) fn edge(&self, position: Position) -> HostEdge {
        let station = self.station(position);
        let side = if position.0.is_multiple_of(2) {
            Side::Entered
        } else {
            Side::Left
        };
        HostEdge::new(
            self.label(station.host),
            Edge {
                point: station.point,
                side,
            },
        )
    }

    /// The label of a host, or `network`.
    pub(crate) fn label(&self, host: Option<usize>) -> String {
        host.and_then(|host| self.labels.get(host).cloned())
            .unwrap_or_else(|| "network".to_owned())
    }

    /// Whether a point of a host can lie between the two edges of a bracket.
    ///
    /// A packet that entered the point and did not leave it died there; so the point's own edges count as inside.
    pub(crate) fn inside(&self, bracket: Bracket, host: Option<usize>, point: Point) -> bool {
        // The network stands between every two hosts: one point in several places.
        self.stations.iter().enumerate().any(|(at, station)| {
            station.host == host && station.point == point && Self::can_die_at(bracket, at)
        })
    }

    fn can_die_at(bracket: Bracket, station: usize) -> bool {
        bracket.lower < Position(2 * station + 1) && Position(2 * station) < bracket.upper
    }

    /// The stations at which a packet can have died that passed `lower` and not `upper`.
    pub(crate) fn between(&self, bracket: Bracket) -> Vec<Station> {
        self.stations
            .iter()
            .enumerate()
            .filter(|&(at, _)| Self::can_die_at(bracket, at))
            .map(|(_, &station)| station)
            .collect()
    }
}

/// Where lost packets died: they passed `lower` and did not pass `upper`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bracket {
    pub(crate) lower: Position,
    pub(crate) upper: Position,
}

/// What one meter says of one edge, for the packets in question.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    /// The edge.
    pub(crate) position: Position,
    /// At least so many passed.
    pub(crate) lo: Option<u64>,
    /// At most so many passed.
    pub(crate) hi: Option<u64>,
    /// `HOST/KIND[/NAME]`.
    pub(crate) name: String,
    /// The reading in words.
    pub(crate) says: String,
}

impl Bracket {
    /// The last edge that all `sent` packets passed, and the first behind it that not all of them did.
    ///
    /// Meters contradict each other where a capture lost packets, so only the consistent prefix counts: an upper bound in
    /// front of a lower one that covers everything is ignored.
    pub(crate) fn find(chain: &Chain, meters: &[Meter], sent: u64) -> Bracket {
        let lower = meters
            .iter()
            .filter(|meter| meter.lo.is_some_and(|lo| lo >= sent))
            .map(|meter| meter.position)
            .max()
            .unwrap_or(chain.start());
        let upper = meters
            .iter()
            .filter(|meter| meter.position > lower && meter.hi.is_some_and(|hi| hi < sent))
            .map(|meter| meter.position)
            .min()
            .unwrap_or(chain.end());
        Bracket { lower, upper }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Chain {
        let labels = ["client", "router", "server"].map(str::to_owned);
        Chain::new(
            &labels,
            &[(0, Role::Sender), (1, Role::Forwarder), (2, Role::Receiver)],
        )
    }

    fn meter(chain: &Chain, host: usize, edge: Edge, lo: u64, hi: u64) -> Meter {
        let position = chain.position(Some(host), edge).unwrap();
        Meter {
            position,
            lo: Some(lo),
            hi: Some(hi),
            name: String::new(),
            says: String::new(),
        }
    }

    #[test]
    fn the_network_stands_between_every_two_hosts_and_at_unknown_ends() {
        let networks = |chain: &Chain| {
            chain
                .stations()
                .iter()
                .filter(|station| station.host.is_none())
                .count()
        };
        assert_eq!(networks(&chain()), 2);
        let labels = ["server".to_owned()];
        assert_eq!(networks(&Chain::new(&labels, &[(0, Role::Receiver)])), 1);
        assert_eq!(
            networks(&Chain::new(
                &labels,
                &[(0, Role::Sender), (0, Role::Receiver)]
            )),
            0
        );
    }

    #[test]
    fn two_captures_bracket_what_lies_between_them() {
        let chain = chain();
        let meters = [
            meter(&chain, 0, Edge::left(Point::TapOut), 7, 7),
            meter(&chain, 2, Edge::left(Point::TapIn), 7, 7),
            meter(&chain, 2, Edge::entered(Point::TransportInput), 0, 0),
        ];
        let bracket = Bracket::find(&chain, &meters, 7);
        assert_eq!(chain.edge(bracket.lower).to_string(), "server/tap_in/left");
        assert_eq!(
            chain.edge(bracket.upper).to_string(),
            "server/transport_input/entered"
        );
        assert!(chain.inside(bracket, Some(2), Point::LocalIn));
        assert!(!chain.inside(bracket, Some(2), Point::TapIn));
        assert!(!chain.inside(bracket, Some(2), Point::TransportInput));
        assert!(!chain.inside(bracket, Some(1), Point::Forward));
    }

    #[test]
    fn the_second_network_is_inside_as_well_as_the_first() {
        let chain = chain();
        let meters = [
            meter(&chain, 1, Edge::left(Point::WireOut), 7, 7),
            meter(&chain, 2, Edge::entered(Point::WireIn), 0, 0),
        ];
        let bracket = Bracket::find(&chain, &meters, 7);
        let between = chain.between(bracket);
        assert_eq!(between.len(), 1);
        assert_eq!(between[0].point, Point::Network);
        assert!(chain.inside(bracket, None, Point::Network));
    }

    #[test]
    fn what_an_observer_saw_may_have_died_anywhere_behind_it() {
        let labels = ["capture".to_owned()];
        let chain = Chain::new(&labels, &[(0, Role::Observer)]);
        let meters = [meter(&chain, 0, Edge::left(Point::TapIn), 4, 4)];
        let bracket = Bracket::find(&chain, &meters, 4);
        let between = chain.between(bracket);
        assert!(between.iter().all(|station| station.host.is_none()));
        assert_eq!(between.len(), 1);
    }

    #[test]
    fn without_meters_the_bracket_is_the_whole_chain() {
        let chain = chain();
        let bracket = Bracket::find(&chain, &[], 1);
        assert_eq!(chain.between(bracket).len(), chain.stations().len());
    }
}
