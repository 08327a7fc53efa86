//! The first line of a verdict: outcome, place and cause in one sentence.

use transect_path::{Certainty, Direction, Outcome, Symptom, Verdict};

use super::words;
use crate::Color;

/// The first line, still without wrapping.
pub(super) struct Headline {
    /// The outcome in capitals.
    pub(super) outcome: &'static str,
    /// Its colour.
    pub(super) color: Color,
    /// What happened, where, and why.
    pub(super) sentence: String,
}

/// The first line of `verdict`.
pub(super) fn headline(verdict: &Verdict) -> Headline {
    let (outcome, color) = match verdict.outcome {
        Outcome::Lost => ("LOST", Color::Bad),
        Outcome::Refused => ("REFUSED", Color::Bad),
        Outcome::Stalled => ("STALLED", Color::Warn),
        Outcome::NotSent => ("NOT SENT", Color::Warn),
        Outcome::Undetermined => ("UNDETERMINED", Color::Open),
        Outcome::Delivered => ("DELIVERED", Color::Good),
    };
    let mut sentence = match verdict.outcome {
        Outcome::Lost => lost(verdict),
        Outcome::Refused => refused(verdict),
        Outcome::Stalled => stalled(verdict),
        Outcome::NotSent => not_sent(verdict),
        Outcome::Undetermined => undetermined(verdict),
        Outcome::Delivered => delivered(verdict),
    };
    sentence.push_str(&reason(verdict));
    sentence.push('.');
    match verdict.flows {
        0 | 1 => {}
        2 => sentence.push_str(" One more flow ended like this."),
        flows => sentence.push_str(&format!(
            " {} more flows ended like this.",
            flows.saturating_sub(1)
        )),
    }
    Headline {
        outcome,
        color,
        sentence,
    }
}

fn lost(verdict: &Verdict) -> String {
    let packets = packets(verdict, "packets");
    let probably = match verdict.place_certainty {
        Certainty::Likely => " probably",
        _ => "",
    };
    format!("{packets}{probably} died {}", place(verdict))
}

fn refused(verdict: &Verdict) -> String {
    let packets = packets(verdict, "packets");
    let by = match (&verdict.host, verdict.point) {
        (Some(host), _) if host == "network" => " by a device between the hosts".to_owned(),
        (Some(host), Some(point)) => format!(" in {host}'s {point}"),
        (Some(host), None) => format!(" on {host}"),
        (None, _) => match &verdict.between {
            Some([from, to]) => format!(" between {from} and {to}"),
            None => String::new(),
        },
    };
    let verb = match verdict.lost.as_ref().map(|lost| lost.packets) {
        Some(1) => "was",
        _ => "were",
    };
    format!("{packets} {verb} refused{by}")
}

fn stalled(verdict: &Verdict) -> String {
    let place = match (&verdict.host, verdict.point) {
        (Some(host), Some(point)) => format!(" in {host}'s {point}"),
        (Some(host), None) => format!(" on {host}"),
        _ => String::new(),
    };
    format!(
        "{}: no packet is missing, and yet the flow stands still{place}",
        flow(verdict, Direction::ToServer)
    )
}

fn not_sent(verdict: &Verdict) -> String {
    let place = match (&verdict.host, verdict.point) {
        (Some(host), Some(point)) => format!(", {host}'s {point} made none"),
        (Some(host), None) => format!(", {host} made none"),
        _ => String::new(),
    };
    format!(
        "{}: no packet ever existed{place}",
        flow(verdict, Direction::ToServer)
    )
}

fn undetermined(verdict: &Verdict) -> String {
    let Some(_) = &verdict.flow else {
        return words::symptom(verdict.symptom).to_owned();
    };
    match (&verdict.lost, verdict.symptom) {
        (Some(_), _) => {
            let packets = packets(verdict, "packets");
            format!("{packets} may have died {}", place(verdict))
        }
        (None, symptom) => format!(
            "{}: {}",
            flow(verdict, Direction::ToServer),
            words::symptom(symptom)
        ),
    }
}

fn delivered(verdict: &Verdict) -> String {
    let mut sentence = format!(
        "{}: everything that was sent arrived",
        flow(verdict, Direction::ToServer)
    );
    let again = verdict
        .recovered
        .iter()
        .fold(0u64, |sum, item| sum.saturating_add(item.packets));
    if again > 0 {
        sentence.push_str(&format!(
            "; {again} {} had to be sent again",
            if again == 1 { "packet" } else { "packets" }
        ));
    }
    sentence
}

