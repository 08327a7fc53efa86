//! TCP as somebody in the middle sees it: states and windows (`nf_conntrack_proto_tcp`).

mod table;
mod window;

use transect_packet::TcpHeader;

use super::{Connection, ProtocolState, Status};
use crate::settings::Settings;
pub(super) use table::State;
use table::{Bits, Transition, transition};
use window::InWindow;

/// What is kept of one direction (`struct ip_ct_tcp_state`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The greatest sequence number sent, plus what it took.
    end: u32,
    /// The greatest sequence number that the other side lets this one send.
    max_end: u32,
    /// The greatest window offered.
    max_win: u32,
    /// The greatest acknowledgment sent.
    max_ack: Option<u32>,
    /// Window scale.
    scale: u8,
    has_scale: bool,
    sack_permitted: bool,
    /// It began the close.
    close_init: bool,
    /// It sent what is not acknowledged yet.
    unacknowledged: bool,
    /// Its windows are not checked: picked up in the middle.
    liberal: bool,
}

/// What is kept of a TCP connection (`struct ip_ct_tcp`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TcpTrack {
    /// Both directions: the first packet's, the answers'.
    seen: [Seen; 2],
    pub(super) state: State,
    last_reply: bool,
    last_bits: Option<Bits>,
    last_seq: u32,
    last_ack: u32,
    last_end: u32,
    last_win: u16,
    last_scale: Option<u8>,
    last_sack_permitted: bool,
    expects_challenge_ack: bool,
    simultaneous_open: bool,
    retransmissions: u8,
}

impl TcpTrack {
    /// TIME_WAIT or CLOSE.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::TimeWait | State::Close)
    }
}

/// What the tracker says of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TcpVerdict {
    /// It belongs to the connection.
    Accept,
    /// It makes no sense.
    Invalid,
    /// The connection is over; look again, and find a new one (`NF_REPEAT`).
    Repeat,
    /// It belongs to the connection, which ends with it.
    Kill,
}

/// One segment on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment<'a> {
    pub(super) header: &'a TcpHeader<'a>,
    /// In the answers' direction.
    pub(super) reply: bool,
}

impl Segment<'_> {
    fn seq(&self) -> u32 {
        self.header.sequence.0
    }

    fn ack(&self) -> u32 {
        self.header.acknowledgment.0
    }

    fn end(&self) -> u32 {
        self.seq().wrapping_add(self.header.sequence_length())
    }

    fn bits(&self) -> Bits {
        Bits::of(self.header.flags)
    }
}

/// Whether the flags make sense together (`tcp_valid_flags`); ECE, CWR and PSH may stand with all.
pub(super) fn flags_make_sense(header: &TcpHeader<'_>) -> bool {
    // URG, ACK, RST, SYN, FIN.
    matches!(
        header.flags.0 & 0x37,
        0x02 | 0x22 | 0x12 | 0x04 | 0x14 | 0x11 | 0x31 | 0x10 | 0x30
    )
}

/// The tracker's settings.
struct Rules<'a>(&'a Settings);

impl Rules<'_> {
    fn is_set(&self, name: &str) -> bool {
        self.0
            .number(&format!("net.netfilter.nf_conntrack_tcp_{name}"))
            != 0
    }

    /// A time-out in seconds.
    fn timeout(&self, name: &str) -> u64 {
        let name = format!("net.netfilter.nf_conntrack_tcp_timeout_{name}");
        u64::try_from(self.0.number(&name)).unwrap_or(0)
    }
}

/// What is kept of a connection that begins with this segment (`tcp_new`). None: no connection begins so.
pub(super) fn begin(segment: &Segment<'_>, settings: &Settings) -> Option<TcpTrack> {
    let mut track = TcpTrack::default();
    let window = u32::from(segment.header.window).max(1);
    let [first, other] = &mut track.seen;
    first.end = segment.end();
    first.max_win = window;
    match transition(false, segment.bits(), State::None) {
        Transition::To(State::SynSent) => {
            first.max_end = first.end;
            first.read_options(segment.header);
        }
        Transition::To(_) if Rules(settings).is_set("loose") => {
            first.max_end = first.end.wrapping_add(window);
            for seen in [first, other] {
                seen.sack_permitted = true;
                seen.liberal = true;
            }
        }
        _ => return None,
    }
    Some(track)
}

impl Seen {
    /// What a SYN's options say (`tcp_options`).
    fn read_options(&mut self, header: &TcpHeader<'_>) {
        if header.option_bytes.is_empty() {
            return;
        }
        let options = header.options();
        self.scale = options.window_scale.unwrap_or(0);
        self.has_scale = options.window_scale.is_some();
        self.sack_permitted = options.sack_permitted;
        self.close_init = false;
        self.unacknowledged = false;
        self.liberal = false;
        self.max_ack = None;
    }
}

