use super::*;

/// An Ethernet frame with an IPv4 packet: protocol, fragment field, ports.
fn v4(protocol: u8, fragment: u16, ports: (u16, u16)) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00, 0x46, 0, 0, 48, 0, 0]);
    frame.extend(fragment.to_be_bytes());
    frame.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 1, 2]);
    // Options, so that the header's length matters.
    frame.extend([1, 1, 1, 0]);
    frame.extend(ports.0.to_be_bytes());
    frame.extend(ports.1.to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0, 0, 0, 0, 0, 0]);
    frame
}

fn v6(protocol: u8, ports: (u16, u16)) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, protocol, 64]);
    frame.extend("fd00::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    frame.extend("fd00::2".parse::<std::net::Ipv6Addr>().unwrap().octets());
    frame.extend(ports.0.to_be_bytes());
    frame.extend(ports.1.to_be_bytes());
    frame.extend([0; 16]);
    frame
}

fn arp() -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 1, 2]);
    frame
}

fn matches(expression: &str, frame: &[u8]) -> bool {
    let program = compile(expression, LinkType::ETHERNET).unwrap();
    assert_eq!(program.validate(), Ok(()), "{expression}");
    program.matches(frame, u32::try_from(frame.len()).unwrap())
}

#[test]
fn expressions_match_what_they_say() {
    let web = v4(6, 0, (40000, 80));
    let web6 = v6(6, (40000, 80));
    let dns = v4(17, 0, (53, 5353));
    let fragment = v4(6, 0x00b9, (40000, 80));
    let ping = v4(1, 0, (0x0800, 0));
    for (expression, expected) in [
        ("tcp port 80", [true, true, false, false, false, false]),
        ("port 80 or 53", [true, true, true, false, false, false]),
        ("tcp", [true, true, false, true, false, false]),
        ("tcp src port 80", [false; 6]),
        ("tcp dst port 80", [true, true, false, false, false, false]),
        (
            "dst portrange 79-81",
            [true, true, false, false, false, false],
        ),
        ("host 10.0.0.1", [true, false, true, true, true, true]),
        ("src host 10.0.1.2", [false; 6]),
        ("dst net 10.0.1.0/24", [true, false, true, true, true, true]),
        (
            "tcp port 80 and host fd00::2",
            [false, true, false, false, false, false],
        ),
        ("host fd00::/64 and ip", [false; 6]),
        ("net fd00::/16", [false, true, false, false, false, false]),
        ("ip and not tcp", [false, false, true, false, true, false]),
        ("arp or icmp", [false, false, false, false, true, true]),
        (
            "ip[6:2] & 0x1fff != 0",
            [false, false, false, true, false, false],
        ),
        (
            "tcp[13] & 2 != 0",
            [true, false, false, false, false, false],
        ),
        ("!(tcp || udp)", [false, false, false, false, true, true]),
        (
            "src or dst port 53",
            [false, false, true, false, false, false],
        ),
        (
            "ip[8] > 63 and ip[8] <= 64",
            [true, false, true, true, true, false],
        ),
    ] {
        let frames = [&web, &web6, &dns, &fragment, &ping, &arp()];
        let got = frames.map(|frame| matches(expression, frame));
        assert_eq!(got, expected, "{expression}");
    }
}

#[test]
fn raw_ip_is_told_by_its_version() {
    let program = compile("udp port 53", LinkType::RAW).unwrap();
    let packet = v4(17, 0, (53, 5353)).split_off(14);
    assert!(program.matches(&packet, 48));
    assert!(!program.matches(&v4(6, 0, (53, 1)).split_off(14), 48));
}

#[test]
fn what_is_not_understood_is_named() {
    for (expression, part) in [
        ("tcp prot 80", "\"prot\""),
        ("port eighty", "\"eighty\""),
        ("host example.org", "expected an address"),
        ("(tcp", "expected \")\" at the end"),
        ("tcp or", "ends where"),
        ("", "ends where"),
        ("tcp[13", "expected \"]\""),
        ("ip[0:3] = 1", "1, 2 or 4"),
        ("tcp port 80 ;", "\";\""),
    ] {
        let error = compile(expression, LinkType::ETHERNET).unwrap_err();
        assert!(error.to_string().contains(part), "{expression}: {error}");
    }
    let deep = format!("{}tcp{}", "(".repeat(100), ")".repeat(100));
    assert!(compile(&deep, LinkType::ETHERNET).is_err());
    assert!(compile("tcp", LinkType(113)).is_err());
}

proptest::proptest! {
    #[test]
    fn any_text_compiles_to_a_valid_program_or_is_an_error(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "tcp", "udp", "ip", "ip6", "arp", "port", "host", "net", "src", "dst", "and", "or",
                "not", "(", ")", "[", "]", "&", "=", "80", "10.0.0.1", "fd00::1/64", "80-90", "0x1f", ":", "\u{e9}",
            ]),
            0..12,
        ),
        frame in proptest::collection::vec(proptest::num::u8::ANY, 0..80),
    ) {
        if let Ok(program) = compile(&words.join(" "), LinkType::ETHERNET) {
            proptest::prop_assert_eq!(program.validate(), Ok(()));
            // It runs on anything.
            let _ = program.matches(&frame, u32::try_from(frame.len()).unwrap());
        }
    }
}
