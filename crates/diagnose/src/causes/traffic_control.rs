//! B2, B3, B4: tc filters and queueing disciplines, by their own counters.

use transect_config::Qdisc;
use transect_path::{CauseId, Point, Setting, SettingKind};

use crate::case::Case;
use crate::finding::{Amount, Finding, Prediction};
use crate::world::says;

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for host in case.hosts_at(Point::TcIngress) {
        findings.extend(filter(case, host, true));
    }
    for host in case.hosts_at(Point::TcEgress) {
        findings.extend(filter(case, host, false));
    }
    for host in case.hosts_at(Point::Qdisc) {
        findings.extend(qdisc(case, host));
    }
    findings
}

/// B2, B3: a filter that can drop, with its actions' drops or, where BPF decides by itself, those of clsact.
fn filter(case: &Case<'_>, host: usize, ingress: bool) -> Option<Finding> {
    let device = if ingress {
        case.input(host)
    } else {
        case.output(host)
    }?;
    let (cause, point) = if ingress {
        (CauseId::TcIngressDrop, Point::TcIngress)
    } else {
        (CauseId::TcEgressDrop, Point::TcEgress)
    };
    let side_fits = |parent: &str| {
        let egress = matches!(parent, "egress" | "ffff:fff3");
        let root_classifier = !matches!(
            parent,
            "ingress" | "ffff:fff2" | "ffff:" | "egress" | "ffff:fff3"
        );
        if ingress {
            !egress && !root_classifier
        } else {
            egress
        }
    };
    let filters = case.config(host)?.filters.as_ref()?;
    let filter = filters
        .iter()
        .find(|filter| filter.device == device && filter.can_drop() && side_fits(&filter.parent))?;
    let own = format!("filter.{device}.{}.{}.drops", filter.parent, filter.pref);
    let tell = "`tc -s filter show` and `tc -s qdisc show`: dropped";
    let own_delta = case.delta(host, &own);
    // Filters that were not there before have no earlier reading: clsact's sum is the next best.
    let shared: u64 = ["clsact", "ingress"]
        .iter()
        .flat_map(|kind| {
            case.world.moved(
                host,
                &format!("qdisc.{device}.{kind}."),
                ".drops",
                case.suspicion.window,
            )
        })
        .map(|(_, delta)| delta)
        .sum();
    let (delta, name) = match own_delta {
        Some(delta) if delta > 0 => (delta, own.clone()),
        _ if shared > 0 => (shared, format!("qdisc.{device}.clsact.drops")),
        Some(_) => return None,
        None => (0, own.clone()),
    };
    let mut finding = Finding::new(cause, Some(host), point, tell);
    finding.prediction = Prediction::Possible;
    if delta > 0 {
        finding = case.metered(cause, host, point, &name, delta, tell);
        // A filter on one side of one device sees nothing but what passes there; an exact amount is its own.
        finding.own_meter = own_delta.is_some_and(|delta| delta > 0);
    }
    finding.evidence.push(says(
        case.world
            .meter(host, "config", &format!("filter/{device}")),
        format!(
            "a {} filter on {device} ({}) can drop",
            filter.kind, filter.parent
        ),
    ));
    finding.setting = Some(Setting {
        kind: SettingKind::TcFilter,
        name: format!("dev {device} parent {} pref {}", filter.parent, filter.pref),
        value: filter.text.clone(),
    });
    let side = if ingress { "ingress" } else { "egress" };
    finding.advice.push(format!(
        "on {}, look at `tc -s filter show dev {device} {side}`",
        case.world.labels[host]
    ));
    Some(finding)
}

