//! Another path where the present one seems to fail: a new flow label, by which routers choose among equal paths
//! (`sk_rethink_txhash`). The sender does so with its time-outs; the receiver, whose acknowledgements may be what is lost, when data
//! comes again under a label that is new.

use transect_config::IpVersion;

use super::connection::Connection;
use super::incoming::Incoming;
use super::recovery::CaState;
use crate::counters::TcpExtCounter;
use crate::stack::Stack;

impl Connection {
    /// Draws a new hash, unless `net.core.txrehash` is 0 (`sk_rethink_txhash`); whether it did. Over IPv4, too, where nothing on the
    /// wire shows it.
    pub(super) fn rethink_flow_hash(&mut self, stack: &mut Stack) -> bool {
        let may = stack.known_ip_settings().rehash;
        if may {
            self.flow_hash = stack.draw_flow_hash(self.packets());
        }
        may
    }

    /// Remembers under which label data came (`tcp_save_lrcv_flowlabel`).
    pub(super) fn note_flow_label(&mut self, segment: &Incoming) {
        if self.packets() == IpVersion::V6 {
            self.peer_label = segment.flow_label;
        }
    }

    /// Data came again that is here already: the acknowledgements seem not to arrive (`tcp_rcv_spurious_retrans`).
    pub(super) fn receive_known_data(&mut self, stack: &mut Stack, segment: &Incoming) {
        if self.packets() == IpVersion::V6
            && self.sender.recovery.state != CaState::Loss
            && self.peer_label != segment.flow_label
            && self.rethink_flow_hash(stack)
        {
            self.count(stack, TcpExtCounter::TcpDuplicateDataRehash);
        }
        self.note_flow_label(segment);
    }
}
