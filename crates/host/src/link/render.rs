//! The link layer as the well-known tools show it: `ip -j -d -s -s link`, `ip -j -s neighbor`, `tc -j -s qdisc`, `ethtool`, and
//! the files in /proc/net. The readers of `transect-config` and `transect-evidence` take them back.

use std::fmt::Write;

use serde_json::{Map, Value, json};
use transect_config::{NeighborState, TcStatistics, XdpMode};
use transect_packet::MacAddress;

use crate::device::{Device, DeviceId, DeviceKind};
use crate::host::Host;

/// Every array of JSON that the tools print stands on one line of its own.
fn line(values: Vec<Value>) -> String {
    format!("{}\n", Value::Array(values))
}

impl Host {
    fn devices(&self) -> impl Iterator<Item = (DeviceId, &Device)> {
        (0u32..).map(DeviceId).zip(&self.stack.link.devices)
    }

    /// As `ip -j -d -s -s link show`.
    pub fn link_json(&self) -> String {
        line(
            self.devices()
                .map(|(id, device)| self.link_value(id, device))
                .collect(),
        )
    }

    fn link_value(&self, id: DeviceId, device: &Device) -> Value {
        let mut map = Map::new();
        map.insert("ifindex".into(), id.index().into());
        map.insert("ifname".into(), device.name.as_str().into());
        map.insert("flags".into(), flags(device).into());
        map.insert("mtu".into(), device.mtu.into());
        map.insert("qdisc".into(), shown_qdisc(device).into());
        let configured = self.stack.config.link(&device.name);
        let lower = configured.and_then(|link| link.lower_index);
        map.insert("operstate".into(), operstate(device, id, lower).into());
        map.insert("linkmode".into(), "DEFAULT".into());
        map.insert("group".into(), "default".into());
        map.insert("txqlen".into(), device.queue_length.into());
        map.insert("promiscuity".into(), u8::from(device.promiscuous).into());
        map.insert("num_tx_queues".into(), 1.into());
        map.insert("num_rx_queues".into(), 1.into());
        map.insert("stats64".into(), statistics(device));
        let link_type = match device.kind {
            DeviceKind::Loopback => "loopback",
            DeviceKind::Tun => "none",
            DeviceKind::Ethernet | DeviceKind::Bridge => "ether",
        };
        map.insert("link_type".into(), link_type.into());
        if device.kind != DeviceKind::Tun {
            let broadcast = match device.kind {
                DeviceKind::Loopback => MacAddress::default(),
                _ => MacAddress::BROADCAST,
            };
            map.insert("address".into(), device.mac.to_string().into());
            map.insert("broadcast".into(), broadcast.to_string().into());
        }
        self.relations(id, device, &mut map);
        if let Some(attached) = &device.xdp {
            // XDP_ATTACHED_DRV, XDP_ATTACHED_SKB.
            let mode = match attached.mode {
                XdpMode::Generic => 2,
                _ => 1,
            };
            let program = json!({
                "id": 1, "name": attached.name, "tag": "0000000000000001", "jited": 1,
            });
            map.insert(
                "xdp".into(),
                json!({
                    "mode": mode, "prog": program, "attached": [{ "mode": mode, "prog": program }],
                }),
            );
        }
        Value::Object(map)
    }

    /// What it is to other devices: the peer, the bridge.
    fn relations(&self, id: DeviceId, device: &Device, map: &mut Map<String, Value>) {
        if let Some(link) = self.stack.config.link(&device.name) {
            if let Some(lower) = &link.lower {
                map.insert("link".into(), lower.as_str().into());
            }
            if let Some(index) = link.lower_index {
                map.insert("link_index".into(), index.into());
            }
            if let Some(id) = link.link_netnsid {
                map.insert("link_netnsid".into(), id.into());
            }
        }
        let mut info = Map::new();
        if let Some(kind) = &device.info_kind {
            info.insert("info_kind".into(), kind.as_str().into());
        } else if device.kind == DeviceKind::Bridge {
            info.insert("info_kind".into(), "bridge".into());
        }
        if let Some(bridge) = device.master {
            map.insert("master".into(), self.stack.device_name(bridge).into());
            info.insert("info_slave_kind".into(), "bridge".into());
            let flags = &device.port_flags;
            info.insert(
                "info_slave_data".into(),
                json!({
                    "state": self.stack.port_state(id).to_string(),
                    "hairpin": flags.hairpin, "learning": flags.learning, "flood": flags.flood,
                    "mcast_flood": flags.multicast_flood, "bcast_flood": flags.broadcast_flood,
                    "isolated": flags.isolated,
                }),
            );
        }
        if !info.is_empty() {
            map.insert("linkinfo".into(), Value::Object(info));
        }
    }

