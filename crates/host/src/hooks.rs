//! Netfilter's hooks. Only this module can make a [`Passed`], and what lies behind a hook takes nothing else: no packet can
//! pass a hook by.

use std::marker::PhantomData;

use crate::packet::Packet;
use crate::socket::Errno;

/// A hook, as a type.
pub(crate) trait HookKind {
    /// The hook.
    const HOOK: transect_path::Hook;
}

/// A hook of IP (`NF_INET_*`).
pub(crate) trait IpHook: HookKind {}

/// A hook of a bridge (`NF_BR_*`).
pub(crate) trait BridgeHook: HookKind {}

macro_rules! hooks {
    ($($(#[$meta:meta])* $name:ident: $family:ident $hook:ident;)+) => {
        $(
            $(#[$meta])*
            #[derive(Debug)]
            pub(crate) enum $name {}

            impl HookKind for $name {
                const HOOK: transect_path::Hook = transect_path::Hook::$hook;
            }

            impl $family for $name {}
        )+
    };
}

hooks! {
    /// PRE_ROUTING.
    PreRouting: IpHook PreRouting;
    /// LOCAL_IN.
    LocalIn: IpHook LocalIn;
    /// FORWARD.
    Forward: IpHook Forward;
    /// LOCAL_OUT.
    LocalOut: IpHook LocalOut;
    /// POST_ROUTING.
    PostRouting: IpHook PostRouting;
    /// A bridge's PRE_ROUTING: every frame that comes in at a port.
    BridgePreRouting: BridgeHook PreRouting;
    /// A bridge's LOCAL_IN: what the bridge's own host gets.
    BridgeLocalIn: BridgeHook LocalIn;
    /// A bridge's FORWARD: from one port to another.
    BridgeForward: BridgeHook Forward;
    /// A bridge's LOCAL_OUT: what the bridge's own host sends, at each port by which it leaves.
    BridgeLocalOut: BridgeHook LocalOut;
    /// A bridge's POST_ROUTING: what leaves by a port.
    BridgePostRouting: BridgeHook PostRouting;
}

/// The hooks behind which POST_ROUTING comes: what this host sends, and what it forwards.
pub(crate) trait BeforePostRouting: IpHook {}

impl BeforePostRouting for LocalOut {}
impl BeforePostRouting for Forward {}

/// The hooks of a bridge behind which its POST_ROUTING comes.
pub(crate) trait BeforeBridgePostRouting: BridgeHook {}

impl BeforeBridgePostRouting for BridgeLocalOut {}
impl BeforeBridgePostRouting for BridgeForward {}

/// A packet that a hook let pass.
#[derive(Debug)]
pub(crate) struct Passed<H: HookKind> {
    packet: Packet,
    hook: PhantomData<H>,
}

impl<H: HookKind> Passed<H> {
    /// Whether a hook let it pass is for this module to say, and for `netfilter`, which runs the rules.
    pub(in crate::hooks) fn by_rules(packet: Packet) -> Self {
        Passed {
            packet,
            hook: PhantomData,
        }
    }

    /// What one packet that passed is cut into (`ip_do_fragment`, `skb_segment`) has passed as well.
    pub(crate) fn cut(self, cut: impl FnOnce(Packet) -> Vec<Packet>) -> Vec<Self> {
        cut(self.packet).into_iter().map(Self::by_rules).collect()
    }

    /// A copy of what passed has passed as well (`skb_clone`): it belongs to nobody's send buffer.
    pub(crate) fn copy(&self) -> Self {
        let mut copy = self.packet.clone();
        copy.owner = None;
        Self::by_rules(copy)
    }

    /// The packet, to be read.
    pub(crate) fn packet(&self) -> &Packet {
        &self.packet
    }

    /// The packet, to be changed by what lies behind the hook.
    pub(crate) fn packet_mut(&mut self) -> &mut Packet {
        &mut self.packet
    }

    /// The packet, for what lies behind the hook.
    pub(crate) fn into_packet(self) -> Packet {
        self.packet
    }
}

/// A packet that did not come through a hook. It is freed, or kept where a queue holds it, and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped {
    /// What its sender is told; nothing where it is told success (a queue took it: `nf_queue`).
    pub(crate) errno: Option<Errno>,
}

impl Stopped {
    /// What its sender is told, as the result of sending.
    pub(crate) fn told(self) -> Result<(), Errno> {
        match self.errno {
            Some(errno) => Err(errno),
            None => Ok(()),
        }
    }
}

impl crate::stack::Stack {
    /// Runs a hook (`nf_hook`): connection tracking, rules, translation. Enters and leaves the hook's point. At LOCAL_OUT,
    /// `packet.reroute` says behind it whether the route is to be looked up again.
    #[inline]
    pub(crate) fn run_hook<H: IpHook>(&mut self, mut packet: Packet) -> Result<Passed<H>, Stopped> {
        // What a bridge sent through PRE_ROUTING does not pass it again (`ip_sabotage_in`).
        if std::mem::take(&mut packet.bridged) && H::HOOK == transect_path::Hook::PreRouting {
            return Ok(Passed::by_rules(packet));
        }
        if self.netfilter.is_silent(H::HOOK) {
            self.pass(&mut packet, H::HOOK.point());
            return Ok(Passed::by_rules(packet));
        }
        self.traverse(H::HOOK, packet).map(Passed::by_rules)
    }

    /// Runs a bridge's hook at the point where the bridge has the frame: its chains, and IP's hook of the same name where a
    /// setting asks for it. Nothing: the frame is freed and counted, or kept.
    pub(crate) fn run_bridge_hook<H: BridgeHook>(
        &mut self,
        point: transect_path::Point,
        packet: Packet,
    ) -> Option<Passed<H>> {
        let packet = self.traverse_bridge(H::HOOK, point, packet).ok()?;
        Some(Passed::by_rules(packet))
    }
}
