//! Files made byte by byte, in every variant that the formats allow.

use std::io::Write;

use proptest::prelude::*;

use super::*;

/// What a test compares of a frame.
type Read1 = (u64, usize, Option<FrameDirection>, u32, Vec<u8>);

fn read(bytes: &[u8]) -> (Vec<Read1>, Vec<Interface>, Option<CaptureError>) {
    let mut frames = Vec::new();
    let mut reader = match CaptureReader::new(bytes, "a.pcap") {
        Ok(reader) => reader,
        Err(error) => return (frames, Vec::new(), Some(error)),
    };
    let damage = loop {
        match reader.next_frame() {
            Ok(Some(frame)) => frames.push((
                frame.time.0,
                frame.interface,
                frame.direction,
                frame.original_length,
                frame.data.to_vec(),
            )),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(
        matches!(reader.next_frame(), Ok(None)),
        "nothing follows the end"
    );
    (frames, reader.interfaces().to_vec(), damage)
}

/// Numbers in one byte order.
#[derive(Clone, Copy)]
struct Order(bool);

impl Order {
    fn u16(self, number: u16) -> Vec<u8> {
        let bytes = if self.0 {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        };
        bytes.to_vec()
    }

    fn u32(self, number: u32) -> Vec<u8> {
        let bytes = if self.0 {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        };
        bytes.to_vec()
    }

    fn u64(self, number: u64) -> Vec<u8> {
        let bytes = if self.0 {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        };
        bytes.to_vec()
    }

    fn pcap(self, magic: u32, link: u32) -> Vec<u8> {
        let parts = [
            self.u32(magic),
            self.u16(2),
            self.u16(4),
            self.u32(0),
            self.u32(0),
            self.u32(65535),
            self.u32(link),
        ];
        parts.concat()
    }

    fn record(self, seconds: u32, fraction: u32, data: &[u8], original: u32) -> Vec<u8> {
        let length = data.len() as u32;
        let numbers = [seconds, fraction, length, original].map(|number| self.u32(number));
        [numbers.concat(), data.to_vec()].concat()
    }

    fn block(self, kind: u32, body: &[Vec<u8>]) -> Vec<u8> {
        let mut body = body.concat();
        body.resize(body.len().next_multiple_of(4), 0);
        let length = self.u32(body.len() as u32 + 12);
        [self.u32(kind), length.clone(), body, length].concat()
    }

    fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut padded = value.to_vec();
        padded.resize(value.len().next_multiple_of(4), 0);
        [self.u16(code), self.u16(value.len() as u16), padded].concat()
    }

    fn section(self) -> Vec<u8> {
        let body = [
            self.u32(0x1a2b_3c4d),
            self.u16(1),
            self.u16(0),
            self.u64(u64::MAX),
        ];
        self.block(0x0a0d_0d0a, &body)
    }

    fn interface(self, link: u16, snap_length: u32, options: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![self.u16(link), self.u16(0), self.u32(snap_length)];
        body.extend_from_slice(options);
        self.block(1, &body)
    }

    fn enhanced(self, interface: u32, ticks: u64, data: &[u8], options: &[Vec<u8>]) -> Vec<u8> {
        let mut padded = data.to_vec();
        padded.resize(data.len().next_multiple_of(4), 0xee);
        let length = self.u32(data.len() as u32);
        let mut body = vec![
            self.u32(interface),
            self.u32((ticks >> 32) as u32),
            self.u32(ticks as u32),
            length.clone(),
            length,
            padded,
        ];
        body.extend_from_slice(options);
        self.block(6, &body)
    }
}

const ORDERS: [Order; 2] = [Order(false), Order(true)];

#[test]
fn pcap_in_both_byte_orders_and_resolutions() {
    for order in ORDERS {
        for (magic, nanoseconds) in [(0xa1b2_c3d4, 7_000), (0xa1b2_3c4d, 7)] {
            // The upper bits of the link type speak of a frame check sequence.
            let mut file = order.pcap(magic, 0x1400_0001);
            file.extend(order.record(1_700_000_000, 7, b"first frame", 1500));
            file.extend(order.record(4_000_000_000, 0, b"", 0));
            let (frames, interfaces, damage) = read(&file);
            assert!(damage.is_none());
            assert_eq!(
                frames,
                [
                    (
                        1_700_000_000_000_000_000 + nanoseconds,
                        0,
                        None,
                        1500,
                        b"first frame".to_vec()
                    ),
                    (4_000_000_000_000_000_000, 0, None, 0, Vec::new()),
                ]
            );
            assert_eq!(interfaces.len(), 1);
            assert_eq!(interfaces[0].link, LinkType::ETHERNET);
            assert_eq!(interfaces[0].snap_length, 65535);
            assert_eq!(interfaces[0].dropped, None);
        }
    }
}

#[test]
fn modified_pcap_tells_directions() {
    for order in ORDERS {
        let mut file = order.pcap(0xa1b2_cd34, 1);
        for packet_type in [0, 4] {
            let mut record = order.record(1, 2, b"", 3);
            record[8..12].copy_from_slice(&order.u32(3));
            record.extend(order.u32(5));
            record.extend(order.u16(0x0800));
            record.extend([packet_type, 0]);
            record.extend(b"abc");
            file.extend(record);
        }
        let (frames, _, damage) = read(&file);
        assert!(damage.is_none());
        let seen: Vec<_> = frames
            .iter()
            .map(|frame| (frame.2, frame.4.as_slice()))
            .collect();
        assert_eq!(
            seen,
            [
                (Some(FrameDirection::In), b"abc".as_slice()),
                (Some(FrameDirection::Out), b"abc".as_slice())
            ]
        );
    }
}

#[test]
fn cooked_captures_tell_directions() {
    let mut sll = Order(false).pcap(0xa1b2_c3d4, 113);
    let mut sll2 = Order(false).pcap(0xa1b2_c3d4, 276);
    for kind in [0u8, 3, 4, 9] {
        let mut header = [0; 16];
        header[1] = kind;
        sll.extend(Order(false).record(1, 0, &header, 16));
        let mut header = [0; 20];
        header[10] = kind;
        sll2.extend(Order(false).record(1, 0, &header, 20));
    }
    for file in [sll, sll2] {
        let (frames, _, damage) = read(&file);
        assert!(damage.is_none());
        let directions: Vec<_> = frames.iter().map(|frame| frame.2).collect();
        let (inward, outward) = (Some(FrameDirection::In), Some(FrameDirection::Out));
        assert_eq!(directions, [inward, inward, outward, None]);
    }
}

#[test]
fn pcapng_with_several_sections_clocks_and_old_blocks() {
    let (little, big) = (Order(false), Order(true));
    let mut file = little.section();
    file.extend(little.interface(1, 96, &[little.option(2, b"eth0"), little.option(9, &[9])]));
    file.extend(little.interface(
        101,
        0,
        &[
            little.option(9, &[0x80 | 10]),
            little.option(14, &little.u64(100)),
        ],
    ));
    // A block that nobody knows, and a name resolution block.
    file.extend(little.block(0x0bad, &[b"whatever".to_vec()]));
    file.extend(little.block(4, &[little.u32(0)]));
    file.extend(little.enhanced(
        0,
        5,
        b"one",
        &[
            little.option(2, &little.u32(2)),
            little.option(4, &little.u64(3)),
        ],
    ));
    file.extend(little.enhanced(1, 1024, b"four", &[]));
    // A simple packet: 200 bytes, of which the interface's snap length keeps 96.
    file.extend(little.block(3, &[little.u32(200), vec![7; 96]]));
    // The obsolete packet block: 16 bits of interface and of drops.
    let old = [
        little.u16(0),
        little.u16(2),
        little.u32(0),
        little.u32(9),
        little.u32(2),
        little.u32(60),
        b"ab\0\0".to_vec(),
    ];
    file.extend(little.block(2, &old));
    file.extend(big.section());
    file.extend(big.interface(276, 0, &[big.option(4, &[10, 0, 0, 1, 255, 255, 255, 0])]));
    file.extend(big.enhanced(0, 1_000_000, b"cooked", &[]));
    let statistics = [
        big.u32(0),
        big.u32(0),
        big.u32(0),
        big.option(4, &big.u64(10)),
        big.option(5, &big.u64(1)),
        big.option(7, &big.u64(2)),
    ];
    file.extend(big.block(5, &statistics));

    let (frames, interfaces, damage) = read(&file);
    assert!(damage.is_none(), "{damage:?}");
    assert_eq!(
        frames,
        [
            (5, 0, Some(FrameDirection::Out), 3, b"one".to_vec()),
            (101_000_000_000, 1, None, 4, b"four".to_vec()),
            (101_000_000_000, 0, None, 200, vec![7; 96]),
            (9, 0, None, 60, b"ab".to_vec()),
            (1_000_000_000, 2, None, 6, b"cooked".to_vec()),
        ]
    );
    let names: Vec<_> = interfaces
        .iter()
        .map(|interface| interface.name.as_deref())
        .collect();
    assert_eq!(names, [Some("eth0"), None, None]);
    // Without statistics, what the packets themselves report as lost.
    assert_eq!(interfaces[0].dropped, Some(5));
    assert_eq!(
        (interfaces[2].received, interfaces[2].dropped),
        (Some(10), Some(3))
    );
    assert_eq!(
        interfaces[2].addresses,
        ["10.0.0.1".parse::<IpAddr>().unwrap()]
    );
}

fn written() -> Vec<u8> {
    let mut writer = PcapngWriter::new(Vec::new()).unwrap();
    let description = |name: &str, link| InterfaceDescription {
        name: name.to_owned(),
        link,
        snap_length: 96,
        mac: Some(MacAddress([2, 0, 0, 0, 0, 1])),
        addresses: vec![
            ("192.0.2.1".parse().unwrap(), 24),
            ("2001:db8::1".parse().unwrap(), 64),
        ],
        filter: Some("tcp port 80".to_owned()),
    };
    let eth = writer
        .add_interface(&description("eth0", LinkType::ETHERNET))
        .unwrap();
    let tun = writer
        .add_interface(&description("tun0", LinkType::RAW))
        .unwrap();
    let time = Timestamp(1_700_000_000_123_456_789);
    writer
        .write_frame(eth, time, Some(FrameDirection::In), 1514, &[1; 96])
        .unwrap();
    writer
        .write_frame(tun, time, Some(FrameDirection::Out), 3, b"abc")
        .unwrap();
    writer.write_frame(eth, time, None, 0, b"").unwrap();
    writer.write_statistics(eth, time, 100, Some(2), 3).unwrap();
    writer.write_statistics(tun, time, 7, None, 0).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn what_is_written_reads_back() {
    let (frames, interfaces, damage) = read(&written());
    assert!(damage.is_none());
    let time = 1_700_000_000_123_456_789;
    assert_eq!(
        frames,
        [
            (time, 0, Some(FrameDirection::In), 1514, vec![1; 96]),
            (time, 1, Some(FrameDirection::Out), 3, b"abc".to_vec()),
            (time, 0, None, 0, Vec::new()),
        ]
    );
    assert_eq!(
        interfaces[0],
        Interface {
            name: Some("eth0".to_owned()),
            link: LinkType::ETHERNET,
            snap_length: 96,
            mac: Some(MacAddress([2, 0, 0, 0, 0, 1])),
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            received: Some(100),
            dropped: Some(5),
        }
    );
    assert_eq!(
        (interfaces[1].received, interfaces[1].dropped),
        (Some(7), Some(0))
    );
}

#[test]
fn the_writer_refuses_what_no_reader_takes() {
    let mut writer = PcapngWriter::new(Vec::new()).unwrap();
    assert!(writer.write_frame(0, Timestamp(0), None, 0, b"").is_err());
    let link = InterfaceDescription {
        name: "x".repeat(70_000),
        link: LinkType::ETHERNET,
        snap_length: 0,
        mac: None,
        addresses: Vec::new(),
        filter: Some("y".repeat(70_000)),
    };
    let eth = writer.add_interface(&link).unwrap();
    let long = vec![0; MAX_FRAME_LENGTH as usize + 1];
    assert!(
        writer
            .write_frame(eth, Timestamp(0), None, 0, &long)
            .is_err()
    );
    writer
        .write_frame(eth, Timestamp(0), None, 0, &long[1..])
        .unwrap();
    let (frames, _, damage) = read(&writer.into_inner().unwrap());
    assert!(damage.is_none(), "{damage:?}");
    assert_eq!(frames[0].4.len(), MAX_FRAME_LENGTH as usize);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_files_are_read_as_they_are() {
    let plain = written();
    let expected = read(&plain).0;
    for packed in [gzip(&plain), zstd::encode_all(plain.as_slice(), 3).unwrap()] {
        let (frames, _, damage) = read(&packed);
        assert!(damage.is_none());
        assert_eq!(frames, expected);
    }
}

fn complaint(bytes: &[u8]) -> String {
    read(bytes)
        .2
        .map_or_else(|| "no complaint".to_owned(), |error| error.to_string())
}

#[test]
fn damage_is_told_with_its_place() {
    insta::assert_snapshot!(complaint(b""), @"a.pcap: byte 0: expected the first bytes of a pcap or pcapng file, found an empty file");
    insta::assert_snapshot!(complaint(b"abc"), @"a.pcap: byte 0: expected the first bytes of a pcap or pcapng file, found only 3 bytes");
    insta::assert_snapshot!(complaint(b"text, not a capture"), @"a.pcap: byte 0: expected the magic number of a pcap or pcapng file, found 0x74657874");
    let order = Order(false);
    let header = order.pcap(0xa1b2_c3d4, 1);
    insta::assert_snapshot!(complaint(&header[..20]), @"a.pcap: byte 0: expected a pcap file header, found the end of the file after 20 of 24 bytes");
    let mut file = [header, order.record(1, 0, b"abcdef", 6)].concat();
    insta::assert_snapshot!(complaint(&file[..file.len() - 1]), @"a.pcap: byte 24: expected a pcap record, found the end of the file after 21 of 22 bytes");
    insta::assert_snapshot!(complaint(&file[..30]), @"a.pcap: byte 24: expected a pcap record header, found the end of the file after 6 of 16 bytes");
    file.extend([0xff; 16]);
    let (frames, _, damage) = read(&file);
    assert_eq!(frames.len(), 1, "what stands before the damage is read");
    insta::assert_snapshot!(damage.unwrap(), @"a.pcap: byte 54: expected a captured length of at most 262144 bytes, found 4294967295");
    let section = order.section();
    insta::assert_snapshot!(complaint(&[section.clone(), order.enhanced(0, 0, b"", &[])].concat()), @"a.pcap: byte 36: expected one of the section's 0 interfaces, found interface 0");
    insta::assert_snapshot!(complaint(&[section.clone(), vec![6, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]].concat()), @"a.pcap: byte 32: expected a block length of at least 12, divisible by 4, found 3");
    let mut contradiction = [section, order.block(9, &[vec![0; 8]])].concat();
    *contradiction.last_mut().unwrap() = 1;
    insta::assert_snapshot!(complaint(&contradiction), @"a.pcap: byte 44: expected the block's length 20 again, found 16777236");
}

#[test]
fn a_cut_compressed_file_gives_its_frames_and_says_that_it_was_cut() {
    let mut plain = Order(false).pcap(0xa1b2_c3d4, 1);
    // Something that does not compress, so that the cut falls between frames.
    let mut noise = 1u32;
    for _ in 0..2000 {
        let data: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        })
        .take(200)
        .collect();
        plain.extend(Order(false).record(1, 0, &data, 200));
    }
    for packed in [gzip(&plain), zstd::encode_all(plain.as_slice(), 3).unwrap()] {
        let (frames, _, damage) = read(&packed[..packed.len() / 2]);
        assert!((500..1500).contains(&frames.len()), "{}", frames.len());
        let damage = damage.unwrap();
        assert!(damage.source.is_some(), "{damage}");
        assert!(damage.offset > 0, "{damage}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), head in 0..4usize) {
        let order = Order(bytes.len() % 2 == 0);
        let start = match head {
            0 => Vec::new(),
            1 => order.pcap(0xa1b2_c3d4, 1),
            2 => order.section(),
            _ => [order.section(), order.interface(1, 0, &[])].concat(),
        };
        read(&[start, bytes].concat());
    }

    #[test]
    fn a_changed_byte_never_makes_the_reader_panic(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut file = written();
        let at = at.index(file.len());
        file[at] = to;
        read(&file);
    }

    #[test]
    fn a_cut_file_gives_the_first_frames(at in any::<prop::sample::Index>()) {
        let file = written();
        let whole = read(&file).0;
        let (frames, _, _) = read(&file[..at.index(file.len())]);
        prop_assert_eq!(&frames[..], &whole[..frames.len()]);
    }
}