    /// As `ip -j -s neighbor show`.
    pub fn neighbor_json(&self) -> String {
        let stack = &self.stack;
        let now = stack.neighbor_clock();
        let seconds = |tick: u64| now.saturating_sub(tick) / u64::from(stack.ticks.hz().max(1));
        let values = stack
            .link
            .neighbors
            .shown()
            .filter(|one| one.state != NeighborState::None);
        let values = values.map(|one| {
            let [used, confirmed, updated] = one.times;
            let mut value = json!({
                "dst": one.address.to_string(),
                "dev": stack.device_name(one.device),
                "used": seconds(used),
                "confirmed": seconds(confirmed),
                "updated": seconds(updated),
                "probes": one.probes,
                "state": [one.state.to_string()],
            });
            if let Some(map) = value.as_object_mut() {
                if let Some(mac) = one.mac {
                    map.insert("lladdr".into(), mac.to_string().into());
                }
                if one.router {
                    map.insert("router".into(), Value::Null);
                }
            }
            value
        });
        line(values.collect())
    }

    /// As `tc -j -s qdisc show`.
    pub fn qdisc_json(&self) -> String {
        let mut values = Vec::new();
        for (_, device) in self.devices() {
            let qdisc = &device.qdisc;
            let mut root = json!({
                "kind": qdisc.kind(), "handle": qdisc.handle, "dev": device.name, "root": true,
                "refcnt": 2, "options": qdisc.options(),
            });
            add_statistics(&mut root, &qdisc.statistics);
            values.push(root);
            for (class, qdisc) in qdisc.children() {
                let mut below = json!({
                    "kind": qdisc.kind(), "handle": qdisc.handle, "dev": device.name,
                    "parent": class.to_string(), "options": qdisc.options(),
                });
                add_statistics(&mut below, &qdisc.statistics);
                values.push(below);
            }
            if let Some(statistics) = &device.clsact {
                let mut clsact = json!({
                    "kind": "clsact", "handle": "ffff:", "dev": device.name,
                    "parent": "ffff:fff1", "options": {},
                });
                add_statistics(&mut clsact, statistics);
                values.push(clsact);
            }
        }
        line(values)
    }

    /// As `tc -j -s filter show` for each device and side, each object with its device and parent.
    pub fn filter_json(&self) -> String {
        let mut values = Vec::new();
        for (_, device) in self.devices() {
            for (parent, drops) in ["ingress", "egress"].iter().zip(&device.tc_drops) {
                // The filter that is added last comes first, and has the smaller preference.
                for (number, _) in drops.iter().enumerate().rev() {
                    let pref = 49152usize.saturating_sub(number);
                    values.push(json!({
                        "dev": device.name, "parent": parent, "protocol": "all", "pref": pref,
                        "kind": "bpf", "chain": 0,
                    }));
                    values.push(json!({
                        "dev": device.name, "parent": parent, "protocol": "all", "pref": pref,
                        "kind": "bpf", "chain": 0,
                        "options": {
                            "handle": "0x1", "bpf_name": "drop.o:[tc]", "direct-action": true,
                            "not_in_hw": true,
                            "prog": { "id": number + 1, "name": "", "tag": "0000000000000001", "jited": 1 },
                        },
                    }));
                }
            }
        }
        line(values)
    }

