//! Conversations made packet by packet.

use std::time::Duration;

use etherparse::{PacketBuilder, TcpOptionElement};
use proptest::prelude::*;
use transect_packet::bpf::{Instruction, Program};
use transect_packet::{Dissection, Frame, Interface, LinkType, dissect, protocol};

use super::*;

const CLIENT: [u8; 4] = [192, 0, 2, 1];
const SERVER: [u8; 4] = [192, 0, 2, 2];
const MILLISECOND: Duration = Duration::from_millis(1);

/// A ledger and the clock of its capture.
struct Scene {
    ledger: Ledger,
    now: Timestamp,
    interface: usize,
}

/// One TCP segment to be; flags as tcpdump writes them.
#[derive(Clone, Copy)]
struct Segment<'a> {
    sequence: u32,
    acknowledgment: u32,
    flags: &'a str,
    length: u32,
    window: u16,
    sack: Option<(u32, u32)>,
}

fn segment(flags: &str, sequence: u32, acknowledgment: u32, length: u32) -> Segment<'_> {
    Segment {
        sequence,
        acknowledgment,
        flags,
        length,
        window: 1000,
        sack: None,
    }
}

impl Scene {
    fn new(options: LedgerOptions) -> Self {
        Scene {
            ledger: Ledger::new(options),
            now: Timestamp::from_parts(1_700_000_000, 0),
            interface: 0,
        }
    }

    fn wait(&mut self, time: Duration) -> &mut Self {
        self.now = self.now + time;
        self
    }

    /// A frame of raw IP, one millisecond after the one before it; `unseen` bytes of it were not kept.
    fn frame(&mut self, direction: Option<FrameDirection>, data: &[u8], unseen: u32) -> &mut Self {
        self.wait(MILLISECOND);
        let frame = Frame {
            time: self.now,
            interface: self.interface,
            link: LinkType::RAW,
            direction,
            original_length: data.len() as u32 + unseen,
            data,
            offset: 0,
        };
        let dissection: Dissection = dissect(frame.link, frame.data, frame.original_length);
        self.ledger.handle_frame(&frame, &dissection);
        self
    }

    fn send(&mut self, way: Direction, segment: Segment<'_>) -> &mut Self {
        let (from, to, ports, direction) = match way {
            Direction::ToServer => (CLIENT, SERVER, (40000, 80), FrameDirection::Out),
            Direction::ToClient => (SERVER, CLIENT, (80, 40000), FrameDirection::In),
        };
        let mut builder = PacketBuilder::ipv4(from, to, 64).tcp(
            ports.0,
            ports.1,
            segment.sequence,
            segment.window,
        );
        let has = |flag| segment.flags.contains(flag);
        if has('.') {
            builder = builder.ack(segment.acknowledgment);
        }
        if has('F') {
            builder = builder.fin();
        }
        if has('R') {
            builder = builder.rst();
        }
        if has('S') {
            builder = builder
                .syn()
                .options(&[
                    TcpOptionElement::MaximumSegmentSize(1460),
                    TcpOptionElement::WindowScale(3),
                    TcpOptionElement::Timestamp(11, 12),
                ])
                .unwrap();
        }
        if let Some(sack) = segment.sack {
            let sack = TcpOptionElement::SelectiveAcknowledgement(sack, [None; 3]);
            builder = builder.options(&[sack]).unwrap();
        }
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &[]).unwrap();
        // As a capture with a short snap length has it: the lengths stand in the header, the payload is missing. More
        // than 64 KiB is a super-packet that does not know its length.
        let total = u16::try_from(bytes.len() as u32 + segment.length).unwrap_or(0);
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        let header = etherparse::Ipv4Header::from_slice(&bytes).unwrap().0;
        bytes[10..12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
        self.frame(Some(direction), &bytes, segment.length)
    }

    fn client(
        &mut self,
        flags: &str,
        sequence: u32,
        acknowledgment: u32,
        length: u32,
    ) -> &mut Self {
        self.send(
            Direction::ToServer,
            segment(flags, sequence, acknowledgment, length),
        )
    }

    fn server(
        &mut self,
        flags: &str,
        sequence: u32,
        acknowledgment: u32,
        length: u32,
    ) -> &mut Self {
        self.send(
            Direction::ToClient,
            segment(flags, sequence, acknowledgment, length),
        )
    }

