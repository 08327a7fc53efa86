//! The map (`transect.map/1`): the path, and what can die, what sees it, which tool works and what disturbs at each point.

mod data;
mod markdown;

use serde::Serialize;
use transect_path::{CauseId, Half, Hook, Layer, Point, Region};

use crate::{Color, Page, Style};

/// The name and version of the schema of [`Map`].
pub const MAP_SCHEMA: &str = "transect.map/1";

/// The whole path, in the order in which a packet passes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Map {
    /// Always [`MAP_SCHEMA`].
    pub schema: &'static str,
    /// Every point, sending, then the network, then receiving.
    pub points: Vec<MapPoint>,
    /// Senders and redirectors that do not start at the top.
    pub joins: &'static [JoinsAt],
}

/// One point of the path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MapPoint {
    /// The stable id.
    pub point: Point,
    /// Sending, network or receiving.
    pub half: Half,
    /// Its place in its half: `5`, `11f` for the fork to forwarding; null for the network.
    pub number: Option<&'static str>,
    /// Who executes its code.
    pub region: Region,
    /// Its protocol layer.
    pub layer: Layer,
    /// The Netfilter hook that runs here.
    pub hook: Option<Hook>,
    /// What runs at which priority of the hook, in order; at equal priority the one registered last runs first.
    pub priorities: &'static [Priority],
    /// What happens to a packet here.
    pub happens: &'static str,
    /// What can kill it here.
    pub dies: Vec<MapCause>,
    /// Which meters see it here.
    pub meters: &'static [&'static str],
    /// Which well-known tools work here.
    pub tools: &'static [MapTool],
    /// What changes the packet or the picture here without being a fault.
    pub disturbances: &'static [Disturbance],
}

/// Something that registers itself in a Netfilter hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Priority {
    /// An iptables table, or a part of the kernel.
    pub who: &'static str,
    /// The priority (`enum nf_ip_hook_priorities`).
    pub priority: i32,
}

/// A cause that kills at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MapCause {
    /// The stable id.
    pub cause: CauseId,
    /// What happened, in words.
    pub summary: &'static str,
}

/// A well-known tool, and what it does at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MapTool {
    /// The tool.
    pub name: &'static str,
    /// What it does here.
    pub does: &'static str,
}

/// Something that makes packets or captures look otherwise than one expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Disturbance {
    /// What disturbs.
    pub what: &'static str,
    /// What it does.
    pub does: &'static str,
}

/// A sender that joins the path below its top, or a mechanism that leaves it in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct JoinsAt {
    /// Who.
    pub who: &'static str,
    /// The first point that it passes.
    pub at: Point,
    /// What it passes and what it does not.
    pub says: &'static str,
}

/// The map, from the code's own tables.
pub fn map() -> Map {
    Map {
        schema: MAP_SCHEMA,
        points: Point::ALL.iter().map(|point| map_point(*point)).collect(),
        joins: data::JOINS,
    }
}

fn map_point(point: Point) -> MapPoint {
    let facts = data::facts(point);
    MapPoint {
        point,
        half: point.half(),
        number: facts.number,
        region: point.region(),
        layer: point.layer(),
        hook: point.hook(),
        priorities: facts.priorities,
        happens: facts.happens,
        dies: CauseId::ALL
            .iter()
            .filter(|cause| cause.facts().points.contains(&point))
            .map(|cause| MapCause {
                cause: *cause,
                summary: cause.facts().summary,
            })
            .collect(),
        meters: facts.meters,
        tools: facts.tools,
        disturbances: facts.disturbances,
    }
}

/// The headings of the three parts of the path.
const fn heading(half: Half) -> &'static str {
    match half {
        Half::Sending => "Sending",
        Half::Network => "Between the hosts",
        Half::Receiving => "Receiving",
    }
}

/// The id that serde writes for a region or a layer.
fn id<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

fn priorities(point: &MapPoint) -> String {
    point
        .priorities
        .iter()
        .map(|entry| match entry.priority {
            i32::MAX => format!("{} last", entry.who),
            priority => format!("{} {priority}", entry.who),
        })
        .collect::<Vec<_>>()
        .join(", ")
}