/// Follows a segment (`nf_conntrack_tcp_packet`). `confirmed`: the connection is in the table. The new time-out, in ticks from
/// now, is set in the connection where it changes.
pub(super) fn follow(
    connection: &mut Connection,
    segment: &Segment<'_>,
    settings: &Settings,
    jiffies: u64,
    hz: u64,
) -> TcpVerdict {
    let status = connection.status;
    let ProtocolState::Tcp(track) = &mut connection.state else {
        return TcpVerdict::Accept;
    };
    let rules = Rules(settings);
    let old = track.state;
    let bits = segment.bits();
    let new = match transition(segment.reply, bits, old) {
        Transition::Invalid => return TcpVerdict::Invalid,
        Transition::Ignore => match track.ignored(segment, old) {
            Some(state) => state,
            None => return TcpVerdict::Accept,
        },
        Transition::To(State::SynSent) if old >= State::TimeWait => {
            let closed = track.seen.iter().any(|seen| seen.close_init);
            let reset = track.last_reply == segment.reply && track.last_bits == Some(Bits::Rst);
            if closed || reset {
                return TcpVerdict::Repeat;
            }
            match track.ignored(segment, old) {
                Some(state) => state,
                None => return TcpVerdict::Accept,
            }
        }
        Transition::To(state) => state,
    };
    let (new, skip_window) = match track.special(segment, status, old, new, &rules) {
        Special::Go(state) => (state, false),
        Special::InWindow(state) => (state, true),
        Special::Accept => return TcpVerdict::Accept,
        Special::Invalid => return TcpVerdict::Invalid,
    };
    // A segment that brings the tracker into step counts as if it were in the first SYN's place.
    if !skip_window {
        match track.in_window(segment, rules.is_set("be_liberal")) {
            InWindow::Accept => {}
            InWindow::Ignore => return TcpVerdict::Accept,
            InWindow::Invalid => {
                track.out_of_window(
                    segment,
                    status,
                    &mut connection.timeout,
                    &rules,
                    jiffies,
                    hz,
                );
                return TcpVerdict::Invalid;
            }
        }
    }
    track.last_bits = Some(bits);
    track.last_reply = segment.reply;
    track.state = new;
    if old != new && new == State::FinWait {
        track.seen[usize::from(segment.reply)].close_init = true;
    }
    let mut seconds = track.timeout(bits, new, &rules);
    if !status.has(Status::SEEN_REPLY) {
        if segment.header.flags.rst() {
            return TcpVerdict::Kill;
        }
        if bits == Bits::Syn && old == State::SynSent {
            return TcpVerdict::Accept;
        }
        if new == State::Established {
            seconds = seconds.min(rules.timeout("unacknowledged"));
        }
    } else if matches!(old, State::SynRecv | State::Established) && new == State::Established {
        connection.status.set(Status::ASSURED);
    }
    connection.refresh(seconds.saturating_mul(hz), jiffies);
    TcpVerdict::Accept
}

/// What the special cases of [`follow`] say.
enum Special {
    /// On to the window, with this state.
    Go(State),
    /// The window is not to be looked at.
    InWindow(State),
    Accept,
    Invalid,
}

impl TcpTrack {
    /// A segment that is let through although it does not fit the state (`TCP_CONNTRACK_IGNORE`): the tracker may be the one
    /// that is out of step. A state comes back where an answer brings it into step again.
    fn ignored(&mut self, segment: &Segment<'_>, old: State) -> Option<State> {
        let bits = segment.bits();
        let in_step = bits == Bits::SynAck
            && self.last_bits == Some(Bits::Syn)
            && self.last_reply != segment.reply
            && segment.ack() == self.last_end;
        if in_step {
            let other = &mut self.seen[usize::from(self.last_reply)];
            *other = Seen {
                end: self.last_end,
                max_end: self.last_end,
                max_win: u32::from(self.last_win).max(1),
                scale: self.last_scale.unwrap_or(0),
                has_scale: self.last_scale.is_some(),
                sack_permitted: self.last_sack_permitted,
                ..*other
            };
            other.close_init = false;
            other.unacknowledged = false;
            other.liberal = false;
            other.max_ack = None;
            self.expects_challenge_ack = false;
            self.seen[usize::from(segment.reply)] = Seen::default();
            return Some(State::SynRecv);
        }
        self.last_bits = Some(bits);
        self.last_reply = segment.reply;
        self.last_seq = segment.seq();
        self.last_end = segment.end();
        self.last_win = segment.header.window;
        if bits == Bits::Syn && !segment.reply {
            let options = segment.header.options();
            self.last_scale = options.window_scale;
            self.last_sack_permitted = options.sack_permitted;
            self.simultaneous_open = false;
            self.expects_challenge_ack = old == State::LastAck;
        }
        // A challenge to a SYN, perhaps (RFC 5961).
        if old == State::SynSent && bits == Bits::Ack && segment.reply {
            self.last_ack = segment.ack();
        }
        None
    }

