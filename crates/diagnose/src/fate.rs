//! What became of one flow, before causes are asked: the outcome as far as packets and sockets show it, and the suspicions.

use transect_path::{
    Direction, Edge, Evidence, HostEdge, Misled, Outcome, Point, Reached, Recovered, Symptom, What,
};

use crate::case::Suspicion;
use crate::chain::Chain;
use crate::finding::Finding;
use crate::flow::FlowView;
use crate::world::{World, bounds_line};

/// What became of one flow.
#[derive(Debug, Clone)]
pub(crate) struct Fate {
    pub(crate) outcome: Outcome,
    pub(crate) symptom: Symptom,
    /// What may have been lost; more than one where the packets do not tell which.
    pub(crate) suspicions: Vec<Suspicion>,
    /// A cause that the flow itself shows: a closed window, a silent application.
    pub(crate) settled: Option<(Finding, Chain)>,
    pub(crate) recovered: Vec<Recovered>,
    pub(crate) misled: Vec<Misled>,
    pub(crate) reached: Vec<Reached>,
    pub(crate) evidence: Vec<Evidence>,
}

impl Fate {
    /// A fate of which only the outcome is known yet.
    pub(crate) fn new(outcome: Outcome, symptom: Symptom) -> Self {
        Fate {
            outcome,
            symptom,
            suspicions: Vec::new(),
            settled: None,
            recovered: Vec::new(),
            misled: Vec::new(),
            reached: Vec::new(),
            evidence: Vec::new(),
        }
    }

    pub(crate) fn with(outcome: Outcome, symptom: Symptom, suspicions: Vec<Suspicion>) -> Self {
        Fate {
            suspicions,
            ..Fate::new(outcome, symptom)
        }
    }
}

/// The line of a server's log that shows that the application had the request, with the label of its meter.
pub(crate) fn log_line(
    world: &World<'_>,
    view: &FlowView,
    host: usize,
) -> Option<(String, String)> {
    let client = view.tuple_on(host).source.address;
    let from = view.first()?.0.saturating_sub(1_500_000_000);
    let to = world.evidence.window.map_or(u64::MAX, |(_, end)| end.0);
    world.host(host).logs.iter().find_map(|log| {
        let line = log.lines.iter().find(|line| {
            line.client.map(crate::flow::plain) == Some(client)
                && line.time.is_none_or(|time| time.0 >= from && time.0 <= to)
        })?;
        let name = log.path.rsplit('/').next().unwrap_or(&log.path);
        Some((world.meter(host, "log", name), line.text.clone()))
    })
}

/// States that the application on a host read packets of a direction, as its log says.
pub(crate) fn processed(
    world: &World<'_>,
    view: &FlowView,
    host: usize,
    direction: Direction,
    fate: &mut Fate,
) -> bool {
    let Some((meter, text)) = log_line(world, view, host) else {
        return false;
    };
    let edge = HostEdge::new(world.labels[host].clone(), Edge::left(Point::AppReceive));
    fate.reached.push(Reached {
        what: What::Data,
        direction,
        point: edge.clone(),
        meter: meter.clone(),
    });
    fate.evidence.push(bounds_line(
        meter,
        edge,
        Some(1),
        None,
        format!("the application received and processed the request: {text}"),
    ));
    true
}

/// How far each class of each direction got, by the furthest link-layer tap that saw it.
pub(crate) fn reached(world: &World<'_>, view: &FlowView) -> Vec<Reached> {
    use crate::chain::Role;
    use crate::flow::TapEnd;
    let mut all = Vec::new();
    for &direction in Direction::ALL {
        let nodes = view.placement(world, direction);
        for &what in What::ALL {
            let furthest = nodes.iter().rev().find_map(|&(host, role)| {
                let at = |end, point| {
                    (view.count(host, role, end, direction, what) > 0).then(|| Reached {
                        what,
                        direction,
                        point: HostEdge::new(world.labels[host].clone(), Edge::left(point)),
                        meter: world.meter(
                            host,
                            "capture",
                            view.interface(world, host, role, end, direction)
                                .as_deref()
                                .unwrap_or(""),
                        ),
                    })
                };
                let out = (role != Role::Receiver)
                    .then(|| at(TapEnd::Out, Point::TapOut))
                    .flatten();
                out.or_else(|| at(TapEnd::In, Point::TapIn))
            });
            all.extend(furthest);
        }
    }
    all
}