impl Map {
    /// The map for a terminal.
    pub fn text(&self, style: Style) -> String {
        let mut page = Page::new(style);
        let mut half = None;
        for point in &self.points {
            if half != Some(point.half) {
                half = Some(point.half);
                page.gap();
                page.colored(0, heading(point.half), Color::Strong);
            }
            page.gap();
            write_point(&mut page, point);
        }
        page.gap();
        page.colored(0, "Who joins elsewhere", Color::Strong);
        page.gap();
        for join in self.joins {
            page.colored(2, join.who, Color::Strong);
            page.paragraph(4, &format!("at {}: {}", join.at, join.says));
        }
        page.finish()
    }

    /// The map as a page of the documentation.
    pub fn markdown(&self) -> String {
        markdown::page(self)
    }
}

fn write_point(page: &mut Page, point: &MapPoint) {
    let number = point.number.unwrap_or("");
    page.entry(
        0,
        (number, Color::Faint),
        4,
        &format!(
            "{} ({}, {})",
            point.point,
            id(point.region),
            id(point.layer)
        ),
    );
    page.paragraph(4, point.happens);
    if !point.priorities.is_empty() {
        page.entry(4, ("order", Color::Faint), 9, &priorities(point));
    }
    let mut label = "dies";
    for cause in &point.dies {
        page.entry(
            4,
            (label, Color::Bad),
            9,
            &format!("{}: {}", cause.cause, cause.summary),
        );
        label = "";
    }
    if !point.meters.is_empty() {
        page.entry(4, ("seen by", Color::Good), 9, &point.meters.join("; "));
    }
    let mut label = "tools";
    for tool in point.tools {
        page.entry(
            4,
            (label, Color::Strong),
            9,
            &format!("{}: {}", tool.name, tool.does),
        );
        label = "";
    }
    let mut label = "disturbs";
    for disturbance in point.disturbances {
        page.entry(
            4,
            (label, Color::Warn),
            9,
            &format!("{}: {}", disturbance.what, disturbance.does),
        );
        label = "";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_on_the_map_once_and_says_what_happens() {
        let map = map();
        let points: Vec<Point> = map.points.iter().map(|entry| entry.point).collect();
        assert_eq!(points, Point::ALL);
        for entry in &map.points {
            assert!(!entry.happens.is_empty(), "{}", entry.point);
            assert_eq!(
                entry.number.is_none(),
                entry.point == Point::Network,
                "{}",
                entry.point
            );
        }
    }

    #[test]
    fn every_cause_stands_at_each_of_its_points() {
        let map = map();
        for cause in CauseId::ALL {
            for point in cause.facts().points {
                assert!(
                    map.points.iter().any(|entry| entry.point == *point
                        && entry.dies.iter().any(|dies| dies.cause == *cause)),
                    "{cause} at {point}"
                );
            }
        }
    }

    #[test]
    fn numbers_ascend_and_priorities_too() {
        for walk in [Point::sending(), Point::receiving()] {
            let numbers: Vec<u32> = walk
                .iter()
                .filter_map(|point| data::facts(*point).number)
                .filter_map(|number| number.parse().ok())
                .collect();
            let expected: Vec<u32> = (1..).take(walk.len()).collect();
            assert_eq!(numbers, expected);
        }
        for entry in map().points {
            assert!(
                entry
                    .priorities
                    .windows(2)
                    .all(|pair| pair[0].priority <= pair[1].priority),
                "{}",
                entry.point
            );
        }
    }

    #[test]
    fn one_point_in_text() {
        let map = map();
        let mut page = Page::new(Style::PLAIN);
        let point = map
            .points
            .iter()
            .find(|entry| entry.point == Point::LocalIn)
            .unwrap();
        write_point(&mut page, point);
        insta::assert_snapshot!(page.finish());
    }

    #[test]
    fn the_tools_of_the_article_stand_where_they_work() {
        let map = map();
        let has = |point: Point, name: &str| {
            map.points
                .iter()
                .find(|entry| entry.point == point)
                .is_some_and(|entry| entry.tools.iter().any(|tool| tool.name.contains(name)))
        };
        assert!(has(Point::TapIn, "tcpdump") && has(Point::TapOut, "tcpdump"));
        assert!(has(Point::RawTap, "tcpcopy") && has(Point::RouteOutput, "tcpcopy"));
        assert!(has(Point::LocalIn, "LVS"));
        assert!(has(Point::TransportInput, "netstat"));
        assert!(has(Point::AppReceive, "HTTP"));
        assert!(has(Point::NicIn, "ethtool"));
        assert!(has(Point::Qdisc, "tc"));
        assert!(has(Point::LocalOut, "iptables"));
    }
}
