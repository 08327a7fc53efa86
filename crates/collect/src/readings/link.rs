//! Links as `ip -j -d -s -s link show` prints them, and addresses as `ip -j address show` does (rtnetlink, RFC 3549).
//!
//! Two differences from the tool, both on purpose: `otherhost` and `nohandler` are printed when they are zero too, since
//! a counter that is zero differs from one that was not read; and details of a kind that no diagnosis uses are left out.

mod kind;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use super::json::Json;
use super::netlink::{
    Answer, Connection, NLM_F_DUMP, address, attribute, attributes, number, push_attribute, text,
    u8_at, u16_at, u32_at, u64_at,
};

const RTM_GETLINK: u16 = 18;
const RTM_NEWLINK: u16 = 16;
const RTM_GETADDR: u16 = 22;
const RTM_NEWADDR: u16 = 20;
const IFLA_EXT_MASK: u16 = 29;
/// Leaves the IPv6 statistics of each device out, which are half of the answer; `net/snmp6` has their sums.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;

/// Names of interfaces by index, as of the newest link dump.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<u32, String>);

impl Names {
    /// The interface's name, or `if7` as iproute2 writes an interface that went away.
    pub(super) fn get(&self, index: u32) -> String {
        match self.0.get(&index) {
            Some(name) => name.clone(),
            None => format!("if{index}"),
        }
    }

    /// Indexes and names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.0.iter().map(|(index, name)| (*index, name.as_str()))
    }
}

/// All links of the namespace.
pub(super) struct Links {
    answer: Answer,
    /// Their names.
    pub(super) names: Names,
}

impl Links {
    /// Asks the kernel (`rtnl_dump_ifinfo`).
    pub(super) fn dump(route: &mut Connection) -> io::Result<Self> {
        let mut body = vec![0; 16];
        push_attribute(
            &mut body,
            IFLA_EXT_MASK,
            &RTEXT_FILTER_SKIP_STATS.to_ne_bytes(),
        );
        let answer = route.ask(RTM_GETLINK, NLM_F_DUMP, &body)?;
        let names = links(&answer)
            .filter_map(|link| Some((link.index, link.get(3).map(text)?)))
            .collect();
        Ok(Links {
            answer,
            names: Names(names),
        })
    }

    /// Why the dump is not whole.
    pub(super) fn incomplete(&self) -> Option<&'static str> {
        self.answer.incomplete
    }

    /// The text of `ip/link.json`.
    pub(super) fn json(&self) -> Vec<u8> {
        Json::document(|json| {
            for link in links(&self.answer) {
                json.item(|json| {
                    link.head(json, &self.names, true);
                    link.details(json);
                    link.statistics(json);
                });
            }
        })
    }

    /// The text of `ip/address.json`.
    pub(super) fn address_json(
        &self,
        route: &mut Connection,
    ) -> io::Result<(Vec<u8>, Option<&'static str>)> {
        let answer = route.ask(RTM_GETADDR, NLM_F_DUMP, &[0; 8])?;
        let bytes = Json::document(|json| {
            for link in links(&self.answer) {
                json.item(|json| {
                    link.head(json, &self.names, false);
                    json.array("addr_info", |json| {
                        for (kind, payload) in answer.messages() {
                            if kind == RTM_NEWADDR && u32_at(payload, 4) == Some(link.index) {
                                json.item(|json| address_info(json, payload));
                            }
                        }
                    });
                });
            }
        });
        Ok((bytes, answer.incomplete))
    }
}

/// One `struct ifinfomsg` and its attributes.
struct LinkMessage<'a> {
    index: u32,
    hardware: u16,
    flags: u32,
    attributes: &'a [u8],
}

fn links(answer: &Answer) -> impl Iterator<Item = LinkMessage<'_>> {
    answer
        .messages()
        .filter(|(kind, _)| *kind == RTM_NEWLINK)
        .filter_map(|(_, payload)| {
            Some(LinkMessage {
                hardware: u16_at(payload, 2)?,
                index: u32_at(payload, 4)?,
                flags: u32_at(payload, 8)?,
                attributes: payload.get(16..)?,
            })
        })
}

