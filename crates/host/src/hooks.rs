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

macro_rules! hooks {
    ($($(#[$meta:meta])* $name:ident,)+) => {
        $(
            $(#[$meta])*
            #[derive(Debug)]
            pub(crate) enum $name {}

            impl HookKind for $name {
                const HOOK: transect_path::Hook = transect_path::Hook::$name;
            }
        )+
    };
}

hooks! {
    /// PRE_ROUTING.
    PreRouting,
    /// LOCAL_IN.
    LocalIn,
    /// FORWARD.
    Forward,
    /// LOCAL_OUT.
    LocalOut,
    /// POST_ROUTING.
    PostRouting,
}

/// The hooks behind which POST_ROUTING comes: what this host sends, and what it forwards.
pub(crate) trait BeforePostRouting: HookKind {}

impl BeforePostRouting for LocalOut {}
impl BeforePostRouting for Forward {}

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
    pub(crate) fn run_hook<H: HookKind>(&mut self, packet: Packet) -> Result<Passed<H>, Stopped> {
        self.traverse(H::HOOK, packet).map(Passed::by_rules)
    }
}