    fn handshake(&mut self, client: u32, server: u32) -> &mut Self {
        self.client("S", client, 0, 0)
            .server("S.", server, client.wrapping_add(1), 0)
            .client(".", client.wrapping_add(1), server.wrapping_add(1), 0)
    }

    fn all(&self) -> Vec<Conversation> {
        self.ledger.conversations().collect()
    }

    fn only(&self) -> Conversation {
        let mut all = self.all();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }
}

fn scene() -> Scene {
    Scene::new(LedgerOptions::default())
}

fn tally(conversation: &Conversation, direction: Direction) -> &Tally {
    let mut tallies = conversation.tallies_of(direction);
    let tally = tallies.next().unwrap();
    assert!(tallies.next().is_none(), "one tap saw this direction");
    tally
}

/// An ordinary connection: 100 bytes of request, 5000 of response.
fn ordinary(scene: &mut Scene, client: u32, server: u32) {
    let at = |start: u32, offset: u32| start.wrapping_add(offset);
    scene
        .handshake(client, server)
        .client("P.", at(client, 1), at(server, 1), 100)
        .server(".", at(server, 1), at(client, 101), 0)
        .server("P.", at(server, 1), at(client, 101), 5000)
        .client(".", at(client, 101), at(server, 5001), 0)
        .client("F.", at(client, 101), at(server, 5001), 0)
        .server("F.", at(server, 5001), at(client, 102), 0)
        .client(".", at(client, 102), at(server, 5002), 0);
}

#[test]
fn an_ordinary_connection() {
    // The second one's sequence numbers wrap around in both directions.
    for (client, server) in [(1000, 9000), (0xffff_ffd0, 0xffff_f000)] {
        let mut scene = scene();
        ordinary(&mut scene, client, server);
        let conversation = scene.only();
        assert_eq!(
            conversation.tuple.to_string(),
            "tcp 192.0.2.1:40000 > 192.0.2.2:80"
        );
        assert_eq!(conversation.client_known_by, ClientKnownBy::Role);
        assert!(conversation.filtered && conversation.clean && conversation.is_closed());
        assert_eq!(conversation.handshake(), Handshake::Complete);
        assert_eq!(conversation.reset(), None);
        for direction in [Direction::ToServer, Direction::ToClient] {
            assert!(conversation.unacknowledged(direction).is_empty());
            assert_eq!(conversation.acked_unseen(direction), 0);
            assert_eq!(conversation.fin_acknowledged(direction), Some(true));
        }
        let up = tally(&conversation, Direction::ToServer);
        assert_eq!(
            up.counts,
            Counts {
                syn: 1,
                ack: 3,
                data: 1,
                fin: 1,
                ..Counts::default()
            }
        );
        assert_eq!((up.packets, up.payload_bytes), (6, 100));
        assert_eq!(
            (up.seen.as_slice(), up.end, up.fin_at),
            ([1..101].as_slice(), Some(102), Some(101))
        );
        assert_eq!(up.acknowledged, Some(5002));
        assert_eq!(up.tap.direction, Some(FrameDirection::Out));
        assert_eq!(up.last.since(up.first), 9 * MILLISECOND);
        // Both offered to scale windows by eight.
        assert_eq!(up.window, Some(8000));
        let offered = up.offered.unwrap();
        assert_eq!((offered.mss, offered.window_scale), (Some(1460), Some(3)));
        assert!(offered.timestamps && !offered.sack);
        let notes: Vec<_> = up
            .notes
            .iter()
            .map(|note| (note.what, note.sequence.0))
            .collect();
        let expected = [(What::Syn, 0), (What::Data, 1), (What::Fin, 101)];
        assert_eq!(
            notes,
            expected.map(|(what, offset)| (what, client.wrapping_add(offset)))
        );
        assert_eq!(up.notes[0].timestamp, Some(11));
        let down = tally(&conversation, Direction::ToClient);
        assert_eq!(down.seen, [1..5001]);
        assert_eq!(down.latest_data.map(|note| note.payload_length), Some(5000));
        assert_eq!(down.longest_packet, 5040);
        assert!(
            scene
                .ledger
                .briefs()
                .all(|brief| brief.clean && brief.tuple == conversation.tuple)
        );
    }
}