impl LinkMessage<'_> {
    fn get(&self, kind: u16) -> Option<&[u8]> {
        attribute(self.attributes, kind)
    }

    fn number(&self, kind: u16) -> Option<u64> {
        self.get(kind).and_then(number)
    }

    /// What `ip link` and `ip address` both print (`print_linkinfo`).
    fn head(&self, json: &mut Json, names: &Names, link: bool) {
        json.value("ifindex", self.index);
        let peer_namespace = self
            .get(37)
            .and_then(|value| u32_at(value, 0))
            .map(u32::cast_signed);
        match self.number(5).and_then(|peer| u32::try_from(peer).ok()) {
            Some(0) => json.null("link"),
            // The index means something in the peer's namespace only.
            Some(peer) if peer_namespace.is_some() => json.value("link_index", peer),
            Some(peer) => json.text("link", names.get(peer)),
            None => {}
        }
        json.text("ifname", self.get(3).map(text).unwrap_or_default());
        json.array("flags", |json| self.flag_names(json));
        if let Some(mtu) = self.number(4) {
            json.value("mtu", mtu);
        }
        if let Some(qdisc) = self.get(6) {
            json.text("qdisc", text(qdisc));
        }
        if let Some(master) = self
            .number(10)
            .and_then(|master| u32::try_from(master).ok())
        {
            json.text("master", names.get(master));
        }
        if let Some(state) = self.number(16) {
            json.text("operstate", operational_state(state));
        }
        if let (true, Some(mode)) = (link, self.number(17)) {
            json.text("linkmode", if mode == 0 { "DEFAULT" } else { "DORMANT" });
        }
        match self.number(27) {
            Some(0) => json.text("group", "default"),
            Some(group) => json.text("group", group.to_string()),
            None => {}
        }
        if let Some(length) = self.number(13) {
            json.value("txqlen", length);
        }
        json.text("link_type", hardware_type(self.hardware));
        if let Some(value) = self.get(1) {
            json.text("address", hardware_address(value, self.hardware));
        }
        if let Some(value) = self.get(2) {
            json.text("broadcast", hardware_address(value, self.hardware));
        }
        if let Some(id) = peer_namespace {
            json.value("link_netnsid", id);
        }
    }

    /// Flags in the order of iproute2's `print_link_flags`.
    fn flag_names(&self, json: &mut Json) {
        const UP: u32 = 0x1;
        const RUNNING: u32 = 0x40;
        const NAMES: [(u32, &str); 17] = [
            (0x8, "LOOPBACK"),
            (0x2, "BROADCAST"),
            (0x10, "POINTOPOINT"),
            (0x1000, "MULTICAST"),
            (0x80, "NOARP"),
            (0x200, "ALLMULTI"),
            (0x100, "PROMISC"),
            (0x400, "MASTER"),
            (0x800, "SLAVE"),
            (0x4, "DEBUG"),
            (0x8000, "DYNAMIC"),
            (0x4000, "AUTOMEDIA"),
            (0x2000, "PORTSEL"),
            (0x20, "NOTRAILERS"),
            (UP, "UP"),
            (0x10000, "LOWER_UP"),
            (0x20000, "DORMANT"),
        ];
        if self.flags & UP != 0 && self.flags & RUNNING == 0 {
            json.element("NO-CARRIER");
        }
        for (bit, name) in NAMES {
            if self.flags & bit != 0 {
                json.element(name);
            }
        }
    }

    /// What `-d` adds.
    fn details(&self, json: &mut Json) {
        const NUMBERS: [(u16, &str); 4] = [
            (30, "promiscuity"),
            (61, "allmulti"),
            (50, "min_mtu"),
            (51, "max_mtu"),
        ];
        const SIZES: [(u16, &str); 7] = [
            (31, "num_tx_queues"),
            (32, "num_rx_queues"),
            (41, "gso_max_size"),
            (40, "gso_max_segs"),
            (59, "tso_max_size"),
            (60, "tso_max_segs"),
            (58, "gro_max_size"),
        ];
        for (kind, name) in NUMBERS {
            if let Some(value) = self.number(kind) {
                json.value(name, value);
            }
        }
        if let Some(info) = self.get(18) {
            json.object("linkinfo", |json| kind::link_info(json, info));
        }
        for (kind, name) in SIZES {
            if let Some(value) = self.number(kind) {
                json.value(name, value);
            }
        }
        if let Some(alias) = self.get(20) {
            json.text("ifalias", text(alias));
        }
        if let Some(xdp) = self.get(43) {
            express_data_path(json, xdp);
        }
    }

    /// `struct rtnl_link_stats64` (include/uapi/linux/if_link.h), in iproute2's order.
    fn statistics(&self, json: &mut Json) {
        const RX: [(&str, usize); 13] = [
            ("bytes", 2),
            ("packets", 0),
            ("errors", 4),
            ("dropped", 6),
            ("over_errors", 11),
            ("multicast", 8),
            ("length_errors", 10),
            ("crc_errors", 12),
            ("frame_errors", 13),
            ("fifo_errors", 14),
            ("missed_errors", 15),
            ("nohandler", 23),
            ("otherhost", 24),
        ];
        const TX: [(&str, usize); 10] = [
            ("bytes", 3),
            ("packets", 1),
            ("errors", 5),
            ("dropped", 7),
            ("carrier_errors", 17),
            ("collisions", 9),
            ("aborted_errors", 16),
            ("fifo_errors", 18),
            ("window_errors", 20),
            ("heartbeat_errors", 19),
        ];
        let Some(counters) = self.get(23) else {
            return;
        };
        let print = |json: &mut Json, fields: &[(&str, usize)]| {
            for (name, place) in fields {
                // A kernel older than a counter does not send it.
                if let Some(count) = u64_at(counters, place.saturating_mul(8)) {
                    json.value(name, count);
                }
            }
        };
        json.object("stats64", |json| {
            json.object("rx", |json| print(json, &RX));
            json.object("tx", |json| {
                print(json, &TX);
                if let Some(changes) = self.number(35) {
                    json.value("carrier_changes", changes);
                }
            });
        });
    }
}

