//! The map as `docs/path.md`.

use std::fmt::Write as _;

use super::{Map, MapPoint, heading, id, priorities};

/// The documentation page. Made by `make docs`, checked for drift by `make lint`.
pub(super) fn page(map: &Map) -> String {
    let mut out = String::from(
        "<!-- Made by `make docs` from crates/path and crates/report. Do not edit. -->\n\
         # The path: every place a packet passes, in order\n\n\
         Every point has two edges, *entered* and *left*; a verdict names the two edges between which packets died. Within a\n\
         Netfilter hook, order is by priority, across iptables tables and nft base chains alike; at equal priority the one\n\
         registered last runs first. A packet that one base chain accepts still meets the next. `transect map` prints this\n\
         page in a terminal, `transect map --json` as `transect.map/1`.\n",
    );
    let mut half = None;
    for point in &map.points {
        if half != Some(point.half) {
            half = Some(point.half);
            // Writing to a String cannot fail.
            let _ = write!(out, "\n## {}\n", heading(point.half));
        }
        write_point(&mut out, point);
    }
    out.push_str("\n## Who joins elsewhere\n\n| who | at | |\n|---|---|---|\n");
    for join in map.joins {
        let _ = writeln!(out, "| {} | `{}` | {} |", join.who, join.at, join.says);
    }
    out
}

fn write_point(out: &mut String, point: &MapPoint) {
    let number = point
        .number
        .map(|number| format!("{number}. "))
        .unwrap_or_default();
    let _ = write!(
        out,
        "\n### {number}`{}`\n\n*{}, {}.* {}.\n\n",
        point.point,
        id(point.region),
        id(point.layer),
        point.happens,
    );
    if !point.priorities.is_empty() {
        let _ = writeln!(out, "- Order: {}", priorities(point));
    }
    if !point.meters.is_empty() {
        let _ = writeln!(out, "- Seen by: {}", point.meters.join("; "));
    }
    for tool in point.tools {
        let _ = writeln!(out, "- Tool: **{}** — {}", tool.name, tool.does);
    }
    for disturbance in point.disturbances {
        let _ = writeln!(
            out,
            "- Disturbs: **{}** — {}",
            disturbance.what, disturbance.does
        );
    }
    for cause in &point.dies {
        let _ = writeln!(
            out,
            "- Dies: [`{0}`](causes.md#{0}) — {1}",
            cause.cause, cause.summary
        );
    }
}
