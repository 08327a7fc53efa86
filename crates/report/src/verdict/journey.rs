//! The path of the lost packets, drawn host by host, with what each meter counted, up to the bracket.
//!
//! Only what the verdict holds is drawn: hosts and points that its bracket, its `reached` list and its evidence name.
//! Points about which nothing is known are drawn as one line.

use transect_path::{Certainty, Direction, HostEdge, Outcome, Point, Side, Verdict};

use super::route::route;
use super::words;
use crate::page::display_width;
use crate::{Color, Page};

/// What is known of one stop of the journey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The packets passed here.
    Passed,
    /// They died here.
    Died,
    /// They died here or at another stop marked so.
    Suspect,
    /// They never came here.
    Beyond,
    /// Nothing is said about it.
    Open,
}

/// One or several neighbouring points of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) host: String,
    pub(super) first: Point,
    pub(super) last: Point,
    pub(super) fate: Fate,
    /// What the meters at this point counted.
    pub(super) notes: Vec<String>,
}

/// The stops of the journey of what was lost, in order; empty where the verdict names no place.
pub(super) fn journey(hosts: &[String], verdict: &Verdict) -> Vec<Stop> {
    let direction = verdict
        .lost
        .as_ref()
        .map_or(Direction::ToServer, |lost| lost.direction);
    let route = route(hosts, verdict, direction);
    let bracket = verdict
        .between
        .as_ref()
        .and_then(|between| bracket(&route, between));
    // Where the verdict names one point of the bracket, the packets passed what is before it and never came behind it.
    let named = route.iter().position(|(host, point)| {
        verdict.point == Some(*point) && verdict.host.as_ref() == Some(host)
    });
    let bracket = bracket.map(|(from, to)| match named {
        Some(index) if 2 * index >= from && 2 * index < to => (2 * index, 2 * index + 1),
        _ => (from, to),
    });
    let suspects = bracket.map(|(from, to)| {
        (0..route.len())
            .filter(|index| 2 * index >= from && 2 * index < to)
            .count()
    });
    let mut stops: Vec<Stop> = Vec::new();
    for (index, (host, point)) in route.iter().enumerate() {
        let fate = match bracket {
            None => Fate::Open,
            Some((from, _)) if 2 * index < from => Fate::Passed,
            Some((_, to)) if 2 * index >= to => Fate::Beyond,
            Some(_) if suspects == Some(1) => Fate::Died,
            Some(_) => Fate::Suspect,
        };
        // What was counted behind the place is said in the evidence; here it would only make the path longer.
        let notes = match fate {
            Fate::Beyond => Vec::new(),
            _ => notes(verdict, direction, host, *point),
        };
        match stops.last_mut() {
            Some(stop)
                if stop.host == *host
                    && stop.fate == fate
                    && stop.notes.is_empty()
                    && notes.is_empty()
                    && fate != Fate::Died
                    // What an application answers is another packet.
                    && stop.last != Point::AppReceive =>
            {
                stop.last = *point;
            }
            _ => stops.push(Stop {
                host: host.clone(),
                first: *point,
                last: *point,
                fate,
                notes,
            }),
        }
    }
    stops
}

/// The bracket in halves of steps: twice the index of an edge's point in the route, one more where the point is left.
fn bracket(route: &[(String, Point)], between: &[HostEdge; 2]) -> Option<(usize, usize)> {
    let [from, to] = between;
    let find = |edge: &HostEdge, start: usize| {
        let index = route
            .iter()
            .skip(start)
            .position(|(host, point)| *host == edge.host && *point == edge.edge.point)?
            .saturating_add(start);
        Some(match edge.edge.side {
            Side::Entered => (index, 2 * index),
            Side::Left => (index, 2 * index + 1),
        })
    };
    let (index, from) = find(from, 0)?;
    // The network may stand on both sides of a host; the second edge lies behind the first.
    let (_, to) = find(to, index)?;
    (from <= to).then_some((from, to))
}