#[test]
fn syns_without_an_answer() {
    let mut scene = scene();
    for _ in 0..7 {
        scene.client("S", 1000, 0, 0).wait(Duration::from_secs(1));
    }
    let conversation = scene.only();
    assert_eq!(conversation.handshake(), Handshake::SynOnly);
    assert_eq!(conversation.most(What::Syn, Direction::ToServer), 7);
    let notes = conversation.notes(What::Syn, Direction::ToServer);
    let again: Vec<_> = notes.iter().map(|note| note.again).collect();
    assert_eq!(again, [false, true, true, true, true, true, true]);
    assert_eq!(
        notes[6].time.since(notes[0].time),
        6 * (Duration::from_secs(1) + MILLISECOND)
    );
    assert!(!conversation.clean);
    // A new attempt from the same port is another conversation.
    scene.client("S", 77_000, 0, 0);
    let counts: Vec<_> = scene
        .all()
        .iter()
        .map(|one| one.most(What::Syn, Direction::ToServer))
        .collect();
    assert_eq!(counts, [7, 1]);
}

#[test]
fn the_same_ports_again_after_the_end() {
    let mut scene = scene();
    ordinary(&mut scene, 1000, 9000);
    ordinary(&mut scene, 500_000, 800_000);
    let all = scene.all();
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|conversation| conversation.clean));
    // A SYN-ACK alone tells the client as well.
    let mut scene = super::tests::scene();
    scene.server("S.", 9000, 1001, 0);
    let conversation = scene.only();
    assert_eq!(conversation.server().port, 80);
    assert_eq!(conversation.handshake(), Handshake::SynAckOnly);
    assert_eq!(conversation.to_server.origin, Some(SequenceNumber(1000)));
}

#[test]
fn a_syn_that_meets_an_older_connection() {
    let mut scene = scene();
    scene
        .handshake(1000, 9000)
        .wait(Duration::from_secs(5))
        .client("S", 3_000_000_000, 0, 0)
        // A challenge ACK, for the older connection.
        .server(".", 9001, 1001, 0)
        .client("S", 3_000_000_000, 0, 0);
    let all = scene.all();
    assert_eq!(all.len(), 2);
    assert_eq!(all[1].handshake(), Handshake::SynOnly);
    let answer = tally(&all[1], Direction::ToClient);
    assert_eq!((answer.stray_acks, answer.acknowledged), (1, None));
    assert_eq!(answer.notes.len(), 1);
    // On a live connection it is only a foreign SYN.
    let mut scene = super::tests::scene();
    scene
        .handshake(1000, 9000)
        .client("S", 3_000_000_000, 0, 0)
        .client("P.", 1001, 9001, 10);
    let conversation = scene.only();
    assert_eq!(tally(&conversation, Direction::ToServer).stray_segments, 1);
    assert_eq!(conversation.seen(Direction::ToServer), [1..11]);
}

#[test]
fn super_packets_and_what_is_sent_again() {
    let mut scene = scene();
    scene
        .handshake(1000, 9000)
        // 100 KB at once, as segmentation offload captures it.
        .client("P.", 1001, 9001, 100_000)
        .server(".", 9001, 51_001, 0)
        // Again in ordinary segments, one of them with a little that is new.
        .client("P.", 51_001, 9001, 1460)
        .client("P.", 99_001, 9001, 3000)
        .client("P.", 51_001, 9001, 1460);
    let conversation = scene.only();
    let up = tally(&conversation, Direction::ToServer);
    assert_eq!(up.seen, [1..101_001]);
    assert_eq!(
        up.retransmitted,
        Repeats {
            segments: 3,
            bytes: 1460 + 2000 + 1460
        }
    );
    assert_eq!(up.late, Repeats::default());
    assert_eq!(up.longest_packet, 100_040);
    assert_eq!(
        conversation.unacknowledged(Direction::ToServer),
        [50_001..101_001]
    );
    let again: Vec<_> = up
        .notes
        .iter()
        .filter(|note| note.again)
        .map(|note| note.sequence.0)
        .collect();
    assert_eq!(again, [51_001, 99_001, 51_001]);
    let latest = up.latest_data.unwrap();
    assert!(latest.again && latest.sequence.0 == 51_001 && latest.ip_length == 1500);
}

