//! The accounting identity of the receiving side (causes.md 2.3): what came to IP and is accounted for nowhere.

use crate::case::Case;

/// Where a received packet can end with a counter of its own; what is left died silently: rules, martians, blackholes.
const ACCOUNTED: [&str; 8] = [
    "InDelivers",
    "InHdrErrors",
    "InAddrErrors",
    "InUnknownProtos",
    "InDiscards",
    "InTruncatedPkts",
    "InNoRoutes",
    "InTooBigErrors",
];

/// InReceives less everything that accounts for a packet; None where a reading is missing or the numbers do not fit
/// (other traffic that was counted on one side of a reading only).
pub(crate) fn unexplained(case: &Case<'_>, host: usize) -> Option<u64> {
    let received = case.ip_delta(host, "InReceives")?;
    let mut explained: u64 = 0;
    for name in ACCOUNTED {
        // IPv4 keeps some of them in IpExt, IPv6 all in one; what a kernel does not have, it does not count.
        let delta = match case.ip_delta(host, name) {
            Some(delta) => delta,
            None if !case.v6() => case.delta(host, &format!("IpExt{name}")).unwrap_or(0),
            None => 0,
        };
        explained = explained.checked_add(delta)?;
    }
    if !case.v6() {
        explained += case.delta(host, "TcpExtIPReversePathFilter").unwrap_or(0);
    }
    // Since 6.12 counted before the FORWARD hook, before that behind it; either way the packet was forwarded.
    explained += case
        .ip_delta(
            host,
            if case.v6() {
                "OutForwDatagrams"
            } else {
                "ForwDatagrams"
            },
        )
        .unwrap_or(0);
    let fragments = case.ip_delta(host, "ReasmReqds").unwrap_or(0);
    let whole = case.ip_delta(host, "ReasmOKs").unwrap_or(0);
    explained = explained.checked_add(fragments.checked_sub(whole)?)?;
    received.checked_sub(explained)
}