    /// As `ethtool -k DEVICE`; empty where there is no such device.
    pub fn features_text(&self, device: &str) -> String {
        let Some(known) = self
            .device(device)
            .and_then(|id| self.stack.link.device(id))
        else {
            return String::new();
        };
        let features = &known.features;
        let word = |on: bool| if on { "on" } else { "off" };
        let (checksum, tso) = (word(features.tx_checksum), word(features.tso));
        format!(
            "Features for {device}:\nrx-checksumming: {}\ntx-checksumming: {checksum}\n\
             \ttx-checksum-ipv4: off [fixed]\n\ttx-checksum-ip-generic: {checksum}\n\
             \ttx-checksum-ipv6: off [fixed]\nscatter-gather: {tso}\n\ttx-scatter-gather: {tso}\n\
             tcp-segmentation-offload: {tso}\n\ttx-tcp-segmentation: {tso}\n\
             \ttx-tcp6-segmentation: {tso}\ngeneric-segmentation-offload: {}\n\
             generic-receive-offload: {}\nlarge-receive-offload: off [fixed]\n",
            word(features.rx_checksum),
            word(features.gso),
            word(features.gro),
        )
    }

    /// As `ethtool -S DEVICE`: a veth end has numbers of its own, the others have none.
    pub fn ethtool_statistics_text(&self, device: &str) -> String {
        let known = self
            .device(device)
            .and_then(|id| self.stack.link.device(id));
        let veth = known.filter(|known| known.info_kind.as_deref() == Some("veth"));
        let Some(veth) = veth else {
            return "no stats available\n".to_owned();
        };
        let native = veth.xdp.as_ref().filter(|own| own.mode == XdpMode::Native);
        let xdp = native.map(|own| own.statistics).unwrap_or_default();
        let link = self.stack.config.link(device);
        let peer = link.and_then(|link| link.lower_index).unwrap_or(0);
        let mut text = String::from("NIC statistics:\n");
        for (name, value) in [
            ("peer_ifindex", u64::from(peer)),
            ("rx_queue_0_xdp_packets", xdp.packets),
            ("rx_queue_0_xdp_bytes", xdp.bytes),
            ("rx_queue_0_drops", xdp.rx_drops),
            ("rx_queue_0_xdp_redirect", xdp.redirect),
            ("rx_queue_0_xdp_drops", xdp.drops),
            ("rx_queue_0_xdp_tx", xdp.tx),
            ("rx_queue_0_xdp_tx_errors", xdp.tx_errors),
            ("tx_queue_0_xdp_xmit", 0),
            ("tx_queue_0_xdp_xmit_errors", 0),
        ] {
            let _ = writeln!(text, "     {name}: {value}");
        }
        text
    }

    /// As /proc/net/dev (`dev_seq_printf_stats`).
    pub fn proc_net_dev(&self) -> String {
        let mut text = String::from(
            "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs \
             drop fifo colls carrier compressed\n",
        );
        for (_, device) in self.devices() {
            let s = &device.statistics;
            let frame = s.rx_over_errors.wrapping_add(s.rx_crc_errors);
            let _ = writeln!(
                text,
                "{:>6}: {:7} {:7} {:4} {:4} {:4} {frame:5} {:10} {:9} {:8} {:7} {:4} {:4} {:4} {:5} {:7} {:10}",
                device.name,
                s.rx_bytes,
                s.rx_packets,
                s.rx_errors,
                s.rx_dropped.wrapping_add(s.rx_missed_errors),
                s.rx_fifo_errors,
                0,
                s.multicast,
                s.tx_bytes,
                s.tx_packets,
                s.tx_errors,
                s.tx_dropped,
                0,
                0,
                s.tx_carrier_errors,
                0,
            );
        }
        text
    }

    /// As /proc/net/softnet_stat (`softnet_seq_show`), of one processor.
    pub fn softnet_stat(&self) -> String {
        let softnet = &self.stack.link.softnet;
        let waiting = self.stack.link.backlog.len() as u64;
        let columns = [
            softnet.processed,
            softnet.dropped,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            waiting,
            0,
            waiting,
            0,
        ];
        hexadecimal(&columns)
    }

    /// As /proc/net/stat/arp_cache (`neigh_stat_seq_show`), of one processor.
    pub fn arp_cache_text(&self) -> String {
        self.neighbor_statistics(false)
    }

    /// As /proc/net/stat/ndisc_cache.
    pub fn ndisc_cache_text(&self) -> String {
        self.neighbor_statistics(true)
    }