#[test]
fn gaps_that_fill_late_and_selective_acknowledgements() {
    let mut scene = scene();
    scene
        .handshake(1000, 9000)
        .client("P.", 1001, 9001, 100)
        // 1101..1201 is missing.
        .client("P.", 1201, 9001, 100)
        .send(
            Direction::ToClient,
            Segment {
                sack: Some((1201, 1301)),
                ..segment(".", 9001, 1101, 0)
            },
        )
        .send(
            Direction::ToClient,
            Segment {
                sack: Some((1201, 1301)),
                ..segment(".", 9001, 1101, 0)
            },
        );
    let conversation = scene.only();
    assert_eq!(conversation.seen(Direction::ToServer), [1..101, 201..301]);
    assert!(conversation.unacknowledged(Direction::ToServer).is_empty());
    let down = tally(&conversation, Direction::ToClient);
    assert_eq!(down.selectively_acknowledged, [201..301]);
    assert_eq!(down.duplicate_acks, 1);
    scene
        .client("P.", 1101, 9001, 100)
        .server(".", 9001, 1301, 0)
        .send(
            Direction::ToClient,
            Segment {
                sack: Some((1101, 1201)),
                ..segment(".", 9001, 1301, 0)
            },
        );
    let conversation = scene.only();
    let (up, down) = (
        tally(&conversation, Direction::ToServer),
        tally(&conversation, Direction::ToClient),
    );
    assert_eq!(up.seen, [1..301]);
    assert_eq!(
        up.late,
        Repeats {
            segments: 1,
            bytes: 100
        }
    );
    assert_eq!(up.retransmitted, Repeats::default());
    assert!(down.selectively_acknowledged.is_empty());
    assert_eq!(down.duplicate_sacks, 1);
}

#[test]
fn acknowledged_but_never_captured() {
    let mut scene = scene();
    scene
        .handshake(1000, 9000)
        .client("P.", 1001, 9001, 100)
        .client("P.", 1601, 9001, 100)
        .server(".", 9001, 1701, 0)
        .client("F.", 1701, 9001, 0)
        .server(".", 9001, 1702, 0);
    let conversation = scene.only();
    assert_eq!(conversation.acked_unseen(Direction::ToServer), 500);
    assert_eq!(conversation.acked_unseen(Direction::ToClient), 0);
}

#[test]
fn a_fin_again_and_again() {
    let mut scene = scene();
    scene
        .handshake(1000, 9000)
        .client("P.", 1001, 9001, 10)
        .server(".", 9001, 1011, 0);
    for _ in 0..60 {
        scene.client("F.", 1011, 9001, 0);
    }
    let conversation = scene.only();
    assert_eq!(
        conversation.fin_acknowledged(Direction::ToServer),
        Some(false)
    );
    let up = tally(&conversation, Direction::ToServer);
    assert_eq!(up.counts.fin, 60);
    assert_eq!(
        up.retransmitted,
        Repeats {
            segments: 59,
            bytes: 0
        }
    );
    // SYN, data and 30 FINs; the last 16.
    assert_eq!((up.notes.len(), up.notes_omitted), (48, 14));
    assert!(up.notes.windows(2).all(|pair| pair[0].time < pair[1].time));
    assert_eq!(up.notes[47].time, up.last);
}

#[test]
fn closed_windows_and_probes() {
    let mut scene = scene();
    scene
        .handshake(1000, 9000)
        .client("P.", 1001, 9001, 500)
        .send(
            Direction::ToClient,
            Segment {
                window: 0,
                ..segment(".", 9001, 1501, 0)
            },
        )
        .client(".", 1500, 9001, 0)
        .send(
            Direction::ToClient,
            Segment {
                window: 0,
                ..segment(".", 9001, 1501, 0)
            },
        )
        // A probe with one byte that was sent before, as other systems do.
        .client(".", 1500, 9001, 1);
    let conversation = scene.only();
    let (up, down) = (
        tally(&conversation, Direction::ToServer),
        tally(&conversation, Direction::ToClient),
    );
    assert_eq!((up.probes, up.retransmitted), (2, Repeats::default()));
    assert_eq!((down.window, down.zero_windows), (Some(0), 2));
    assert_eq!(down.zero_window_last, Some(down.last));
}

