//! Devices from the text of `ip link` and `ip address`.

use super::{BridgePortState, Link, OperState, XdpMode, XdpProgram};
use crate::block::{self, Block};
use crate::parse::Parsed;
use crate::text::{Words, mac};

pub(super) fn read(text: &str) -> Parsed<Vec<Link>> {
    let blocks = block::split(text);
    let mut parsed = Parsed {
        value: Vec::new(),
        problems: blocks.problems,
    };
    for block in blocks.value {
        // `ip -o address` repeats index and name, but nothing of the device itself.
        if !block.header.starts_with('<') {
            continue;
        }
        let mut link = Link {
            index: block.index,
            name: block.name.to_owned(),
            ..Link::default()
        };
        lower(&mut link, block.peer);
        header(&mut link, block.header);
        body(&mut link, &block, &mut parsed);
        parsed.value.push(link);
    }
    parsed
}

/// What stands behind the `@`: `if7` is an index in another namespace, anything else a device of this one.
fn lower(link: &mut Link, peer: Option<&str>) {
    let Some(peer) = peer else { return };
    match peer.strip_prefix("if").and_then(|index| index.parse().ok()) {
        Some(index) => link.lower_index = Some(index),
        None if peer != "NONE" => link.lower = Some(peer.to_owned()),
        None => {}
    }
}

fn header(link: &mut Link, header: &str) {
    let (flags, rest) = header.split_once('>').unwrap_or((header, ""));
    link.flags = flags
        .trim_start_matches('<')
        .split(',')
        .filter(|flag| !flag.is_empty())
        .map(str::to_owned)
        .collect();
    let mut words = Words::new(rest);
    while let Some(word) = words.next() {
        match word {
            "mtu" => link.mtu = words.value(),
            "qdisc" => link.qdisc = words.next().map(str::to_owned),
            "master" => link.master = words.next().map(str::to_owned),
            "state" => {
                link.operstate = words
                    .next()
                    .and_then(|state| state.parse::<OperState>().ok())
            }
            "qlen" => link.txqlen = words.value(),
            _ if word.starts_with("xdp") => {
                let (mode, id) = word.split_once("/id:").unwrap_or((word, ""));
                if mode != "xdpmulti" {
                    link.xdp.push(XdpProgram {
                        mode: xdp_mode(mode),
                        id: id.parse().ok(),
                        ..XdpProgram::default()
                    });
                }
            }
            _ => {}
        }
    }
}

fn xdp_mode(word: &str) -> XdpMode {
    match word {
        "xdpgeneric" => XdpMode::Generic,
        "xdpoffload" => XdpMode::Offload,
        _ => XdpMode::Native,
    }
}

fn body(link: &mut Link, block: &Block<'_>, parsed: &mut Parsed<Vec<Link>>) {
    let mut lines = block.lines.iter().peekable();
    while let Some(&(_, line)) = lines.next() {
        let trimmed = line.trim_start();
        let first = trimmed.split_whitespace().next().unwrap_or("");
        match first {
            _ if first.starts_with("link/") => layer_two(link, trimmed),
            "prog/xdp" | "prog/xdpgeneric" | "prog/xdpdrv" | "prog/xdpoffload" => {
                program(link, first, trimmed);
            }
            "inet" | "inet6" | "valid_lft" | "alias" | "altname" | "vf" | "" => {}
            "RX:" | "TX:" | "RX" | "TX" if trimmed.contains(':') => {
                let values = lines.next_if(|(_, next)| {
                    next.trim_start()
                        .starts_with(|first: char| first.is_ascii_digit())
                });
                match values {
                    Some((number, values)) => {
                        if !statistics(link, trimmed, values) {
                            parsed.problem(*number, "one number for each column", values);
                        }
                    }
                    None => parsed.problem(
                        block.line,
                        "a line of numbers below \"RX:\" or \"TX:\"",
                        trimmed,
                    ),
                }
            }
            "bridge_slave" => {
                let mut words = Words::new(trimmed);
                while let Some(word) = words.next() {
                    if word == "state" {
                        link.bridge_port = words
                            .next()
                            .and_then(|state| state.parse::<BridgePortState>().ok());
                    }
                }
                queues(link, trimmed);
            }
            // With -d the line behind link/… names the kind of device.
            _ if link.kind.is_none()
                && first.starts_with(|first: char| first.is_ascii_lowercase()) =>
            {
                kind(link, trimmed);
                queues(link, trimmed);
            }
            _ => queues(link, trimmed),
        }
    }
}

