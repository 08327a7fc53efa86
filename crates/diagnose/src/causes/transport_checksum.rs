//! G8: the TCP or UDP checksum is wrong.

use transect_path::{CauseId, Point};

use crate::case::Case;
use crate::finding::Finding;

pub(crate) fn examine(case: &Case<'_>) -> Vec<Finding> {
    let counter = match (case.is_tcp(), case.is_udp(), case.v6()) {
        (true, ..) => "TcpInCsumErrors",
        (_, true, false) => "UdpInCsumErrors",
        (_, true, true) => "Udp6InCsumErrors",
        _ => return Vec::new(),
    };
    // UDP's checksum is verified only when a socket takes the datagram, TCP's before the look-up; both count as transport_input.
    let tell = "the counter of checksum errors; never the checksum in a capture, which offloading leaves unfinished";
    let find = |host| {
        let mut finding = case.counted(
            CauseId::TransportChecksum,
            host,
            Point::TransportInput,
            counter,
            tell,
        )?;
        finding.advice.push(
            "something on the way damages packets: try without checksum offload at the sender (ethtool -K DEVICE tx off), \
             look for tunnels and middle boxes that rewrite headers"
                .to_owned(),
        );
        Some(finding)
    };
    case.hosts_at(Point::TransportInput)
        .into_iter()
        .filter_map(find)
        .collect()
}
