//! The states, and which segment leads from which to which.

use transect_packet::TcpFlags;

/// The state of a tracked TCP connection (`enum tcp_conntrack`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum State {
    /// Nothing seen.
    #[default]
    None,
    SynSent,
    SynRecv,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
    /// A SYN from both sides.
    SynSent2,
}

impl State {
    /// As `conntrack -L` prints it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::None => "NONE",
            State::SynSent => "SYN_SENT",
            State::SynRecv => "SYN_RECV",
            State::Established => "ESTABLISHED",
            State::FinWait => "FIN_WAIT",
            State::CloseWait => "CLOSE_WAIT",
            State::LastAck => "LAST_ACK",
            State::TimeWait => "TIME_WAIT",
            State::Close => "CLOSE",
            State::SynSent2 => "SYN_SENT2",
        }
    }

    /// The end of the name of its time-out's setting.
    pub(super) fn timeout(self) -> &'static str {
        match self {
            State::None | State::SynSent | State::SynSent2 => "syn_sent",
            State::SynRecv => "syn_recv",
            State::Established => "established",
            State::FinWait => "fin_wait",
            State::CloseWait => "close_wait",
            State::LastAck => "last_ack",
            State::TimeWait => "time_wait",
            State::Close => "close",
        }
    }
}

/// Which of the flags counts (`enum tcp_bit_set`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bits {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    None,
}

impl Bits {
    pub(super) fn of(flags: TcpFlags) -> Self {
        match () {
            () if flags.rst() => Bits::Rst,
            () if flags.syn() && flags.ack() => Bits::SynAck,
            () if flags.syn() => Bits::Syn,
            () if flags.fin() => Bits::Fin,
            () if flags.ack() => Bits::Ack,
            () => Bits::None,
        }
    }
}

/// Where a segment leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transition {
    /// To this state.
    To(State),
    /// Nowhere: it may be right, and the tracker wrong.
    Ignore,
    /// Nowhere: it cannot be.
    Invalid,
}

/// The table `tcp_conntracks`, of Linux 6.18.
pub(super) fn transition(reply: bool, bits: Bits, state: State) -> Transition {
    use State::*;
    use Transition::{Ignore, Invalid, To};
    match (bits, state) {
        (_, State::None) if reply => Invalid,
        (Bits::Syn, State::None) => To(SynSent),
        (Bits::Ack, State::None) => To(Established),
        (_, State::None) => Invalid,
        (Bits::Rst, _) => To(Close),
        (Bits::Fin | Bits::Ack, FinWait | CloseWait | LastAck | TimeWait | Close) => {
            match (bits, state) {
                (Bits::Fin, FinWait | CloseWait | LastAck) => To(LastAck),
                (_, FinWait | CloseWait) => To(CloseWait),
                (Bits::Ack, LastAck) => To(TimeWait),
                (_, state) => To(state),
            }
        }
        (Bits::Fin, SynRecv | Established) => To(FinWait),
        (Bits::Fin, _) => Invalid,
        (Bits::Syn, state) if !reply => match state {
            SynSent | TimeWait | Close => To(SynSent),
            SynSent2 => To(SynSent2),
            _ => Ignore,
        },
        (Bits::Syn, SynSent | SynSent2) => To(SynSent2),
        // The server may have become the client.
        (Bits::Syn, TimeWait) => To(SynSent),
        (Bits::Syn, _) => Invalid,
        (Bits::SynAck, state) if !reply => match state {
            SynRecv | SynSent2 => To(SynRecv),
            _ => Invalid,
        },
        (Bits::SynAck, SynSent | SynSent2) => To(SynRecv),
        (Bits::SynAck, _) => Ignore,
        (Bits::Ack, SynRecv | Established) if !reply => To(Established),
        (Bits::Ack, SynRecv) => To(SynRecv),
        (Bits::Ack, Established) => To(Established),
        (Bits::Ack, _) if !reply => Invalid,
        // The other end of a connection that is half open, perhaps.
        (Bits::Ack, _) => Ignore,
        (Bits::None, _) => Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 10] = [
        State::None,
        State::SynSent,
        State::SynRecv,
        State::Established,
        State::FinWait,
        State::CloseWait,
        State::LastAck,
        State::TimeWait,
        State::Close,
        State::SynSent2,
    ];

    fn row(reply: bool, bits: Bits) -> String {
        let short = |state: State| match state {
            State::None => "NO",
            State::SynSent => "SS",
            State::SynRecv => "SR",
            State::Established => "ES",
            State::FinWait => "FW",
            State::CloseWait => "CW",
            State::LastAck => "LA",
            State::TimeWait => "TW",
            State::Close => "CL",
            State::SynSent2 => "S2",
        };
        let cells = STATES.map(|state| match transition(reply, bits, state) {
            Transition::To(state) => short(state),
            Transition::Ignore => "IG",
            Transition::Invalid => "IV",
        });
        cells.join(" ")
    }

    /// The kernel's table, row by row: from NONE, SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT,
    /// CLOSE, SYN_SENT2.
    #[test]
    fn the_table_is_the_kernels() {
        for (reply, bits, expected) in [
            (false, Bits::Syn, "SS SS IG IG IG IG IG SS SS S2"),
            (false, Bits::SynAck, "IV IV SR IV IV IV IV IV IV SR"),
            (false, Bits::Fin, "IV IV FW FW LA LA LA TW CL IV"),
            (false, Bits::Ack, "ES IV ES ES CW CW TW TW CL IV"),
            (false, Bits::Rst, "IV CL CL CL CL CL CL CL CL CL"),
            (false, Bits::None, "IV IV IV IV IV IV IV IV IV IV"),
            (true, Bits::Syn, "IV S2 IV IV IV IV IV SS IV S2"),
            (true, Bits::SynAck, "IV SR IG IG IG IG IG IG IG SR"),
            (true, Bits::Fin, "IV IV FW FW LA LA LA TW CL IV"),
            (true, Bits::Ack, "IV IG SR ES CW CW TW TW CL IG"),
            (true, Bits::Rst, "IV CL CL CL CL CL CL CL CL CL"),
            (true, Bits::None, "IV IV IV IV IV IV IV IV IV IV"),
        ] {
            assert_eq!(row(reply, bits), expected, "{bits:?}, reply: {reply}");
        }
    }
}
