//! Sending again (`__tcp_retransmit_skb`, `tcp_xmit_retransmit_queue`, `tcp_send_loss_probe`).

use super::super::ack::Rexmit;
use super::super::clock::Context;
use super::super::connection::Connection;
use super::super::output::GSO;
use super::super::sender::Sender;
use super::{Nagle, Round};
use crate::counters::TcpExtCounter;
use crate::socket::Errno;
use crate::stack::Stack;

impl Connection {
    /// Cuts segments by the size of the moment, which SACK blocks make smaller than the connection's (`tcp_current_mss`).
    fn with_mss<T>(&mut self, mss: u32, cut: impl FnOnce(&mut Sender) -> T) -> T {
        let usual = std::mem::replace(&mut self.sender.mss_cache, mss);
        let result = cut(&mut self.sender);
        self.sender.mss_cache = usual;
        result
    }

    /// One segment again, by its place (`__tcp_retransmit_skb`).
    pub(in super::super) fn retransmit(
        &mut self,
        stack: &mut Stack,
        seq: transect_packet::SequenceNumber,
        segments: u32,
    ) -> Result<(), Errno> {
        if self.is_still_below(stack) {
            self.sender.retransmission_attempted(seq);
            return Err(Errno::Ealready);
        }
        if self.route(stack).is_err() {
            self.sender.retransmission_attempted(seq);
            return Err(Errno::Ehostunreach);
        }
        let mss = self.current_mss(stack);
        let segment = self
            .with_mss(mss, |sender| {
                sender.prepare_retransmit(&mut Context::of(stack), seq, segments)
            })
            .map_err(|_| Errno::Eagain)?;
        let result = self.transmit(stack, &segment);
        self.sender
            .retransmitted(&mut Context::of(stack), &segment, result.is_ok());
        result
    }

    /// The first transmission is still in this host: sending it again would be in vain (`skb_still_in_host_queue`). What lies
    /// below is known as a sum only, so this is told where there is just one segment in flight.
    fn is_still_below(&mut self, stack: &mut Stack) -> bool {
        let below = self.below > 0 && self.sender.queue.segments.len() <= 1;
        if below {
            self.throttled = true;
            self.count(stack, TcpExtCounter::TCPSpuriousRtxHostQueues);
        }
        below
    }

    /// Lost segments again, as far as the congestion window goes (`tcp_xmit_retransmit_queue`).
    pub(in super::super) fn retransmit_lost(&mut self, stack: &mut Stack) {
        let mss = self.current_mss(stack);
        let most = self
            .sender
            .tso_segments(&Context::of(stack), mss, GSO.size, GSO.segments);
        let Some(mut walk) = self.sender.begin_retransmit(most.max(1)) else {
            return;
        };
        while let Some(segment) = self.with_mss(mss, |sender| {
            sender.next_retransmit(&mut Context::of(stack), &mut walk)
        }) {
            let sent = self.transmit(stack, &segment).is_ok();
            if !self
                .sender
                .walked(&mut Context::of(stack), &mut walk, &segment, sent)
            {
                break;
            }
        }
        self.sender.end_retransmit(&mut Context::of(stack), walk);
    }

    /// What an acknowledgement asks to be sent (`tcp_xmit_recovery`).
    pub(in super::super) fn recover(&mut self, stack: &mut Stack, rexmit: Rexmit) {
        match rexmit {
            Rexmit::None => return,
            Rexmit::New => {
                let mss = self.current_mss(stack);
                self.push_pending(stack, mss, Nagle::Off);
                if self.sender.recovery.high_seq.is_before(self.sender.snd_nxt) {
                    return;
                }
                self.sender.stop_frto();
            }
            Rexmit::Lost => {}
        }
        self.retransmit_lost(stack);
    }

    /// A tail loss probe (`tcp_send_loss_probe`; RFC 8985 section 7.3).
    pub(in super::super) fn send_loss_probe(&mut self, stack: &mut Stack) {
        if self.sender.tlp_high_seq.is_none() {
            let mss = self.current_mss(stack);
            let fits = self
                .send_buffer
                .head()
                .is_some_and(|head| self.fits_window(head, mss));
            let sent = if fits {
                let before = self.sender.queue.packets_out;
                self.write_xmit(stack, mss, Nagle::Off, Round::LossProbe);
                self.sender.queue.packets_out > before
            } else if self.is_still_below(stack) {
                false
            } else {
                self.send_last_again(stack, mss)
            };
            if sent {
                self.sender.loss_probe_sent(&mut Context::of(stack), !fits);
                return;
            }
        }
        self.sender.rearm_rto(&mut Context::of(stack));
    }

    fn send_last_again(&mut self, stack: &mut Stack, mss: u32) -> bool {
        let segment = self.with_mss(mss, |sender| {
            sender.prepare_loss_probe(&mut Context::of(stack))
        });
        let Some(segment) = segment else {
            return false;
        };
        let sent = self.transmit(stack, &segment).is_ok();
        self.sender
            .retransmitted(&mut Context::of(stack), &segment, sent);
        sent
    }
}
