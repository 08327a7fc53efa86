//! A packet on its way through the host (`struct sk_buff`): real bytes, and what the kernel keeps beside them.

use std::net::IpAddr;
use std::time::Duration;

use transect_config::IpVersion;
use transect_packet::{Dissection, IpHeader, LinkType, Network, PacketType, Transport, dissect};
use transect_path::Timestamp;

use crate::conntrack::Tracking;
use crate::device::DeviceId;
use crate::journey::Journey;
use crate::socket::SocketId;
use crate::spare;

/// Room for an Ethernet header in front of every network header, as the kernel reserves it.
pub(crate) const LINK_HEADER: usize = 14;

/// What is known about the transport checksum (`ip_summed`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChecksumState {
    /// Nothing: the bytes hold it, and the receiver must verify it.
    #[default]
    None,
    /// `CHECKSUM_PARTIAL`: the field holds the pseudo header's sum, the device (or whoever sends on) is to finish it. On a
    /// veth it arrives so, and counts as verified.
    Partial,
    /// `CHECKSUM_UNNECESSARY`: verified by the device.
    Verified,
}

/// A packet that stands for several of the wire (`skb_shinfo()->gso_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segmentation {
    /// Payload bytes of each segment (`gso_size`).
    pub size: u16,
    /// How many segments (`gso_segs`).
    pub segments: u16,
}

/// One packet. It goes from hand to hand on its way, so it is no larger than a pointer.
#[derive(Debug, Clone)]
pub struct Packet(Box<Fields>);

/// What there is of a packet. `data` begins with the link header, or the room for one; the network header stands at `LINK_HEADER`.
#[derive(Debug, Clone)]
pub struct Fields {
    /// Link header and everything behind it.
    pub(crate) data: Vec<u8>,
    /// The EtherType.
    pub(crate) ethertype: u16,
    /// For whom the frame was; [`PacketType::Outgoing`] where this host sends it.
    pub(crate) packet_type: PacketType,
    /// Where it came in; nothing where this host made it.
    pub(crate) in_device: Option<DeviceId>,
    /// Where it goes out, once that is decided.
    pub(crate) out_device: Option<DeviceId>,
    /// The next hop, once it is decided; the destination where that is on the link.
    pub(crate) next_hop: Option<IpAddr>,
    /// The MTU of the route, once it is decided, in bytes.
    pub(crate) mtu: u32,
    /// The transport's checksum.
    pub(crate) checksum: ChecksumState,
    /// Segmentation left to later points.
    pub(crate) segmentation: Option<Segmentation>,
    /// `skb->mark`.
    pub(crate) mark: u32,
    /// `skb->priority`, by which pfifo_fast chooses a band.
    pub(crate) priority: u32,
    /// May be fragmented by this host although "don't fragment" is not set in the header (`skb->ignore_df`).
    pub(crate) ignore_df: bool,
    /// The largest fragment that it was reassembled from (`IPCB(skb)->frag_max_size`), in bytes; 0 where it came whole.
    pub(crate) largest_fragment: u16,
    /// What connection tracking knows of it.
    pub(crate) tracking: Tracking,
    /// Its bytes are no longer the sender's memory as well (`pskb_expand_head` of what is `skb_cloned`).
    pub(crate) copied: bool,
    /// LOCAL_OUT changed what its route depends on: it is to be looked up again (`ip_route_me_harder`).
    pub(crate) reroute: bool,
    /// A bridge has sent it through IP's PRE_ROUTING (`nf_bridge_info`).
    pub(crate) bridged: bool,
    /// Whose send buffer it is charged to, until it is freed.
    pub(crate) owner: Option<SocketId>,
    /// It leaves so much later than the host says (see [`Packet::take_lateness`]).
    pub(crate) late: Duration,
    /// When it was made, or arrived.
    pub(crate) time: Timestamp,
    /// Every point that it passed; nothing where journeys are off.
    pub(crate) journey: Option<Box<Journey>>,
}

impl std::ops::Deref for Packet {
    type Target = Fields;

    #[inline]
    fn deref(&self) -> &Fields {
        &self.0
    }
}

impl std::ops::DerefMut for Packet {
    #[inline]
    fn deref_mut(&mut self) -> &mut Fields {
        &mut self.0
    }
}