/// B4: the queueing discipline's drops.
fn qdisc(case: &Case<'_>, host: usize) -> Vec<Finding> {
    let Some(device) = case.output(host) else {
        return Vec::new();
    };
    let prefix = format!("qdisc.{device}.");
    let moved = case
        .world
        .moved(host, &prefix, ".drops", case.suspicion.window);
    let dropped: Vec<Dropped<'_>> = moved
        .iter()
        .filter_map(|(name, delta)| {
            let (kind, handle) = name
                .strip_prefix(&prefix)?
                .strip_suffix(".drops")?
                .split_once('.')?;
            let queue = !matches!(kind, "clsact" | "ingress");
            queue.then_some(Dropped {
                counter: name,
                kind,
                handle,
                delta: *delta,
            })
        })
        .collect();
    let known = case
        .config(host)
        .and_then(|config| config.qdiscs.as_deref())
        .unwrap_or_default();
    let of_device: Vec<&Qdisc> = known.iter().filter(|one| one.device == device).collect();
    dropped
        .iter()
        .filter_map(|one| {
            // A discipline with classes counts what the queues below it drop once more (`htb_enqueue`).
            let below = dropped.iter().filter(|other| {
                let mut found = of_device
                    .iter()
                    .filter(|qdisc| qdisc.handle == other.handle);
                found.any(|qdisc| hangs_below(qdisc, one.handle))
            });
            let below: u64 = below.map(|other| other.delta).sum();
            let own = one.delta.checked_sub(below).filter(|&own| own > 0)?;
            let options = of_device
                .iter()
                .find(|qdisc| qdisc.handle == one.handle)
                .map_or_else(String::new, |qdisc| qdisc.options.clone());
            Some(full(case, host, device, one, own, options))
        })
        .collect()
}

/// A queueing discipline that dropped something.
struct Dropped<'n> {
    counter: &'n str,
    kind: &'n str,
    handle: &'n str,
    delta: u64,
}

/// Whether a discipline is the queue of a class (`1:10`) of the one with this handle (`1:`).
fn hangs_below(qdisc: &Qdisc, handle: &str) -> bool {
    let class = qdisc.parent.strip_prefix(handle);
    class.is_some_and(|class| !class.is_empty())
}

fn full(
    case: &Case<'_>,
    host: usize,
    device: &str,
    dropped: &Dropped<'_>,
    own: u64,
    options: String,
) -> Finding {
    let Dropped {
        counter,
        kind,
        handle,
        ..
    } = dropped;
    let tell = "`tc -s qdisc show`: dropped";
    let mut finding = case.metered(CauseId::QdiscDrop, host, Point::Qdisc, counter, own, tell);
    sender_was_told(case, host, own, &mut finding);
    finding.setting = Some(Setting {
        kind: SettingKind::Qdisc,
        name: format!("dev {device} {kind} {handle}"),
        value: options,
    });
    finding.advice.push(format!(
        "on {}, the queue {kind} {handle} of {device} was full: raise its limit or its rate (`tc -s qdisc show dev {device}`, \
         `tc -s class show dev {device}`), or send more slowly",
        case.world.labels[host]
    ));
    finding
}

/// The sender's own counters that rise with a packet that its queue refused (causes.md 2.4, B4).
fn sender_was_told(case: &Case<'_>, host: usize, delta: u64, finding: &mut Finding) {
    let udp = if case.v6() {
        "Udp6SndbufErrors"
    } else {
        "UdpSndbufErrors"
    };
    let counter = if case.is_tcp() {
        "TcpExtTCPRetransFail"
    } else {
        udp
    };
    if let Some(refused) = case.delta(host, counter).filter(|&refused| refused > 0) {
        finding.evidence.push(says(
            case.world.meter(host, "counter", counter),
            format!("{counter} rose by {refused}: the kernel could not queue what it sent"),
        ));
        // What the flow lacks is what was refused to the sender; the queue may have dropped others' packets beside.
        let others_too = refused < delta && case.lost() == Some(refused);
        if others_too {
            finding.accounted = Some(refused);
        }
        if refused == delta || others_too {
            finding.prediction = Prediction::Certain;
        }
        finding.amount = finding.amount.max(Amount::compare(delta, case.lost()));
    }
}