#[test]
fn resets_end_it() {
    let mut scene = scene();
    scene.client("S", 1000, 0, 0).server("R.", 0, 1001, 0);
    let conversation = scene.only();
    assert_eq!(conversation.handshake(), Handshake::SynOnly);
    assert_eq!(
        conversation.reset(),
        Some((Direction::ToClient, conversation.last))
    );
    assert_eq!(conversation.to_client.origin, None);
    assert!(!conversation.clean);
}

#[test]
fn a_capture_that_starts_in_the_middle() {
    let mut scene = scene();
    // The frames of two taps may be out of order: the times say who spoke first.
    scene.now = Timestamp::from_parts(1_700_000_001, 0);
    scene.server("P.", 50_000, 7_000, 100);
    scene.now = Timestamp::from_parts(1_700_000_000, 0);
    scene.client("P.", 6_900, 50_000, 100);
    // What came before the first byte seen.
    scene.client("P.", 6_800, 50_100, 100);
    let conversation = scene.only();
    assert_eq!(conversation.client().port, 40000);
    assert_eq!(conversation.client_known_by, ClientKnownBy::SpokeFirst);
    assert_eq!(conversation.handshake(), Handshake::NotSeen);
    let start = Stream::UNKNOWN_START;
    assert_eq!(conversation.seen(Direction::ToServer), [start - 200..start]);
    assert_eq!(
        conversation.to_server.sequence(start - 200),
        Some(SequenceNumber(6_800))
    );
    assert_eq!(conversation.seen(Direction::ToClient), [start..start + 100]);
    assert!(conversation.unacknowledged(Direction::ToClient).is_empty());
    assert_eq!(
        tally(&conversation, Direction::ToServer).retransmitted,
        Repeats::default()
    );
}

#[test]
fn streams_of_two_captures_line_up() {
    let whole = Stream {
        origin: Some(SequenceNumber(0xffff_ff00)),
        from_syn: true,
    };
    let later = Stream {
        origin: Some(SequenceNumber(0x100)),
        from_syn: false,
    };
    // Sequence number 0x100 is offset 0x200 of the one and 2^32 of the other.
    assert_eq!(whole.sequence(0x200), later.sequence(Stream::UNKNOWN_START));
    let shift = whole.shift_to(&later).unwrap();
    assert_eq!(
        0x200u64.checked_add_signed(shift),
        Some(Stream::UNKNOWN_START)
    );
    assert_eq!(later.shift_to(&whole), Some(-shift));
    assert_eq!(whole.shift_to(&whole), Some(0));
    assert_eq!(whole.offset_near(SequenceNumber(0x100), 1), Some(0x200));
    assert_eq!(whole.shift_to(&Stream::default()), None);
}

fn udp(from: [u8; 4], to: [u8; 4], ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4(from, to, 64)
        .udp(ports.0, ports.1)
        .write(&mut bytes, payload)
        .unwrap();
    bytes
}

#[test]
fn datagrams_and_echoes() {
    let mut scene = scene();
    let query = udp(CLIENT, SERVER, (5000, 53), b"query");
    let answer = udp(SERVER, CLIENT, (53, 5000), b"an answer");
    scene.frame(Some(FrameDirection::Out), &query, 0);
    assert!(!scene.only().clean, "not answered yet");
    scene.frame(Some(FrameDirection::In), &answer, 0);
    let conversation = scene.only();
    assert!(conversation.clean);
    let down = tally(&conversation, Direction::ToClient);
    assert_eq!(
        (down.counts.datagram, down.payload_bytes, down.end),
        (1, 9, None)
    );
    assert_eq!(
        down.notes[0].checksum,
        u16::from_be_bytes([answer[26], answer[27]])
    );
    assert_eq!(conversation.handshake(), Handshake::NotSeen);

    let mut scene = super::tests::scene();
    for number in 0..40 {
        let mut ping = Vec::new();
        PacketBuilder::ipv4(CLIENT, SERVER, 64)
            .icmpv4_echo_request(7, number)
            .write(&mut ping, b"x")
            .unwrap();
        scene.frame(None, &ping, 0);
    }
    let mut pong = Vec::new();
    PacketBuilder::ipv4(SERVER, CLIENT, 64)
        .icmpv4_echo_reply(7, 0)
        .write(&mut pong, b"x")
        .unwrap();
    scene.frame(None, &pong, 0);
    let conversation = scene.only();
    assert_eq!(conversation.tuple.protocol, protocol::ICMP);
    assert_eq!(
        (conversation.client().port, conversation.server().port),
        (7, 7)
    );
    assert_eq!(
        conversation.most(What::EchoRequest, Direction::ToServer),
        40
    );
    assert_eq!(conversation.most(What::EchoReply, Direction::ToClient), 1);
    let sequences: Vec<_> = conversation
        .notes(What::EchoRequest, Direction::ToServer)
        .iter()
        .map(|note| note.sequence.0)
        .collect();
    assert_eq!(sequences, (0..40).collect::<Vec<_>>());
}