    fn special(
        &mut self,
        segment: &Segment<'_>,
        status: Status,
        old: State,
        new: State,
        rules: &Rules<'_>,
    ) -> Special {
        let bits = segment.bits();
        match new {
            State::TimeWait
                if old == State::LastAck
                    && bits == Bits::Ack
                    && self.last_reply != segment.reply
                    && self.last_bits == Some(Bits::Syn)
                    && self.expects_challenge_ack =>
            {
                self.expects_challenge_ack = false;
                Special::Accept
            }
            State::SynSent2 => {
                self.simultaneous_open = true;
                Special::Go(new)
            }
            State::SynRecv if segment.reply && bits == Bits::Ack && self.simultaneous_open => {
                Special::Go(State::Established)
            }
            State::Close if bits == Bits::Rst => self.reset(segment, status, old, rules),
            _ => Special::Go(new),
        }
    }

    /// A reset: believed only where its sequence number is right (RFC 5961).
    fn reset(
        &mut self,
        segment: &Segment<'_>,
        status: Status,
        old: State,
        rules: &Rules<'_>,
    ) -> Special {
        // An entry that may be thrown out early (`tcp_can_early_drop`) is not worth the look.
        if matches!(
            old,
            State::FinWait | State::LastAck | State::TimeWait | State::Close | State::CloseWait
        ) {
            return Special::InWindow(State::Close);
        }
        let mut new = State::Close;
        let seq = segment.seq();
        let established = old == State::Established;
        if let Some(max_ack) = self.seen[usize::from(!segment.reply)].max_ack
            && self.last_bits != Some(Bits::Syn)
        {
            if seq == 0 && !established {
                return Special::Go(new);
            }
            if window::before(seq, max_ack) && !rules.is_set("ignore_invalid_rst") {
                return Special::Invalid;
            }
            if !established || seq == max_ack {
                return Special::Go(new);
            }
            // Part of a train: right behind the data before it.
            let train = self.last_bits == Some(Bits::Ack)
                && self.last_reply == segment.reply
                && seq == self.last_end;
            if train {
                return Special::Go(new);
            }
            // A challenge may follow.
            new = old;
        }
        let answers_ignored = status.has(Status::SEEN_REPLY) && self.last_bits == Some(Bits::Syn)
            || !status.has(Status::ASSURED) && self.last_bits == Some(Bits::Ack);
        if answers_ignored && segment.ack() == self.last_end {
            return Special::InWindow(new);
        }
        let answers_challenge = old == State::SynSent
            && self.last_bits == Some(Bits::Ack)
            && self.last_reply
            && seq == self.last_ack;
        match answers_challenge {
            true => Special::InWindow(new),
            false => Special::Go(new),
        }
    }

    /// How long the entry lasts from now on, in seconds.
    fn timeout(&self, bits: Bits, new: State, rules: &Rules<'_>) -> u64 {
        let own = rules.timeout(new.timeout());
        let most_retransmissions = rules.0.number("net.netfilter.nf_conntrack_tcp_max_retrans");
        let unacknowledged = self.seen.iter().any(|seen| seen.unacknowledged);
        if i64::from(self.retransmissions) >= most_retransmissions {
            own.min(rules.timeout("max_retrans"))
        } else if bits == Bits::Rst {
            rules.timeout("close")
        } else if unacknowledged && own > rules.timeout("unacknowledged") {
            rules.timeout("unacknowledged")
        } else if self.last_win == 0 {
            own.min(rules.timeout("max_retrans"))
        } else {
            own
        }
    }

    /// A FIN or reset outside of the window shortens a long time-out, the second one in the other direction at the latest
    /// (`nf_tcp_handle_invalid`).
    fn out_of_window(
        &mut self,
        segment: &Segment<'_>,
        status: Status,
        timeout: &mut u64,
        rules: &Rules<'_>,
        jiffies: u64,
        hz: u64,
    ) {
        let bits = segment.bits();
        if !status.has(Status::ASSURED) || !matches!(bits, Bits::Fin | Bits::Rst) {
            return;
        }
        let answered = matches!(self.last_bits, Some(Bits::Fin | Bits::Rst));
        if self.last_reply == segment.reply || !answered {
            self.last_bits = Some(bits);
            self.last_reply = segment.reply;
            return;
        }
        let left = timeout.saturating_sub(jiffies);
        let short = rules.timeout("unacknowledged").saturating_mul(hz);
        if left >= 120 * hz && left > short {
            *timeout = jiffies.saturating_add(short);
        }
    }
}

impl Connection {
    /// Sets how long the entry lasts (`nf_ct_refresh`), in ticks from now.
    pub(super) fn refresh(&mut self, ticks: u64, jiffies: u64) {
        self.timeout = match self.status.has(Status::CONFIRMED) {
            true => jiffies.saturating_add(ticks),
            false => ticks,
        };
    }

    /// A reset was sent in the peer's name (`nf_conntrack_tcp_set_closing`).
    pub(super) fn close(&mut self, settings: &Settings, jiffies: u64, hz: u64) {
        if let ProtocolState::Tcp(track) = &mut self.state {
            track.state = State::Close;
            let seconds = Rules(settings).timeout("close");
            self.refresh(seconds.saturating_mul(hz), jiffies);
        }
    }
}

#[cfg(test)]
mod tests;