    fn neighbor_statistics(&self, v6: bool) -> String {
        let (s, entries) = self.stack.link.neighbors.counted(v6);
        let columns = [
            entries as u64,
            s.allocs,
            s.destroys,
            0,
            s.lookups,
            s.hits,
            s.res_failed,
            s.rcv_probes_mcast,
            s.rcv_probes_ucast,
            0,
            s.forced_gc_runs,
            s.unres_discards,
            s.table_fulls,
        ];
        format!(
            "entries  allocs   destroys hash_grows lookups  hits     res_failed rcv_probes_mcast rcv_probes_ucast \
             periodic_gc_runs forced_gc_runs unresolved_discards table_fulls\n{}",
            hexadecimal(&columns)
        )
    }
}

/// One line of hexadecimal numbers of 32 bits.
fn hexadecimal(columns: &[u64]) -> String {
    let words: Vec<String> = columns
        .iter()
        .map(|number| format!("{:08x}", number & 0xffff_ffff))
        .collect();
    format!("{}\n", words.join(" "))
}

/// The flags, in `ip`'s order.
fn flags(device: &Device) -> Vec<&'static str> {
    let mut flags = Vec::new();
    if device.up && !device.carrier {
        flags.push("NO-CARRIER");
    }
    match device.kind {
        DeviceKind::Loopback => flags.push("LOOPBACK"),
        DeviceKind::Tun => flags.extend(["POINTOPOINT", "MULTICAST", "NOARP"]),
        DeviceKind::Ethernet | DeviceKind::Bridge => flags.extend(["BROADCAST", "MULTICAST"]),
    }
    for (flag, set) in [
        ("PROMISC", device.promiscuous),
        ("UP", device.up),
        ("LOWER_UP", device.is_running()),
    ] {
        if set {
            flags.push(flag);
        }
    }
    flags
}

/// `default_operstate`.
fn operstate(device: &Device, id: DeviceId, lower: Option<u32>) -> &'static str {
    match device.kind {
        _ if !device.up => "DOWN",
        DeviceKind::Loopback | DeviceKind::Tun => "UNKNOWN",
        _ if device.carrier => "UP",
        // The other end of a veth pair counts as a device below, unless both have the same index.
        _ if lower.is_some_and(|lower| lower != id.index()) => "LOWERLAYERDOWN",
        _ => "DOWN",
    }
}

/// A device that is down has no queue at all.
fn shown_qdisc(device: &Device) -> &'static str {
    if device.up {
        device.qdisc.kind()
    } else {
        "noop"
    }
}

fn statistics(device: &Device) -> Value {
    let s = &device.statistics;
    // `ip` shows the last two only where they are not 0; a reading that says 0 says more.
    let rx = json!({
        "bytes": s.rx_bytes, "packets": s.rx_packets, "errors": s.rx_errors,
        "dropped": s.rx_dropped, "over_errors": s.rx_over_errors, "multicast": s.multicast,
        "length_errors": 0, "crc_errors": s.rx_crc_errors, "frame_errors": 0,
        "fifo_errors": s.rx_fifo_errors, "missed_errors": s.rx_missed_errors,
        "nohandler": s.rx_nohandler, "otherhost": s.rx_otherhost_dropped,
    });
    json!({
        "rx": rx,
        "tx": {
            "bytes": s.tx_bytes, "packets": s.tx_packets, "errors": s.tx_errors,
            "dropped": s.tx_dropped, "carrier_errors": s.tx_carrier_errors, "collisions": 0,
            "aborted_errors": 0, "fifo_errors": 0, "window_errors": 0, "heartbeat_errors": 0,
            "carrier_changes": 2,
        },
    })
}

fn add_statistics(value: &mut Value, statistics: &TcStatistics) {
    if let Some(map) = value.as_object_mut() {
        for (name, number) in [
            ("bytes", statistics.bytes),
            ("packets", statistics.packets),
            ("drops", statistics.drops),
            ("overlimits", statistics.overlimits),
            ("requeues", statistics.requeues),
            ("backlog", statistics.backlog),
            ("qlen", statistics.qlen),
        ] {
            map.insert(name.into(), number.into());
        }
    }
}