/// What meters counted at a point: intervals of the evidence, and how far packets of this direction got.
fn notes(verdict: &Verdict, direction: Direction, host: &str, point: Point) -> Vec<String> {
    let here = |edge: &HostEdge| edge.host == host && edge.edge.point == point;
    let mut notes = Vec::new();
    for item in &verdict.evidence {
        let Some(edge) = item.edge.as_ref().filter(|edge| here(edge)) else {
            continue;
        };
        let other_way = verdict.reached.iter().any(|reached| {
            reached.meter == item.meter && reached.point == *edge && reached.direction != direction
        });
        let this_way = verdict.reached.iter().any(|reached| {
            reached.meter == item.meter && reached.point == *edge && reached.direction == direction
        });
        if other_way && !this_way {
            continue;
        }
        let Some(bounds) = words::bounds(item.lo, item.hi) else {
            continue;
        };
        let side = match edge.edge.side {
            Side::Entered => "came in",
            Side::Left => "passed",
        };
        let note = format!("{bounds} {side} ({})", local(&item.meter, host));
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    for reached in &verdict.reached {
        if reached.direction != direction || !here(&reached.point) {
            continue;
        }
        let counted = notes
            .iter()
            .any(|note| note.ends_with(&format!("({})", local(&reached.meter, host))));
        if !counted {
            notes.push(format!(
                "{} seen ({})",
                words::noun(reached.what).1,
                local(&reached.meter, host)
            ));
        }
    }
    notes
}

/// The meter without the host's label, which stands at the left.
fn local<'a>(meter: &'a str, host: &str) -> &'a str {
    meter
        .strip_prefix(host)
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(meter)
}

/// What became of the packets at a place, by outcome: where it is known, and where it is one of several.
const fn end(outcome: Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::Refused => ("refused here", "refused here or at another point marked ?"),
        Outcome::Stalled => (
            "stands still here",
            "stands still here or at another point marked ?",
        ),
        Outcome::NotSent => (
            "no packet was made here",
            "no packet was made here or at another point marked ?",
        ),
        _ => ("died here", "died here or at another point marked ?"),
    }
}

/// Draws the stops of the verdict's journey.
pub(super) fn write(page: &mut Page, stops: &[Stop], verdict: &Verdict) {
    let (here, here_or_there) = end(verdict.outcome);
    let probably = match verdict.place_certainty {
        Certainty::Proven | Certainty::Strong => String::new(),
        Certainty::Likely | Certainty::Undetermined => format!("probably {here}"),
    };
    let here = if probably.is_empty() { here } else { &probably };
    let host_width = stops
        .iter()
        .filter(|stop| stop.first != Point::Network)
        .map(|stop| display_width(&crate::clean(&stop.host)))
        .max()
        .unwrap_or(0)
        .min(24);
    let name_width = stops
        .iter()
        .map(|stop| display_width(&span(stop)))
        .max()
        .unwrap_or(0);
    let mut host = "";
    for stop in stops {
        let (mark, color, fate) = match stop.fate {
            Fate::Passed if stop.notes.is_empty() => ("│", Color::Plain, ""),
            Fate::Passed => ("●", Color::Good, ""),
            Fate::Died => ("✗", Color::Bad, here),
            Fate::Suspect => ("?", Color::Open, here_or_there),
            Fate::Beyond => ("┆", Color::Faint, "never came here"),
            Fate::Open if stop.notes.is_empty() => ("│", Color::Plain, ""),
            Fate::Open => ("●", Color::Plain, ""),
        };
        // The network's only point has its name.
        let label = if stop.host == host || stop.first == Point::Network {
            ""
        } else {
            &stop.host
        };
        host = &stop.host;
        let mut body: Vec<&str> = stop.notes.iter().map(String::as_str).collect();
        if !fate.is_empty() && (stop.notes.is_empty() || stop.fate == Fate::Died) {
            body.insert(0, fate);
        }
        page.row(
            2,
            &[
                (label, Color::Strong, host_width),
                (mark, color, 1),
                (&span(stop), color, name_width),
            ],
            &body.join("; "),
        );
    }
}

/// The name of a stop: its point, or its first and last.
fn span(stop: &Stop) -> String {
    if stop.first == stop.last {
        stop.first.id().to_owned()
    } else {
        format!("{} … {}", stop.first, stop.last)
    }
}
