//! Neighbours as `ip -j -s neighbor show` prints them (RFC 826, RFC 4861; net/core/neighbour.c).

use std::io;

use super::json::Json;
use super::link::{Names, hardware_address};
use super::netlink::{Connection, NLM_F_DUMP, address, attribute, number, u8_at, u16_at, u32_at};

const RTM_GETNEIGH: u16 = 30;
const RTM_NEWNEIGH: u16 = 28;
const NUD_NONE: u16 = 0;
const NUD_NOARP: u16 = 0x40;
/// The kernel keeps at most `gc_thresh3` of them, 1024 by default; a gateway with many more is cut off.
const NEIGHBORS: usize = 20_000;

/// The text of `ip/neighbor.json`, and why it is not whole.
pub(super) fn neighbor_json(
    connection: &mut Connection,
    names: &Names,
) -> io::Result<(Vec<u8>, Option<&'static str>)> {
    let answer = connection.ask(RTM_GETNEIGH, NLM_F_DUMP, &[0; 12])?;
    let mut incomplete = answer.incomplete;
    let mut count = 0;
    let bytes = Json::document(|json| {
        for (kind, payload) in answer.messages() {
            let state = u16_at(payload, 8).unwrap_or_default();
            // Like the tool: what needs no resolution (loopback, multicast) is not worth a line.
            if kind != RTM_NEWNEIGH || matches!(state, NUD_NONE | NUD_NOARP) {
                continue;
            }
            count += 1;
            if count > NEIGHBORS {
                incomplete = Some("there are more than 20,000 neighbours");
                break;
            }
            json.item(|json| neighbor(json, payload, state, names));
        }
    });
    Ok((bytes, incomplete))
}

/// One `struct ndmsg` with its attributes (iproute2's `print_neigh`).
fn neighbor(json: &mut Json, payload: &[u8], state: u16, names: &Names) {
    const FLAGS: [(u8, &str); 4] = [
        (0x80, "router"),
        (0x08, "proxy"),
        (0x10, "extern_learn"),
        (0x20, "offload"),
    ];
    const STATES: [(u16, &str); 8] = [
        (0x01, "INCOMPLETE"),
        (0x02, "REACHABLE"),
        (0x04, "STALE"),
        (0x08, "DELAY"),
        (0x10, "PROBE"),
        (0x20, "FAILED"),
        (NUD_NOARP, "NOARP"),
        (0x80, "PERMANENT"),
    ];
    let body = payload.get(12..).unwrap_or_default();
    if let Some(destination) = attribute(body, 1).and_then(address) {
        json.text("dst", destination.to_string());
    }
    json.text("dev", names.get(u32_at(payload, 4).unwrap_or_default()));
    if let Some(link) = attribute(body, 2) {
        // The device's type does not matter for what has neighbours to resolve.
        json.text("lladdr", hardware_address(link, 1));
    }
    let flags = u8_at(payload, 10).unwrap_or_default();
    for (bit, name) in FLAGS {
        if flags & bit != 0 {
            json.null(name);
        }
    }
    if let Some(info) = attribute(body, 3) {
        // struct nda_cacheinfo, in USER_HZ (100).
        let seconds = |offset| u32_at(info, offset).unwrap_or_default() / 100;
        if let Some(count) = u32_at(info, 12).filter(|count| *count != 0) {
            json.value("refcnt", count);
        }
        json.value("used", seconds(4));
        json.value("confirmed", seconds(0));
        json.value("updated", seconds(8));
    }
    if let Some(probes) = attribute(body, 4).and_then(number) {
        json.value("probes", probes);
    }
    json.array("state", |json| {
        for (bit, name) in STATES {
            if state & bit != 0 {
                json.element(name);
            }
        }
    });
}
