//! Segments as the tracker sees them: states, time-outs, windows.

use transect_config::Sysctls;
use transect_packet::{SequenceNumber, TcpFlags};

use super::super::tuple::Tuple;
use super::*;

const HZ: u64 = 250;

/// A connection and the moment, in ticks.
struct Wire {
    connection: Connection,
    settings: Settings,
    jiffies: u64,
}

/// MSS 1460, SACK permitted, NOP, window scale 7.
const SYN_OPTIONS: &[u8] = &[2, 4, 5, 180, 4, 2, 1, 3, 3, 7];

fn header(flags: u8, seq: u32, ack: u32, window: u16, length: u32) -> TcpHeader<'static> {
    TcpHeader {
        source_port: 1,
        destination_port: 2,
        sequence: SequenceNumber(seq),
        acknowledgment: SequenceNumber(ack),
        flags: TcpFlags(flags),
        window,
        payload_length: length,
        option_bytes: if flags & 0x02 != 0 { SYN_OPTIONS } else { &[] },
    }
}

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const FIN: u8 = 0x11;
const RST: u8 = 0x04;

impl Wire {
    /// A connection that begins with this segment, confirmed.
    fn begin(first: &TcpHeader<'_>, given: &[(&str, &str)]) -> Option<Self> {
        let values = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let given = Sysctls {
            values: values.collect(),
        };
        let settings = Settings::new(std::iter::empty(), &given).unwrap();
        let segment = Segment {
            header: first,
            reply: false,
        };
        let track = begin(&segment, &settings)?;
        let original = Tuple {
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            protocol: 6,
            source_key: 1,
            destination_key: 2,
        };
        let mut wire = Wire {
            connection: Connection {
                original,
                reply: original.inverted().unwrap(),
                status: Status::default(),
                mark: 0,
                timeout: 0,
                state: ProtocolState::Tcp(Box::new(track)),
                masquerade: None,
            },
            settings,
            jiffies: 1000,
        };
        assert_eq!(wire.segment(false, first), TcpVerdict::Accept);
        wire.connection.timeout += wire.jiffies;
        wire.connection.status.set(Status::CONFIRMED);
        Some(wire)
    }

    fn segment(&mut self, reply: bool, header: &TcpHeader<'_>) -> TcpVerdict {
        let segment = Segment { header, reply };
        let verdict = follow(
            &mut self.connection,
            &segment,
            &self.settings,
            self.jiffies,
            HZ,
        );
        if reply && verdict == TcpVerdict::Accept {
            self.connection.status.set(Status::SEEN_REPLY);
        }
        verdict
    }

    /// State, seconds left, and whether it is assured.
    fn stands(&self) -> (&'static str, u64, bool) {
        let ProtocolState::Tcp(track) = &self.connection.state else {
            panic!("no TCP");
        };
        let left = (self.connection.timeout - self.jiffies) / HZ;
        (
            track.state.name(),
            left,
            self.connection.status.has(Status::ASSURED),
        )
    }

    /// After the handshake: the client's next byte is 101, the server's 501.
    fn established() -> Self {
        let mut wire = Wire::begin(&header(SYN, 100, 0, 64240, 0), &[]).unwrap();
        assert_eq!(
            wire.segment(true, &header(SYN | ACK, 500, 101, 65160, 0)),
            TcpVerdict::Accept
        );
        assert_eq!(
            wire.segment(false, &header(ACK, 101, 501, 502, 0)),
            TcpVerdict::Accept
        );
        wire
    }
}

#[test]
fn a_connection_from_its_first_to_its_last_segment() {
    let mut wire = Wire::begin(&header(SYN, 100, 0, 64240, 0), &[]).unwrap();
    assert_eq!(wire.stands(), ("SYN_SENT", 120, false));
    wire.segment(true, &header(SYN | ACK, 500, 101, 65160, 0));
    assert_eq!(wire.stands(), ("SYN_RECV", 60, false));
    wire.segment(false, &header(ACK, 101, 501, 502, 0));
    assert_eq!(wire.stands(), ("ESTABLISHED", 432_000, true));
    wire.segment(false, &header(ACK | 0x08, 101, 501, 502, 100));
    assert_eq!(
        wire.stands(),
        ("ESTABLISHED", 300, true),
        "not acknowledged yet"
    );
    wire.segment(true, &header(ACK, 501, 201, 509, 0));
    assert_eq!(wire.stands(), ("ESTABLISHED", 432_000, true));
    wire.segment(false, &header(FIN, 201, 501, 502, 0));
    assert_eq!(wire.stands(), ("FIN_WAIT", 120, true));
    wire.segment(true, &header(ACK, 501, 202, 509, 0));
    assert_eq!(wire.stands(), ("CLOSE_WAIT", 60, true));
    wire.segment(true, &header(FIN, 501, 202, 509, 0));
    assert_eq!(wire.stands(), ("LAST_ACK", 30, true));
    wire.segment(false, &header(ACK, 202, 502, 502, 0));
    assert_eq!(wire.stands(), ("TIME_WAIT", 120, true));
    // The client comes again from the same port: another connection.
    let again = wire.segment(false, &header(SYN, 9000, 0, 64240, 0));
    assert_eq!(again, TcpVerdict::Repeat);
}