/// `IFLA_XDP`: the mode (1 native, 2 generic, 3 offloaded, 4 several) and the programs by id.
fn express_data_path(json: &mut Json, xdp: &[u8]) {
    let mode = attribute(xdp, 2).and_then(number).unwrap_or_default();
    if mode == 0 {
        return;
    }
    json.object("xdp", |json| {
        json.value("mode", mode);
        if let Some(id) = attribute(xdp, 4).and_then(number).filter(|id| *id != 0) {
            program(json, id);
        }
        json.array("attached", |json| {
            for (kind, mode) in [(6, 2), (5, 1), (7, 3)] {
                if let Some(id) = attribute(xdp, kind).and_then(number).filter(|id| *id != 0) {
                    json.item(|json| {
                        json.value("mode", mode);
                        program(json, id);
                    });
                }
            }
        });
    });
}

/// A BPF program as `bpf_dump_prog_info` of iproute2 shows it: what only root may ask, it leaves out for others.
fn program(json: &mut Json, id: u64) {
    let known = u32::try_from(id).map_err(io::Error::other);
    let known = known.and_then(transect_sys::bpf_program);
    json.object("prog", |json| {
        json.value("id", id);
        if let Ok(known) = known {
            if !known.name.is_empty() {
                json.text("name", &known.name);
            }
            let tag: String = known.tag.iter().map(|byte| format!("{byte:02x}")).collect();
            json.text("tag", &tag);
            json.value("jited", u64::from(known.jited));
        }
    });
}

