//! Network devices, as `ip link` shows them.

mod json;
mod text;

use std::collections::BTreeMap;
use std::net::IpAddr;

use transect_path::named_enum;

use crate::parse::Parsed;

/// Reads `ip [-j] [-d] [-s [-s]] link show`, and the devices of `ip address show`; as JSON or as text.
pub fn read_links(text: &str) -> Parsed<Vec<Link>> {
    if crate::json::is_json(text) {
        json::read(text)
    } else {
        text::read(text)
    }
}

/// One network device.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Link {
    /// Interface index; 0 where the text has none.
    pub index: u32,
    /// Name, without the `@peer` that `ip` prints behind it.
    pub name: String,
    /// Kind (`veth`, `bridge`, `vlan`, `vxlan`, …; IFLA_INFO_KIND). None for physical devices and lo.
    pub kind: Option<String>,
    /// Link-layer type (`ether`, `loopback`, `none`, …).
    pub link_type: Option<String>,
    /// Flags as printed: `UP`, `LOWER_UP`, `NO-CARRIER`, `BROADCAST`, `NOARP`, `PROMISC`, ….
    pub flags: Vec<String>,
    /// Operational state (RFC 2863).
    pub operstate: Option<OperState>,
    /// MTU, bytes.
    pub mtu: Option<u32>,
    /// Link-layer address.
    pub mac: Option<[u8; 6]>,
    /// Link-layer broadcast address.
    pub broadcast: Option<[u8; 6]>,
    /// Name of the bridge, bond or VRF it belongs to.
    pub master: Option<String>,
    /// Name of the device it sits on or is paired with, when in the same namespace (`eth0.5@eth0`).
    pub lower: Option<String>,
    /// Index of that device (IFLA_LINK), in the namespace `link_netnsid` when that is set.
    pub lower_index: Option<u32>,
    /// Id of the peer's namespace as this namespace knows it (IFLA_LINK_NETNSID).
    pub link_netnsid: Option<i32>,
    /// Name of the peer's namespace where the text shows that instead of its id.
    pub link_netns: Option<String>,
    /// Name of the queueing discipline at the root.
    pub qdisc: Option<String>,
    /// Transmit queue length, packets.
    pub txqlen: Option<u32>,
    /// Number of transmit queues.
    pub num_tx_queues: Option<u32>,
    /// Number of receive queues.
    pub num_rx_queues: Option<u32>,
    /// Attached XDP programs.
    pub xdp: Vec<XdpProgram>,
    /// State as a bridge port, when it is one (`bridge link`).
    pub bridge_port: Option<BridgePortState>,
    /// VLAN id of a `vlan` device.
    pub vlan_id: Option<u16>,
    /// VNI of a `vxlan` device.
    pub vxlan_id: Option<u32>,
    /// Remote address of a tunnel.
    pub tunnel_remote: Option<IpAddr>,
    /// Statistics by counter name without the device: `rx_packets`, `tx_dropped`, `rx_otherhost`, `rx_nohandler`, ….
    pub statistics: BTreeMap<String, u64>,
}

impl Link {
    /// Whether the flag is set (names as `ip` prints them).
    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own == flag)
    }

    /// Administratively up (IFF_UP).
    pub fn is_up(&self) -> bool {
        self.has_flag("UP")
    }

    /// The device has a carrier (IFF_LOWER_UP); false also for a device that is down.
    pub fn has_carrier(&self) -> bool {
        self.has_flag("LOWER_UP") && !self.has_flag("NO-CARRIER")
    }

    /// A loopback device.
    pub fn is_loopback(&self) -> bool {
        self.has_flag("LOOPBACK")
    }

    /// The statistics under the names of the flat counter map: `link.IFACE.rx_packets`.
    pub fn counters(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        self.statistics
            .iter()
            .map(|(name, value)| (format!("link.{}.{name}", self.name), *value))
    }
}

/// An XDP program on a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct XdpProgram {
    /// Where it runs.
    pub mode: XdpMode,
    /// Program id.
    pub id: Option<u32>,
    /// Program name, where shown.
    pub name: Option<String>,
    /// Program tag, hexadecimal.
    pub tag: Option<String>,
}

named_enum! {
    /// Where an XDP program runs.
    #[derive(Default)]
    pub enum XdpMode {
        /// In the driver, before the packet exists for the kernel (`xdp`, `xdpdrv`).
        #[default]
        Native => "native",
        /// In the stack, on a packet already built (`xdpgeneric`).
        Generic => "generic",
        /// In the device (`xdpoffload`).
        Offload => "offload",
    }
}

named_enum! {
    /// Operational state of a device (RFC 2863, as `ip` prints it).
    pub enum OperState {
        /// Not reported by the driver: usable when it has a carrier.
        Unknown => "UNKNOWN",
        /// A component is missing.
        NotPresent => "NOTPRESENT",
        /// Down.
        Down => "DOWN",
        /// The device below is down.
        LowerLayerDown => "LOWERLAYERDOWN",
        /// In a test mode.
        Testing => "TESTING",
        /// Waiting for something else, 802.1X for example.
        Dormant => "DORMANT",
        /// Up.
        Up => "UP",
    }
}

named_enum! {
    /// State of a bridge port (IEEE 802.1D).
    pub enum BridgePortState {
        /// Takes no part: down, or disabled.
        Disabled => "disabled",
        /// Receives BPDUs only.
        Listening => "listening",
        /// Learns addresses, forwards nothing yet.
        Learning => "learning",
        /// Forwards.
        Forwarding => "forwarding",
        /// Blocked by the spanning tree.
        Blocking => "blocking",
    }
}