#[test]
fn a_syn_that_is_sent_again_wins_no_time() {
    let mut wire = Wire::begin(&header(SYN, 100, 0, 64240, 0), &[]).unwrap();
    wire.jiffies += 20 * HZ;
    assert_eq!(
        wire.segment(false, &header(SYN, 100, 0, 64240, 0)),
        TcpVerdict::Accept
    );
    assert_eq!(wire.stands(), ("SYN_SENT", 100, false));
    // Nothing but a reset comes back: the entry goes at once.
    let reset = wire.segment(true, &header(RST | ACK, 0, 101, 0, 0));
    assert_eq!(reset, TcpVerdict::Kill);
}

#[test]
fn a_reset_has_to_be_exact() {
    let mut wire = Wire::established();
    wire.segment(false, &header(ACK, 101, 501, 502, 100));
    wire.segment(true, &header(ACK, 501, 201, 509, 0));
    // Older than what the other side has acknowledged.
    assert_eq!(
        wire.segment(true, &header(RST, 400, 0, 0, 0)),
        TcpVerdict::Invalid
    );
    // In the window, and not exact: let through, for the challenge; the state stays.
    assert_eq!(
        wire.segment(true, &header(RST, 600, 0, 0, 0)),
        TcpVerdict::Accept
    );
    assert_eq!(wire.stands().0, "ESTABLISHED");
    assert_eq!(
        wire.segment(true, &header(RST, 501, 0, 0, 0)),
        TcpVerdict::Accept
    );
    assert_eq!(wire.stands(), ("CLOSE", 10, true));
}

#[test]
fn what_lies_outside_of_the_window_is_invalid_or_ignored() {
    let mut wire = Wire::established();
    wire.segment(false, &header(ACK, 101, 501, 502, 100));
    wire.segment(true, &header(ACK, 501, 201, 509, 0));
    // The server let the client send 509 << 7 bytes from 201 on.
    let beyond = 201 + (509 << 7) + 1;
    assert_eq!(
        wire.segment(false, &header(ACK, beyond + 200_000, 501, 502, 10)),
        TcpVerdict::Invalid
    );
    // An acknowledgment of what was never sent.
    assert_eq!(
        wire.segment(false, &header(ACK, 201, 90_000, 502, 0)),
        TcpVerdict::Invalid
    );
    // An old acknowledgment is nothing bad, and teaches nothing.
    wire.jiffies += 10 * HZ;
    let old = 501u32.wrapping_sub(100_000);
    assert_eq!(
        wire.segment(false, &header(ACK, 201, old, 502, 0)),
        TcpVerdict::Accept
    );
    assert_eq!(wire.stands(), ("ESTABLISHED", 431_990, true));
    // Liberal rules take everything.
    let mut liberal = Wire::established();
    liberal
        .settings
        .set("net.netfilter.nf_conntrack_tcp_be_liberal", "1")
        .unwrap();
    assert_eq!(
        liberal.segment(false, &header(ACK, 101, 90_000, 502, 0)),
        TcpVerdict::Accept
    );
}

#[test]
fn a_connection_in_the_middle() {
    let data = header(ACK, 5000, 7000, 502, 10);
    let wire = Wire::begin(&data, &[]).unwrap();
    assert_eq!(wire.stands(), ("ESTABLISHED", 300, false));
    let mut wire = wire;
    wire.segment(true, &header(ACK, 7000, 5010, 502, 0));
    wire.segment(false, &header(ACK, 5010, 7000, 502, 0));
    assert_eq!(wire.stands(), ("ESTABLISHED", 432_000, true));
    let strict = [("net.netfilter.nf_conntrack_tcp_loose", "0")];
    assert!(Wire::begin(&data, &strict).is_none());
    assert!(Wire::begin(&header(FIN, 1, 1, 1, 0), &[]).is_none());
}

#[test]
fn flags_that_make_no_sense_together() {
    for (flags, sense) in [
        (SYN, true),
        (SYN | ACK, true),
        (FIN, true),
        (0x01, false),
        (SYN | 0x01, false),
        (SYN | RST, false),
        (0x00, false),
        (0x29, false),
        (ACK | 0xc8, true),
    ] {
        assert_eq!(
            flags_make_sense(&header(flags, 0, 0, 0, 0)),
            sense,
            "{flags:#x}"
        );
    }
}