/// The cause as the end of the sentence, in words as sure as the verdict is.
fn reason(verdict: &Verdict) -> String {
    match (verdict.cause, verdict.certainty) {
        (Some(cause), Certainty::Proven | Certainty::Strong) => {
            format!(": {}", cause_words(verdict, cause.facts().summary))
        }
        (Some(cause), _) => format!(": probably {}", cause_words(verdict, cause.facts().summary)),
        (None, _) => {
            let mut names: Vec<&str> = Vec::new();
            for alternative in &verdict.alternatives {
                let name = alternative.cause.id();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            match (names.as_slice(), verdict.outcome) {
                (_, Outcome::Delivered) => String::new(),
                ([], Outcome::Lost) => ", and nothing that was read says why".to_owned(),
                ([], _) => String::new(),
                ([only], _) => format!("; it may be {only}"),
                ([first, second, third, rest @ ..], _) if rest.len() > 1 => format!(
                    "; it may be {first}, {second}, {third} or one of {} more causes",
                    rest.len()
                ),
                (several, _) => format!("; it may be {}", several.join(" or ")),
            }
        }
    }
}

/// The summary of the cause; where a rule did it, with the rule's own words in place of "a rule".
fn cause_words(verdict: &Verdict, summary: &str) -> String {
    let Some(rule) = &verdict.rule else {
        return summary.to_owned();
    };
    let named = match (rule.number, rule.handle) {
        (None, None) => format!("the policy \"{}\"", rule.text),
        _ => format!("the rule \"{}\"", rule.text),
    };
    for start in ["a firewall rule or policy", "a firewall rule", "a rule"] {
        if let Some(rest) = summary.strip_prefix(start) {
            return format!("{named}{rest}");
        }
    }
    format!("{summary} ({named})")
}

/// `7 SYNs 172.17.0.2:40122 → 172.17.0.3:3306`; with the protocol where the packets' class does not say it.
fn packets(verdict: &Verdict, nameless: &str) -> String {
    let protocol = verdict
        .flow
        .as_ref()
        .map(|flow| flow.protocol.to_uppercase())
        .unwrap_or_default();
    let (count, direction) = match &verdict.lost {
        Some(lost) if words::names_protocol(lost.what) || protocol.is_empty() => {
            (words::count(lost.packets, lost.what), lost.direction)
        }
        Some(lost) => {
            let (one, many) = words::noun(lost.what);
            let noun = if lost.packets == 1 { one } else { many };
            (
                format!("{} {protocol} {noun}", lost.packets),
                lost.direction,
            )
        }
        None => (
            format!("{protocol} {nameless}").trim().to_owned(),
            Direction::ToServer,
        ),
    };
    match ends(verdict, direction) {
        Some(ends) => format!("{count} {ends}"),
        None => count,
    }
}

/// The flow in the direction of travel, with its protocol.
fn flow(verdict: &Verdict, direction: Direction) -> String {
    match (&verdict.flow, ends(verdict, direction)) {
        (Some(flow), Some(ends)) => format!("{} {ends}", flow.protocol.to_uppercase()),
        _ => "The flow".to_owned(),
    }
}

/// `172.17.0.2:40122 → 172.17.0.3:3306`, in the direction of travel.
fn ends(verdict: &Verdict, direction: Direction) -> Option<String> {
    let flow = verdict.flow.as_ref()?;
    let (from, to) = match direction {
        Direction::ToServer => (&flow.client, &flow.server),
        Direction::ToClient => (&flow.server, &flow.client),
    };
    Some(format!("{from} → {to}"))
}

/// Where packets died.
fn place(verdict: &Verdict) -> String {
    match (&verdict.host, verdict.point, &verdict.between) {
        (Some(host), _, _) if host == "network" => "between the hosts".to_owned(),
        (Some(host), Some(point), _) => format!("in {host}'s {point}"),
        (Some(host), None, Some([from, to])) => {
            format!("on {host}, between {} and {}", from.edge, to.edge)
        }
        (Some(host), None, None) => format!("on {host}"),
        (None, _, Some([from, to])) => format!("somewhere between {from} and {to}"),
        (None, Some(point), None) => format!("in {point}"),
        (None, None, None) if verdict.symptom == Symptom::NoPacketSeen => {
            "where nothing could see them".to_owned()
        }
        (None, None, None) => "at an unknown place".to_owned(),
    }
}