#[test]
fn icmp_errors_stand_with_what_they_quote() {
    let mut scene = scene();
    let query = udp(CLIENT, SERVER, (5000, 53), b"query");
    let mut error = Vec::new();
    PacketBuilder::ipv4([192, 0, 2, 9], CLIENT, 64)
        .icmpv4_raw(3, 3, [0; 4])
        .write(&mut error, &query[..28])
        .unwrap();
    // The error alone makes the conversation.
    scene.frame(Some(FrameDirection::In), &error, 0);
    let conversation = scene.only();
    assert_eq!(conversation.client_known_by, ClientKnownBy::QuotedInError);
    assert_eq!(
        conversation.tuple.to_string(),
        "udp 192.0.2.1:5000 > 192.0.2.2:53"
    );
    assert_eq!(conversation.first, scene.now);
    scene
        .frame(Some(FrameDirection::Out), &query, 0)
        .frame(Some(FrameDirection::In), &error, 0);
    let conversation = scene.only();
    assert_eq!(conversation.errors.len(), 1);
    let found = &conversation.errors[0];
    assert_eq!((found.kind, found.code, found.count), (3, 3, 2));
    assert_eq!(found.reporter.to_string(), "192.0.2.9");
    assert_eq!(found.direction, Direction::ToServer);
    assert_eq!(found.last, scene.now);
    assert_eq!(tally(&conversation, Direction::ToServer).packets, 1);
    assert!(!conversation.clean);
}

#[test]
fn later_fragments_go_where_the_first_one_went() {
    let mut scene = scene();
    let mut first = udp(CLIENT, SERVER, (5000, 53), &[0; 1472]);
    first[4..8].copy_from_slice(&[0xab, 0xcd, 0x20, 0]);
    let mut second = first[..20 + 100].to_vec();
    second[2..4].copy_from_slice(&120u16.to_be_bytes());
    second[6..8].copy_from_slice(&[0, 185]);
    scene.frame(None, &first, 0).frame(None, &second, 0);
    let conversation = scene.only();
    let up = tally(&conversation, Direction::ToServer);
    assert_eq!(
        (up.counts.datagram, up.counts.fragment, up.packets),
        (1, 1, 2)
    );
    assert_eq!(up.payload_bytes, 1472 + 100);
    assert_eq!(
        up.notes.iter().map(|note| note.what).collect::<Vec<_>>(),
        [What::Datagram, What::Fragment]
    );
    // Without the first one, the ports are unknown.
    let mut scene = super::tests::scene();
    scene.frame(None, &second, 0);
    assert_eq!(scene.only().client().port, 0);
}

#[test]
fn only_the_filtered_conversations_are_marked() {
    // `tcpdump -ddd -y RAW 'ip[9] = 17'`: load byte 9, compare, accept or reject.
    let instructions = [
        (0x30, 0, 0, 9),
        (0x15, 0, 1, 17),
        (6, 0, 0, 1),
        (6, 0, 0, 0),
    ];
    let filter = vec![Program {
        link_type: LinkType::RAW,
        instructions: instructions.map(Instruction::from).to_vec(),
    }];
    let mut scene = Scene::new(LedgerOptions {
        filter,
        ..LedgerOptions::default()
    });
    scene.handshake(1, 2);
    scene.frame(None, &udp(CLIENT, SERVER, (5000, 53), b"query"), 0);
    let filtered: Vec<_> = scene
        .ledger
        .briefs()
        .map(|brief| (brief.tuple.protocol, brief.filtered))
        .collect();
    assert_eq!(filtered, [(protocol::TCP, false), (protocol::UDP, true)]);
}