/// One `struct ifaddrmsg` as an element of `addr_info` (iproute2's `print_addrinfo`).
fn address_info(json: &mut Json, payload: &[u8]) {
    const FLAGS: [(u64, &str); 9] = [
        (0x20, "deprecated"),
        (0x40, "tentative"),
        (0x02, "nodad"),
        (0x04, "optimistic"),
        (0x08, "dadfailed"),
        (0x10, "home"),
        (0x100, "mngtmpaddr"),
        (0x200, "noprefixroute"),
        (0x400, "autojoin"),
    ];
    let body = payload.get(8..).unwrap_or_default();
    let ipv6 = u8_at(payload, 0) == Some(10);
    json.text("family", if ipv6 { "inet6" } else { "inet" });
    let plain = attribute(body, 1).and_then(address);
    let local = attribute(body, 2).and_then(address).or(plain);
    if let Some(local) = local {
        json.text("local", local.to_string());
    }
    if let Some(peer) = plain.filter(|peer| Some(*peer) != local) {
        json.text("address", peer.to_string());
    }
    json.value("prefixlen", u8_at(payload, 1).unwrap_or_default());
    if let Some(metric) = attribute(body, 9).and_then(number).filter(|m| *m != 0) {
        json.value("metric", metric);
    }
    if let Some(broadcast) = attribute(body, 4).and_then(address) {
        json.text("broadcast", broadcast.to_string());
    }
    json.text("scope", scope_name(u8_at(payload, 3).unwrap_or_default()));
    let flags = attribute(body, 8)
        .and_then(number)
        .or_else(|| u8_at(payload, 2).map(u64::from))
        .unwrap_or_default();
    if flags & 0x01 != 0 {
        json.value(if ipv6 { "temporary" } else { "secondary" }, true);
    }
    for (bit, name) in FLAGS {
        if flags & bit != 0 {
            json.value(name, true);
        }
    }
    // IFA_F_PERMANENT is the rule for hand-made addresses; its absence is what iproute2 prints.
    if flags & 0x80 == 0 {
        json.value("dynamic", true);
    }
    if let Some(label) = attribute(body, 3) {
        json.text("label", text(label));
    }
    if let Some(lifetimes) = attribute(body, 6) {
        json.value("valid_life_time", u32_at(lifetimes, 4).unwrap_or_default());
        json.value(
            "preferred_life_time",
            u32_at(lifetimes, 0).unwrap_or_default(),
        );
    }
}

/// RT_SCOPE_* as /etc/iproute2/rt_scopes names them.
pub(super) fn scope_name(scope: u8) -> String {
    match scope {
        0 => "global".to_owned(),
        200 => "site".to_owned(),
        253 => "link".to_owned(),
        254 => "host".to_owned(),
        255 => "nowhere".to_owned(),
        other => other.to_string(),
    }
}

/// IF_OPER_* (RFC 2863).
fn operational_state(state: u64) -> String {
    const NAMES: [&str; 7] = [
        "UNKNOWN",
        "NOTPRESENT",
        "DOWN",
        "LOWERLAYERDOWN",
        "TESTING",
        "DORMANT",
        "UP",
    ];
    usize::try_from(state)
        .ok()
        .and_then(|index| NAMES.get(index))
        .map_or_else(|| format!("{state:#x}"), |name| (*name).to_owned())
}

/// ARPHRD_* as iproute2 names the usual ones.
fn hardware_type(kind: u16) -> String {
    let name = match kind {
        1 => "ether",
        32 => "infiniband",
        512 => "ppp",
        519 => "rawip",
        768 => "ipip",
        769 => "tunnel6",
        772 => "loopback",
        776 => "sit",
        778 => "gre",
        823 => "gre6",
        824 => "netlink",
        801 => "ieee802.11",
        803 => "ieee802.11/radiotap",
        0xfffe => "none",
        0xffff => "void",
        other => return format!("[{other}]"),
    };
    name.to_owned()
}

/// A link-layer address: tunnels have IP addresses there (iproute2's `ll_addr_n2a`).
pub(super) fn hardware_address(value: &[u8], hardware: u16) -> String {
    match (value.len(), hardware) {
        (4, 768 | 776 | 778) => {
            if let Ok(octets) = <[u8; 4]>::try_from(value) {
                return IpAddr::from(Ipv4Addr::from(octets)).to_string();
            }
        }
        (16, 769 | 823) => {
            if let Some(found) = address(value) {
                return found.to_string();
            }
        }
        _ => {}
    }
    let octets: Vec<String> = value.iter().map(|byte| format!("{byte:02x}")).collect();
    octets.join(":")
}

/// All attributes of a nested one that a table names, as numbers.
fn numbers(json: &mut Json, nested: &[u8], table: &[(u16, &str)]) {
    for (kind, value) in attributes(nested) {
        if let (Some((_, name)), Some(value)) = (
            table.iter().find(|(wanted, _)| *wanted == kind),
            number(value),
        ) {
            json.value(name, value);
        }
    }
}