/// `link/ether 02:… brd ff:… link-netnsid 0 promiscuity 0 …`
fn layer_two(link: &mut Link, line: &str) {
    let mut words = Words::new(line);
    link.link_type = words
        .next()
        .and_then(|word| word.strip_prefix("link/"))
        .map(str::to_owned);
    if let Some(address) = words.peek().and_then(mac) {
        link.mac = Some(address);
        words.next();
    }
    while let Some(word) = words.next() {
        match word {
            "brd" => link.broadcast = words.next().and_then(mac),
            "link-netnsid" => link.link_netnsid = words.value(),
            "link-netns" => link.link_netns = words.next().map(str::to_owned),
            _ => {}
        }
    }
    queues(link, line);
}

fn kind(link: &mut Link, line: &str) {
    let mut words = Words::new(line);
    link.kind = words.next().map(str::to_owned);
    while let Some(word) = words.next() {
        match (word, link.kind.as_deref()) {
            ("id", Some("vlan")) => link.vlan_id = words.value(),
            ("id", Some("vxlan")) => link.vxlan_id = words.value(),
            ("remote", _) => link.tunnel_remote = words.value(),
            _ => {}
        }
    }
}

/// `numtxqueues` and `numrxqueues` end whichever line of details is the last.
fn queues(link: &mut Link, line: &str) {
    let mut words = Words::new(line);
    while let Some(word) = words.next() {
        match word {
            "numtxqueues" => link.num_tx_queues = words.value(),
            "numrxqueues" => link.num_rx_queues = words.value(),
            _ => {}
        }
    }
}

/// `prog/xdp id 97 name let_pass tag 614b… jited`: adds to what the header said.
fn program(link: &mut Link, first: &str, line: &str) {
    let mut found = XdpProgram::default();
    let mut words = Words::new(line);
    while let Some(word) = words.next() {
        match word {
            "id" => found.id = words.value(),
            "name" => found.name = words.next().map(str::to_owned),
            "tag" => found.tag = words.next().map(str::to_owned),
            _ => {}
        }
    }
    match link
        .xdp
        .iter_mut()
        .find(|program| program.id.is_none() || program.id == found.id)
    {
        Some(program) => {
            found.mode = program.mode;
            *program = found;
        }
        None => {
            found.mode = xdp_mode(first.trim_start_matches("prog/"));
            link.xdp.push(found);
        }
    }
}

/// A line of column names and the line of numbers below it. False when they do not fit.
fn statistics(link: &mut Link, titles: &str, values: &str) -> bool {
    let (title, columns) = titles.split_once(':').unwrap_or((titles, ""));
    let side = if title.starts_with("RX") { "rx" } else { "tx" };
    let mut numbers = values.split_whitespace();
    for column in columns.split_whitespace() {
        let Some(value) = numbers.next().and_then(|word| word.parse().ok()) else {
            return false;
        };
        if let Some(name) = statistic_name(side, column) {
            link.statistics.insert(format!("{side}_{name}"), value);
        }
    }
    true
}

/// The name in JSON of a column of the text.
fn statistic_name(side: &str, column: &str) -> Option<&'static str> {
    Some(match (side, column) {
        (_, "bytes") => "bytes",
        (_, "packets") => "packets",
        (_, "errors") => "errors",
        (_, "dropped") => "dropped",
        (_, "fifo") => "fifo_errors",
        ("rx", "overrun") => "over_errors",
        ("rx", "mcast") => "multicast",
        ("rx", "length") => "length_errors",
        ("rx", "crc") => "crc_errors",
        ("rx", "frame") => "frame_errors",
        ("rx", "missed") => "missed_errors",
        ("rx", "nohandler") => "nohandler",
        ("rx", "otherhost") => "otherhost",
        ("rx", "compressed") => "compressed",
        ("tx", "carrier") => "carrier_errors",
        ("tx", "collsns") => "collisions",
        ("tx", "aborted") => "aborted_errors",
        ("tx", "window") => "window_errors",
        ("tx", "heartbt") => "heartbeat_errors",
        ("tx", "transns") => "carrier_changes",
        ("tx", "compressed") => "compressed",
        _ => return None,
    })
}