impl Drop for Fields {
    fn drop(&mut self) {
        spare::give_back(std::mem::take(&mut self.data));
        if let Some(journey) = self.journey.take() {
            spare::give_back_journey(journey);
        }
    }
}

impl Packet {
    /// A packet that this host makes, from its network header on.
    pub(crate) fn outgoing(version: IpVersion, network: &[u8], now: Timestamp) -> Self {
        let mut packet = Packet::with_room(network.len(), version, now);
        packet.data.extend_from_slice(network);
        packet
    }

    /// A packet that this host makes: nothing yet but the room for its link header, and for that many bytes behind it.
    pub(crate) fn with_room(room: usize, version: IpVersion, now: Timestamp) -> Self {
        let room = LINK_HEADER + room;
        let mut packet = match spare::packet(room) {
            Some(fields) => Packet(fields),
            None => Packet::empty(spare::bytes(room)),
        };
        packet.data.extend_from_slice(&[0; LINK_HEADER]);
        packet.ethertype = ethertype(version);
        packet.time = now;
        packet
    }

    /// Nobody needs it any more, and it did not die (`consume_skb`).
    pub(crate) fn consume(mut self) {
        if let Some(journey) = self.journey.take() {
            spare::give_back_journey(journey);
        }
        // Every field is named: none can be forgotten. EtherType and time are written by who takes it next.
        let Fields {
            data,
            ethertype: _,
            packet_type,
            in_device,
            out_device,
            next_hop,
            mtu,
            checksum,
            segmentation,
            mark,
            priority,
            ignore_df,
            largest_fragment,
            tracking,
            copied,
            reroute,
            bridged,
            owner,
            late,
            time: _,
            journey: _,
        } = &mut *self.0;
        data.clear();
        *packet_type = PacketType::Outgoing;
        *in_device = None;
        *out_device = None;
        *next_hop = None;
        *mtu = 0;
        *checksum = ChecksumState::None;
        *segmentation = None;
        *mark = 0;
        *priority = 0;
        *ignore_df = false;
        *largest_fragment = 0;
        *tracking = Tracking::None;
        *copied = false;
        *reroute = false;
        *bridged = false;
        *owner = None;
        *late = Duration::ZERO;
        spare::give_back_packet(self.0);
    }

    fn empty(data: Vec<u8>) -> Self {
        Packet(Box::new(Fields {
            data,
            ethertype: 0,
            packet_type: PacketType::Outgoing,
            in_device: None,
            out_device: None,
            next_hop: None,
            mtu: 0,
            checksum: ChecksumState::None,
            segmentation: None,
            mark: 0,
            priority: 0,
            ignore_df: false,
            largest_fragment: 0,
            tracking: Tracking::default(),
            copied: false,
            reroute: false,
            bridged: false,
            owner: None,
            late: Duration::ZERO,
            time: Timestamp::MIN,
            journey: None,
        }))
    }

    /// A frame as it comes off a wire, from the Ethernet header on; shorter ones are filled up with zeros.
    pub fn from_frame(mut frame: Vec<u8>) -> Self {
        if frame.len() < LINK_HEADER {
            frame.resize(LINK_HEADER, 0);
        }
        let ethertype = match frame.get(12..LINK_HEADER) {
            Some([high, low]) => u16::from_be_bytes([*high, *low]),
            _ => 0,
        };
        let mut packet = Packet::empty(frame);
        packet.packet_type = PacketType::Host;
        packet.ethertype = ethertype;
        packet
    }

    /// Turns one bit of the frame around, counted from its first byte's highest: what a bad wire does. The checksum is then
    /// whatever the bytes hold; one that was left to the device is finished first.
    pub fn flip_bit(&mut self, bit: usize) {
        crate::link::finish_checksum(self);
        if let Some(byte) = self.data.get_mut(bit / 8) {
            *byte ^= 0x80 >> (bit % 8);
            self.checksum = ChecksumState::None;
        }
    }

    /// A packet from outside of the model that has no link header (`tun`), from its IP header on.
    pub fn from_network(network: &[u8]) -> Self {
        let version = match network.first().map(|first| first >> 4) {
            Some(6) => IpVersion::V6,
            _ => IpVersion::V4,
        };
        Self::outgoing(version, network, Timestamp::MIN)
    }

