//! Which translation a connection gets (`nf_nat_core`), and the bytes that change by it (`nf_nat_proto`).

mod choose;
mod rewrite;

use std::net::IpAddr;

use super::{Connection, ConnectionId, Connections, Status, Tracking};
pub(crate) use rewrite::{rewrite, rewrite_quoted};

/// Which end of a packet is translated (`enum nf_nat_manip_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manipulation {
    Source,
    Destination,
}

impl Manipulation {
    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Manipulation::Source => Manipulation::Destination,
            Manipulation::Destination => Manipulation::Source,
        }
    }

    fn status(self) -> Status {
        match self {
            Manipulation::Source => Status::SRC_NAT,
            Manipulation::Destination => Status::DST_NAT,
        }
    }

    fn done(self) -> Status {
        match self {
            Manipulation::Source => Status::SRC_DONE,
            Manipulation::Destination => Status::DST_DONE,
        }
    }
}

/// What a rule lets a translation choose from (`struct nf_nat_range2`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Choice {
    /// The first and the last address; none: it stays.
    pub(crate) addresses: Option<(IpAddr, IpAddr)>,
    /// The first and the last port; none: it stays where it is free.
    pub(crate) ports: Option<(u16, u16)>,
}

impl Connection {
    /// Whether it is settled that and how this end is translated.
    pub(crate) fn is_settled(&self, what: Manipulation) -> bool {
        self.status.has(what.done())
    }

    /// Whether a packet's end is to be rewritten: for answers it is the other one.
    pub(crate) fn rewrites(&self, what: Manipulation, reply: bool) -> bool {
        let what = if reply { what.other() } else { what };
        self.status.has(what.status())
    }
}

impl Connections {
    /// Takes a packet's connection out of the table, whatever becomes of the packet (`nf_ct_kill`).
    pub(crate) fn kill(&mut self, tracking: &Tracking) {
        if let Tracking::Entry { id, .. } = tracking {
            self.remove(*id);
        }
    }

    /// The connections from one source.
    fn of_source(&self, connection: &Connection) -> &[ConnectionId] {
        let source = connection.original.source_only();
        self.by_source.get(&source).map_or(&[][..], Vec::as_slice)
    }
}