#[test]
fn taps_are_told_apart() {
    let mut scene = scene();
    ordinary(&mut scene, 1000, 9000);
    // The same packets behind another interface of the same host.
    scene.interface = 1;
    scene.client("P.", 1001, 9001, 100);
    let conversation = scene.only();
    assert_eq!(conversation.tallies.len(), 3);
    let interfaces: Vec<_> = conversation
        .tallies_of(Direction::ToServer)
        .map(|tally| tally.tap.interface)
        .collect();
    assert_eq!(interfaces, [0, 1]);
    assert_eq!(conversation.most(What::Data, Direction::ToServer), 1);
    assert_eq!(conversation.seen(Direction::ToServer), [1..101]);
    let frames: Vec<_> = scene
        .ledger
        .taps()
        .iter()
        .map(|totals| totals.frames)
        .collect();
    assert_eq!(frames, [6, 4, 1]);
}

#[test]
fn address_resolution_is_counted() {
    let mut ledger = Ledger::default();
    let mut request = [[0xff; 6], [2, 0, 0, 0, 0, 1]].concat();
    request.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
    request.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    let mut reply = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]].concat();
    reply.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2]);
    reply.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
    let mut enter = |seconds, direction, data: &[u8]| {
        let frame = Frame {
            time: Timestamp::from_parts(seconds, 0),
            interface: 0,
            link: LinkType::ETHERNET,
            direction: Some(direction),
            original_length: 42,
            data,
            offset: 0,
        };
        ledger.handle_frame(&frame, &dissect(frame.link, data, 42));
    };
    enter(1, FrameDirection::Out, &request);
    enter(2, FrameDirection::Out, &request);
    enter(3, FrameDirection::In, &reply);
    let [resolution] = ledger.resolutions() else {
        panic!("{:?}", ledger.resolutions());
    };
    assert_eq!((resolution.requests, resolution.replies), (2, 1));
    assert_eq!(resolution.direction, Some(FrameDirection::Out));
    assert_eq!(
        (resolution.asker.to_string(), resolution.target.to_string()),
        ("10.0.0.1".into(), "10.0.0.2".into())
    );
    assert_eq!(resolution.asker_mac, Some(MacAddress([2, 0, 0, 0, 0, 1])));
    assert_eq!(resolution.answered_by, Some(MacAddress([2, 0, 0, 0, 0, 2])));
    assert_eq!(resolution.last_request, Timestamp::from_parts(2, 0));
    assert!(ledger.is_empty());
}

#[test]
fn a_whole_file_and_its_damage() {
    use transect_packet::{CaptureReader, InterfaceDescription, PcapngWriter};
    let mut writer = PcapngWriter::new(Vec::new()).unwrap();
    let description = InterfaceDescription {
        name: "tun0".to_owned(),
        link: LinkType::RAW,
        snap_length: 0,
        mac: None,
        addresses: vec![("192.0.2.1".parse().unwrap(), 24)],
        filter: None,
    };
    let tun = writer.add_interface(&description).unwrap();
    let query = udp(CLIENT, SERVER, (5000, 53), b"query");
    for second in 1..4 {
        let time = Timestamp::from_parts(second, 0);
        writer
            .write_frame(tun, time, None, query.len() as u32, &query)
            .unwrap();
    }
    let file = writer.into_inner().unwrap();
    let mut reader = CaptureReader::new(&file[..file.len() - 3], "cut.pcapng").unwrap();
    let (ledger, damage) = read_capture(&mut reader, LedgerOptions::default());
    assert_eq!(
        ledger
            .conversations()
            .map(|one| one.tallies[0].packets)
            .collect::<Vec<_>>(),
        [2]
    );
    assert_eq!(
        ledger
            .interfaces()
            .iter()
            .map(|one| one.name.as_deref())
            .collect::<Vec<_>>(),
        [Some("tun0")]
    );
    assert!(damage.is_some_and(|error| error.offset > 0 && error.name == "cut.pcapng"));
}

