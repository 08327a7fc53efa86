//! Whether a segment lies in the window, as far as somebody in the middle can tell (`tcp_in_window`).
//!
//! I. data ends below what the receiver lets the sender send; II. data is not older than a window; III. what is acknowledged
//! was sent; IV. the acknowledgment is not older than a window.

use super::table::{Bits, State};
use super::{Seen, Segment, TcpTrack};

/// The least window for acknowledgments (`MAXACKWINCONST`).
const ACK_WINDOW: u32 = 66_000;

/// What becomes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InWindow {
    Accept,
    /// Let through, and nothing learned from it.
    Ignore,
    Invalid,
}

/// Whether one sequence number comes before another.
pub(super) fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

fn after(a: u32, b: u32) -> bool {
    before(b, a)
}

impl TcpTrack {
    /// Checks a segment, and learns from it where it fits.
    pub(super) fn in_window(&mut self, segment: &Segment<'_>, liberal: bool) -> InWindow {
        let header = segment.header;
        let (from, to) = (usize::from(segment.reply), usize::from(!segment.reply));
        let mut sender = self.seen[from];
        let mut receiver = self.seen[to];
        let flags = header.flags;
        let (mut seq, mut end) = (segment.seq(), segment.end());
        let mut ack = segment.ack();
        let mut sack = ack;
        if receiver.sack_permitted && header.may_hold_sacks() {
            for block in header.options().sacks() {
                if after(block.end.0, sack) {
                    sack = block.end.0;
                }
            }
        }
        let restarted = flags.syn()
            && after(end, sender.end)
            && matches!(self.state, State::SynSent | State::SynRecv);
        if sender.max_win == 0 || restarted {
            let only_syn = begin(&mut sender, &mut receiver, segment, sack, restarted);
            if only_syn {
                self.seen[from] = sender;
                self.seen[to] = receiver;
                return InWindow::Accept;
            }
        }
        if !flags.ack() || flags.rst() && ack == 0 {
            ack = receiver.end;
            sack = receiver.end;
        }
        if flags.rst() && seq == 0 && self.state == State::SynSent {
            seq = sender.end;
            end = sender.end;
        }
        let liberal = liberal || sender.liberal;
        let verdict = check(&mut sender, &receiver, (seq, end, sack), liberal);
        if verdict == InWindow::Accept {
            self.learn(&mut sender, &mut receiver, segment, (seq, end, ack, sack));
        }
        self.seen[from] = sender;
        self.seen[to] = receiver;
        verdict
    }

    fn learn(
        &mut self,
        sender: &mut Seen,
        receiver: &mut Seen,
        segment: &Segment<'_>,
        (seq, end, ack, sack): (u32, u32, u32, u32),
    ) {
        let flags = segment.header.flags;
        let mut window = u32::from(segment.header.window);
        if !flags.syn() {
            window <<= sender.scale;
        }
        let offered = window.wrapping_add(sack.wrapping_sub(ack));
        sender.max_win = sender.max_win.max(offered);
        if after(end, sender.end) {
            sender.end = end;
            sender.unacknowledged = true;
        }
        if flags.ack() {
            sender.max_ack = match sender.max_ack {
                Some(most) if !after(ack, most) => Some(most),
                _ => Some(ack),
            };
        }
        if receiver.max_win != 0 && after(end, sender.max_end) {
            let more = end.wrapping_sub(sender.max_end);
            receiver.max_win = receiver.max_win.wrapping_add(more);
        }
        let allowed = sack.wrapping_add(window);
        if after(allowed, receiver.max_end.wrapping_sub(1)) {
            receiver.max_end = allowed.wrapping_add(u32::from(window == 0));
        }
        if ack == receiver.end {
            receiver.unacknowledged = false;
        }
        if segment.bits() == Bits::Ack {
            self.count_retransmissions(segment, (seq, end, ack));
        }
    }

    fn count_retransmissions(&mut self, segment: &Segment<'_>, (seq, end, ack): (u32, u32, u32)) {
        let window = segment.header.window;
        let again = self.last_reply == segment.reply
            && (self.last_seq, self.last_ack, self.last_end, self.last_win)
                == (seq, ack, end, window);
        if again {
            self.retransmissions = self.retransmissions.saturating_add(1);
            return;
        }
        self.last_reply = segment.reply;
        (self.last_seq, self.last_ack, self.last_end) = (seq, ack, end);
        self.last_win = window;
        self.retransmissions = 0;
    }
}

/// A direction's first segment (`tcp_init_sender`), or a SYN that begins anew. True: a SYN alone from the answering side, after
/// which nothing is to be checked.
fn begin(
    sender: &mut Seen,
    receiver: &mut Seen,
    segment: &Segment<'_>,
    sack: u32,
    restarted: bool,
) -> bool {
    let header = segment.header;
    let (end, window) = (segment.end(), u32::from(header.window));
    if header.flags.syn() {
        sender.end = end;
        sender.max_end = end;
        sender.max_win = window.max(1);
        sender.read_options(header);
        // Both sides have to offer scaling (RFC 7323 section 2.2).
        if segment.reply && !(sender.has_scale && receiver.has_scale) {
            sender.scale = 0;
            receiver.scale = 0;
        }
        return !header.flags.ack() && (segment.reply || !restarted);
    }
    let window = window << sender.scale;
    sender.end = end;
    sender.max_win = window.max(1);
    sender.max_end = end.wrapping_add(sender.max_win);
    if receiver.max_win == 0 {
        receiver.end = sack;
        receiver.max_end = sack;
    } else if sack == receiver.end.wrapping_add(1) {
        // The answer to a keepalive, probably.
        receiver.end = sack;
    }
    false
}

fn check(
    sender: &mut Seen,
    receiver: &Seen,
    (seq, end, sack): (u32, u32, u32),
    liberal: bool,
) -> InWindow {
    let otherwise = |verdict| if liberal { InWindow::Accept } else { verdict };
    let ack_window = sender.max_win.max(ACK_WINDOW);
    let ack_is_recent = after(sack, receiver.end.wrapping_sub(ack_window).wrapping_sub(1));
    let ack_was_sent = before(sack, receiver.end.wrapping_add(1));
    let lowest = sender.end.wrapping_sub(receiver.max_win).wrapping_sub(1);
    if !before(seq, sender.max_end.wrapping_add(1)) {
        let beyond = end.wrapping_sub(sender.max_end).wrapping_add(1);
        let recent = receiver.max_win != 0 && after(end, lowest);
        // A sender that overruns the window a little: its data may be acknowledged, and then it has to be known.
        if recent && ack_is_recent && beyond <= receiver.max_win && ack_was_sent {
            sender.end = end;
            sender.unacknowledged = true;
            return otherwise(InWindow::Ignore);
        }
        return otherwise(InWindow::Invalid);
    }
    if !ack_was_sent {
        return otherwise(InWindow::Invalid);
    }
    let recent = receiver.max_win == 0 || after(end, lowest);
    if !recent || !ack_is_recent {
        return otherwise(InWindow::Ignore);
    }
    InWindow::Accept
}