    /// Makes a TCP packet look as if it had been put together from segments of this payload (GRO), where it has more.
    pub fn put_together(&mut self, size: u16) {
        let payload = self.ip(|ip| match &ip.transport {
            Transport::Tcp(header) => Some(header.payload_length as usize),
            _ => None,
        });
        if let Some(Some(payload)) = payload
            && payload > usize::from(size)
            && size > 0
        {
            let segments = payload.div_ceil(usize::from(size));
            let segments = u16::try_from(segments).unwrap_or(u16::MAX);
            self.segmentation = Some(Segmentation { size, segments });
        }
    }

    /// How much later it leaves than when the host gave it away; asked for once. Other than nothing where the world has said how long
    /// calls take ([`Host::set_call_time`](crate::Host::set_call_time)): what one call sends leaves one by one then.
    pub fn take_lateness(&mut self) -> Duration {
        std::mem::take(&mut self.late)
    }

    /// What is known of the transport's checksum.
    pub fn checksum(&self) -> ChecksumState {
        self.checksum
    }

    /// How many segments of the wire it stands for, where it is more than one.
    pub fn segmentation(&self) -> Option<Segmentation> {
        self.segmentation
    }

    /// Every point that it has passed; nothing where journeys are off.
    pub fn journey(&self) -> Option<&Journey> {
        self.journey.as_deref()
    }

    /// Everything but the bytes, for what a packet is cut into.
    pub(crate) fn clone_without_data(&self) -> Self {
        Packet(Box::new(Fields {
            data: Vec::new(),
            ethertype: self.ethertype,
            packet_type: self.packet_type,
            in_device: self.in_device,
            out_device: self.out_device,
            next_hop: self.next_hop,
            mtu: self.mtu,
            checksum: self.checksum,
            segmentation: self.segmentation,
            mark: self.mark,
            priority: self.priority,
            ignore_df: self.ignore_df,
            largest_fragment: self.largest_fragment,
            tracking: self.tracking.clone(),
            copied: true,
            reroute: self.reroute,
            bridged: self.bridged,
            owner: self.owner,
            late: self.late,
            time: self.time,
            journey: self.journey.as_deref().map(spare::journey_like),
        }))
    }

    /// The frame as it stands, link header included.
    pub fn frame(&self) -> &[u8] {
        &self.data
    }

    /// From the network header on.
    #[inline]
    pub fn network(&self) -> &[u8] {
        self.data.get(LINK_HEADER..).unwrap_or_default()
    }

    /// From the network header on, to be written.
    #[inline]
    pub(crate) fn network_mut(&mut self) -> &mut [u8] {
        self.data.get_mut(LINK_HEADER..).unwrap_or_default()
    }

    /// Length from the network header on (`skb->len` behind the link layer), in bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.data.len().saturating_sub(LINK_HEADER)
    }

    /// Which IP it is; nothing for ARP and others.
    #[inline]
    pub(crate) fn version(&self) -> Option<IpVersion> {
        match self.ethertype {
            ETHERTYPE_IPV4 => Some(IpVersion::V4),
            ETHERTYPE_IPV6 => Some(IpVersion::V6),
            _ => None,
        }
    }

    /// The headers, read anew from the bytes.
    pub(crate) fn dissect(&self) -> Dissection<'_> {
        let length = u32::try_from(self.data.len()).unwrap_or(u32::MAX);
        let mut dissection = dissect(LinkType::RAW, self.network(), length);
        // Offsets count from the network header here: `dissect` saw no link header.
        if let Network::Ip(ip) = &mut dissection.network {
            debug_assert_eq!(ip.offset, 0);
        }
        dissection
    }

    /// Runs something on the IP header; nothing where there is none, or it is damaged.
    pub(crate) fn ip<T>(&self, read: impl FnOnce(&IpHeader<'_>) -> T) -> Option<T> {
        match &self.dissect().network {
            Network::Ip(ip) => Some(read(ip)),
            _ => None,
        }
    }
}

/// EtherType of IPv4.
pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;

/// The EtherType of an IP version.
pub(crate) const fn ethertype(version: IpVersion) -> u16 {
    match version {
        IpVersion::V4 => ETHERTYPE_IPV4,
        IpVersion::V6 => ETHERTYPE_IPV6,
    }
}