#[test]
fn checksums_are_verified_on_request() {
    let mut broken = udp(CLIENT, SERVER, (5000, 53), b"query");
    broken[26] ^= 1;
    for (verify_checksums, expected) in [(false, 0), (true, 1)] {
        let mut scene = Scene::new(LedgerOptions {
            verify_checksums,
            ..LedgerOptions::default()
        });
        scene.frame(None, &broken, 0);
        assert_eq!(scene.only().tallies[0].bad_checksums, expected);
    }
}

/// What a test looks up about an interface it never described.
#[test]
fn interfaces_come_with_the_end_of_the_file() {
    let mut ledger = Ledger::default();
    assert!(ledger.interfaces().is_empty());
    let interface = Interface {
        name: Some("eth0".to_owned()),
        link: LinkType::ETHERNET,
        snap_length: 96,
        mac: None,
        addresses: Vec::new(),
        received: Some(10),
        dropped: Some(2),
    };
    ledger.finish(std::slice::from_ref(&interface));
    assert_eq!(ledger.interfaces(), [interface]);
}

proptest! {
    #[test]
    fn no_segments_make_it_panic(
        segments in prop::collection::vec(
            (any::<bool>(), any::<u8>(), any::<(u32, u32)>(), 0u32..4000, any::<u16>(), any::<Option<(u32, u32)>>(), 0u64..3000),
            0..60,
        ),
        near in any::<bool>(),
    ) {
        let mut scene = scene();
        for (to_server, flags, numbers, length, window, sack, wait) in segments {
            let way = if to_server { Direction::ToServer } else { Direction::ToClient };
            let flags: String = ['S', '.', 'F', 'R'].iter().enumerate().filter(|(bit, _)| flags & 1 << bit != 0).map(|(_, flag)| *flag).collect();
            let near = |number: u32| if near { number & 0xfff } else { number };
            scene.wait(Duration::from_millis(wait));
            scene.send(way, Segment {
                sequence: near(numbers.0),
                acknowledgment: near(numbers.1),
                flags: &flags,
                length,
                window,
                sack,
            });
        }
        for conversation in scene.ledger.conversations() {
            for direction in [Direction::ToServer, Direction::ToClient] {
                conversation.acked_unseen(direction);
                conversation.unacknowledged(direction);
                conversation.fin_acknowledged(direction);
            }
            for tally in &conversation.tallies {
                prop_assert!(tally.seen.windows(2).all(|pair| pair[0].end < pair[1].start));
                prop_assert!(tally.notes.len() <= 48);
                prop_assert!(tally.first <= tally.last);
            }
        }
    }

    #[test]
    fn bytes_seen_agree_with_a_table(
        origin in any::<u32>(),
        pieces in prop::collection::vec((0u32..300, 1u32..40), 1..40),
    ) {
        let mut scene = scene();
        scene.client("S", origin, 0, 0);
        let mut table = [false; 400];
        let mut again = 0u64;
        for (start, length) in pieces {
            let cells = &mut table[start as usize..(start + length) as usize];
            // A probe, and not sent again: the last byte alone.
            again += cells.iter().filter(|cell| **cell).count() as u64;
            cells.fill(true);
            scene.client(".", origin.wrapping_add(1 + start), 1, length);
        }
        let conversation = scene.only();
        let up = tally(&conversation, Direction::ToServer);
        let mut seen = [false; 400];
        for range in &up.seen {
            seen[range.start as usize - 1..range.end as usize - 1].fill(true);
        }
        prop_assert_eq!(seen, table);
        prop_assert_eq!(up.retransmitted.bytes + u64::from(up.probes), again);
        let unique = table.iter().filter(|cell| **cell).count() as u64;
        prop_assert_eq!(up.payload_bytes, unique + again);
    }

    #[test]
    fn no_bytes_make_it_panic(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..20)) {
        let mut scene = Scene::new(LedgerOptions { verify_checksums: true, ..LedgerOptions::default() });
        for mut frame in frames {
            if let Some(first) = frame.first_mut() {
                *first = if *first & 1 == 0 { 0x45 } else { 0x60 };
            }
            scene.frame(None, &frame, 0);
        }
        prop_assert!(scene.ledger.conversations().all(|one| one.first <= one.last));
    }
}
