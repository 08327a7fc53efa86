//! D4: a fragment stayed away, and with it the rest of the datagram is thrown away when the time for reassembly is over
//! (`ip_expire`, `ip6frag_expire_frag_queue`).

use std::time::Duration;

use transect_path::{CauseId, Point, What};

use crate::case::Case;
use crate::finding::{Amount, Finding};
use crate::world::{Window, count, says};

const TELL: &str =
    "ReasmTimeout of the host's IP counters, and a capture of all fragments at both ends";

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    let whole = matches!(
        case.suspicion.what,
        What::Datagram | What::EchoRequest | What::EchoReply
    );
    if !whole && case.suspicion.what != What::Fragment {
        return Vec::new();
    }
    case.hosts_at(Point::IpInput)
        .into_iter()
        .filter_map(|host| at(case, host))
        .collect()
}

fn at(case: &Case<'_>, host: usize) -> Option<Finding> {
    let prefix = if case.v6() { "Ip6" } else { "Ip" };
    let window = case.suspicion.window;
    // The counter moves when the time for reassembly is over, long after the last fragment.
    let window = Window {
        from: window.from,
        to: window.to + patience(case, host),
    };
    let delta = |name: &str| {
        let name = format!("{prefix}{name}");
        case.world.delta(host, &name, window)
    };
    let expired = delta("ReasmTimeout").filter(|&expired| expired > 0)?;
    let came = delta("ReasmReqds").filter(|&came| came > 0)?;
    let name = format!("{prefix}ReasmTimeout");
    let mut finding = case.metered(
        CauseId::FragmentLost,
        host,
        Point::IpInput,
        &name,
        expired,
        TELL,
    );
    if case.suspicion.what == What::Fragment {
        // The counter counts datagrams. That all of them were this flow's shows when its fragments were all that came.
        finding.amount = match case.lost() {
            Some(lost) if lost == came && delta("ReasmOKs") == Some(0) => Amount::Exact,
            _ => Amount::Covers,
        };
        finding.accounted = case.lost();
        finding.evidence.push(says(
            case.world
                .meter(host, "counter", &format!("{prefix}ReasmReqds")),
            format!("{} came to be put together", count(came, "fragment")),
        ));
    }
    finding.advice.push(
        "find out where the other fragments stay: a filter by port lets only the first pass, or all but the first; \
         or keep datagrams below the path's MTU"
            .to_owned(),
    );
    Some(finding)
}

/// How long this host waits for the fragments that are missing.
fn patience(case: &Case<'_>, host: usize) -> Duration {
    let (name, default) = match case.v6() {
        false => ("net.ipv4.ipfrag_time", 30),
        true => ("net.ipv6.ip6frag_time", 60),
    };
    let sysctls = case.config(host).map(|config| &config.sysctls.values);
    let seconds = sysctls
        .and_then(|values| values.get(name)?.trim().parse::<u16>().ok())
        .unwrap_or(default);
    // The kernel's timers fire up to an eighth late.
    Duration::from_secs(u64::from(seconds)) * 9 / 8
}
