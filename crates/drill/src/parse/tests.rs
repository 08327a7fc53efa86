use std::time::Duration;

use proptest::prelude::*;

use crate::script::*;

fn only(text: &str) -> Event {
    let mut script = Script::parse(text).unwrap();
    assert_eq!(script.events.len(), 1, "{text}");
    script.events.remove(0)
}

fn segment(text: &str) -> Segment {
    let Action::Packet(Packet {
        body: Body::Tcp(segment),
        ..
    }) = only(text).action
    else {
        panic!("no segment: {text}");
    };
    segment
}

fn message(text: &str) -> String {
    Script::parse(text).unwrap_err().to_string()
}

#[test]
fn a_script_with_everything_in_it() {
    let text = r#"
// A comment.
--ip_version=ipv4   --mtu=1400
--define=COOKIE=00112233
/* another
   one */
`sysctl -q net.ipv4.tcp_sack=1
echo "x`
0.000 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0...0.100 accept(3, ..., ...) = 4
+.1 < [ect0] S 0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7, FO COOKIE>
+0~+.5 > S. 0:0(0) ack 1 <...>
* > . 1:1(0) ack 1
0.2~0.3 > udp 53 > 1024 (100)
+0 < icmp unreachable frag_needed mtu 1200 [1:1461(1460)]
+0 %{ assert tcpi_rto == 200000, tcpi_rto }%
+0 connect(3, {sa_family = AF_INET, sin_port = htons(80), sin_addr = inet_addr("192.0.2.1")}, ...) = -1 EINPROGRESS (Operation now in progress)
+0 fcntl(3, F_GETFL) = 0x2 (flags O_RDWR)
+0 `true`
"#;
    let script = Script::parse(text).unwrap();
    insta::assert_snapshot!(script, @r#"
    --ip_version=ipv4
    --mtu=1400
    --define=COOKIE=00112233
    `sysctl -q net.ipv4.tcp_sack=1
    echo "x`
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
    +0...0.1 accept(3, ..., ...) = 4
    +0.1 < [ect0] S 0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7,FO 00112233>
    +0~+0.5 > S. 0:0(0) ack 1 <...>
    * > . 1:1(0) ack 1
    0.2~0.3 > udp 53 > 1024 (100)
    +0 < icmp unreachable frag_needed mtu 1200 [1:1461(1460)]
    +0 %{ assert tcpi_rto == 200000, tcpi_rto }%
    +0 connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("192.0.2.1")}, ...) = -1 EINPROGRESS (Operation now in progress)
    +0 fcntl(3, F_GETFL) = 0x2 (flags O_RDWR)
    +0 `true`
    "#);
    let lines: Vec<u32> = script.events.iter().map(|event| event.line).collect();
    assert_eq!(lines, [7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
}

#[test]
fn times() {
    let time = |text: &str| only(&format!("{text} < . 1:1(0) ack 1")).time;
    let millis = Duration::from_millis;
    assert_eq!(time("0"), EventTime::At(Duration::ZERO));
    assert_eq!(time("1.000000001"), EventTime::At(Duration::new(1, 1)));
    assert_eq!(time("+.25"), EventTime::After(millis(250)));
    assert_eq!(
        time("+.2~+.3"),
        EventTime::AfterBetween(millis(200), millis(300))
    );
    assert_eq!(time("0.2~1"), EventTime::Between(millis(200), millis(1000)));
    assert_eq!(time("*"), EventTime::Any);

    let Action::Call(call) = only("0...0.1 close(3) = 0").action else {
        panic!();
    };
    assert_eq!(call.until, Some(millis(100)));
    let Action::Call(call) = only("+.1....25 close(3) = 0").action else {
        panic!();
    };
    assert_eq!(call.until, Some(millis(250)));
}

#[test]
fn flags_and_their_accurate_ecn_digit() {
    let flags = |text: &str| segment(&format!("0 < {text} 1:1(0)")).flags;
    assert_eq!(flags("S."), Flags::SYN.with(Flags::ACK));
    assert_eq!(
        flags("SEWA"),
        Flags::SYN.with(Flags::ECE).with(Flags::CWR).with(Flags::AE)
    );
    assert_eq!(
        flags("P.5"),
        Flags::PSH.with(Flags::ACK).with(Flags::AE).with(Flags::ECE)
    );
    assert_eq!(flags(".2"), Flags::ACK.with(Flags::CWR));
    assert_eq!(flags("-"), Flags::default());
    assert_eq!(
        flags("FRPU"),
        Flags::FIN
            .with(Flags::RST)
            .with(Flags::PSH)
            .with(Flags::URG)
    );
}

#[test]
fn options_of_every_kind() {
    let text = "0 < . 1:1(0) ack 1 win 5 urg 7 <eol,sack 1:2 3:4294967295,FO,FOEXP 0a0b,md5,ECN e1b 1 ceb 0,opt 253 ff>";
    let segment = segment(text);
    assert_eq!(segment.urgent, Some(7));
    let block = |left, right| SackBlock { left, right };
    assert_eq!(
        segment.options,
        OptionList::These(vec![
            TcpOption::Eol,
            TcpOption::Sack(vec![block(1, 2), block(3, u32::MAX)]),
            TcpOption::FastOpen(vec![]),
            TcpOption::FastOpenExperimental(vec![10, 11]),
            TcpOption::Md5(None),
            TcpOption::AccEcn(vec![(AccEcn::Ect1, 1), (AccEcn::Ce, 0)]),
            TcpOption::Other(253, vec![255]),
        ])
    );
}

#[test]
fn a_result_ends_where_the_next_time_begins() {
    let script = Script::parse("0 close(3) = 0\n+0 close(4) = 0\n* > . 1:1(0)").unwrap();
    assert_eq!(script.events.len(), 3);
}

#[test]
fn mistakes_say_line_and_what_was_expected() {
    insta::assert_snapshot!(message("0 < S 0:5(0)\n"), @"1: 0:5(0): the sequence numbers do not span 0 bytes");
    insta::assert_snapshot!(message("0 < X 0:0(0)"), @"1: expected TCP flags: letters of `FSRP.UEWA`, a digit for ACE, or `-` for none; found `X 0:0(0)`");
    insta::assert_snapshot!(message("\n\n0 < . 0:0(0) win 65536"), @"3: expected a window, at most 65535; found `65536`");
    insta::assert_snapshot!(message("0 < . 0:0(0) <mss>"), @"1: expected a segment size, at most 65535; found `>`");
    insta::assert_snapshot!(message("0 < . 0:0(0) <foo 1>"), @"1: expected a TCP option: nop, eol, mss, wscale, sackOK, sack, TS, FO, FOEXP, md5, ECN, opt, or `...`; found `foo 1>`");
    insta::assert_snapshot!(message("0 close(3)"), @"1: expected `=`; the script ends");
    insta::assert_snapshot!(message("socket() = 3"), @"1: expected a time: `0.1`, `+0.1`, `0.1~0.2`, `+0.1~+0.2` or `*`; found `socket() = 3`");
    insta::assert_snapshot!(message("0 /* x"), @"1: the comment `/*` has no end");
    insta::assert_snapshot!(message("`x"), @"1: the text behind ` has no end");
    insta::assert_snapshot!(message("0 %{ assert 1 "), @"1: `%{` has no `}%`");
    insta::assert_snapshot!(message("0 %{\nassert 1\nimport os\n}%"), @"3: `import` is Python that this reader of assertions does not know; it knows assert, print, if on one line, pass and name = value");
    insta::assert_snapshot!(message("0 < gre: . 1:1(0)"), @"1: packets inside of other packets (`gre`) are not among what this interpreter can do");
    insta::assert_snapshot!(message("+0.2~+0.1 > . 1:1(0)"), @"1: the range ends before it begins");
    insta::assert_snapshot!(message("0...1 < . 1:1(0)"), @"1: expected a system call; found `< . 1:1(0)`");
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("0 f({}1{}) = 0", "[".repeat(5000), "]".repeat(5000));
    assert!(message(&deep).contains("nested more than 64 deep"));
    let deep = format!("0 f({}1) = 0", "~".repeat(5000));
    assert!(message(&deep).contains("nested more than 64 deep"));
    let deep = format!("0 %{{ assert {}1 }}%", "not ".repeat(5000));
    assert!(message(&deep).contains("nested more than 64 deep"));
}

fn tcp_option() -> impl Strategy<Value = TcpOption> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..16);
    prop_oneof![
        Just(TcpOption::Nop),
        Just(TcpOption::Eol),
        any::<u16>().prop_map(TcpOption::Mss),
        any::<u8>().prop_map(TcpOption::WindowScale),
        Just(TcpOption::SackPermitted),
        proptest::collection::vec((any::<u32>(), any::<u32>()), 0..5).prop_map(|blocks| {
            let block = |(left, right)| SackBlock { left, right };
            TcpOption::Sack(blocks.into_iter().map(block).collect())
        }),
        (any::<u32>(), any::<u32>())
            .prop_map(|(value, echo)| TcpOption::Timestamps { value, echo }),
        bytes().prop_map(TcpOption::FastOpen),
        bytes().prop_map(TcpOption::FastOpenExperimental),
        any::<Option<[u8; 16]>>().prop_map(TcpOption::Md5),
        (0..0x100_0000_u32)
            .prop_map(|value| TcpOption::AccEcn(vec![(AccEcn::Ect0, value), (AccEcn::Ce, 3)])),
        (any::<u8>(), bytes()).prop_map(|(kind, data)| TcpOption::Other(kind, data)),
    ]
}

fn packet() -> impl Strategy<Value = Packet> {
    let options = prop_oneof![
        Just(OptionList::Any),
        proptest::collection::vec(tcp_option(), 0..6).prop_map(OptionList::These),
    ];
    let segment = (
        0..0x200_u16,
        any::<u32>(),
        any::<u16>(),
        any::<[Option<u16>; 2]>(),
        any::<Option<u32>>(),
        options,
    )
        .prop_map(
            |(flags, sequence, length, [window, urgent], ack, options)| {
                Body::Tcp(Segment {
                    flags: Flags(flags),
                    sequence,
                    length,
                    ack,
                    window,
                    urgent,
                    options,
                })
            },
        );
    let icmp =
        (any::<[Option<u16>; 2]>(), any::<Option<(u32, u16)>>()).prop_map(|([mtu, id], echoed)| {
            Body::Icmp(Icmp {
                kind: "unreachable".to_owned(),
                code: id.map(|_| "frag_needed".to_owned()),
                mtu: mtu.map(u32::from),
                id,
                echoed: echoed.map(|(sequence, length)| Echoed::Tcp { sequence, length }),
            })
        });
    let body = prop_oneof![segment, any::<u16>().prop_map(Body::Udp), icmp];
    let tos = prop_oneof![
        Just(None),
        Just(Some(TypeOfService::Ecn(Ecn::Ect01))),
        any::<u8>().prop_map(|byte| Some(TypeOfService::Byte(byte))),
    ];
    (
        any::<(bool, Option<u8>, Option<(u16, u16)>)>(),
        tos,
        proptest::option::of(0..0x10_0000_u32),
        body,
    )
        .prop_map(|((out, ttl, ports), tos, flow_label, body)| Packet {
            direction: if out { Direction::Out } else { Direction::In },
            ip: IpInfo {
                tos,
                ttl,
                flow_label,
            },
            ports: ports
                .filter(|_| !matches!(body, Body::Icmp(_)))
                .map(|(source, destination)| Ports {
                    source,
                    destination,
                }),
            body,
        })
}

fn expression() -> impl Strategy<Value = Expression> {
    let leaf = prop_oneof![
        Just(Expression::Ellipsis),
        any::<i64>().prop_map(Expression::Integer),
        any::<u64>().prop_map(Expression::Hex),
        "[A-Z_][A-Za-z0-9_]{0,8}".prop_map(Expression::Word),
        (proptest::collection::vec(any::<u8>(), 0..8), any::<bool>())
            .prop_map(|(text, begun)| Expression::Text(text, begun)),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let list = || proptest::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            (0..8_usize, inner.clone(), inner.clone()).prop_map(|(operator, left, right)| {
                let all = [
                    Operator::Or,
                    Operator::And,
                    Operator::Add,
                    Operator::Subtract,
                    Operator::Multiply,
                    Operator::Divide,
                    Operator::ShiftLeft,
                    Operator::ShiftRight,
                ];
                Expression::Binary(all[operator], Box::new(left), Box::new(right))
            }),
            inner
                .clone()
                .prop_map(|inner| Expression::Not(Box::new(inner))),
            list().prop_map(Expression::List),
            ("[a-z]{1,5}", list()).prop_map(|(name, items)| Expression::Function(name, items)),
            proptest::collection::vec((proptest::option::of("[a-z]{1,5}"), inner.clone()), 0..4)
                .prop_map(Expression::Structure),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = Script::parse(&text);
    }

    #[test]
    fn no_text_that_looks_like_a_script_panics(
        pieces in proptest::collection::vec(prop_oneof![
            Just("0 "), Just("+0..."), Just("* "), Just("< "), Just("> "), Just("S. "), Just("1:1(0) "), Just("ack 1 "),
            Just("win 5 "), Just("<mss 1,"), Just("nop>"), Just("<..."), Just("socket("), Just("..., "), Just(") = "),
            Just("-1 "), Just("EAGAIN "), Just("(x y) "), Just("{a="), Just("}"), Just("["), Just("]"), Just("%{"), Just("}%"),
            Just("assert "), Just("tcpi_rtt "), Just("== 1, "), Just("'%d' % "), Just("`x`"), Just("--a=b "), Just("\n"),
            Just("icmp unreachable "), Just("udp (5) "), Just("\"\\x4"), Just("//"), Just("/*"), Just("*/"), Just("~"), Just("."),
        ], 0..40)
    ) {
        let _ = Script::parse(&pieces.concat());
    }

    #[test]
    fn what_is_printed_can_be_read(packet in packet()) {
        let text = format!("+0 {packet}");
        let script = Script::parse(&text).unwrap();
        prop_assert_eq!(&script.events[0].action, &Action::Packet(packet));
    }

    #[test]
    fn printed_calls_can_be_read(argument in expression(), errno in proptest::option::of("E[A-Z]{2,9}")) {
        let call = CallSpec {
            until: None,
            name: "call".to_owned(),
            arguments: vec![argument],
            result: Expression::Integer(-1),
            errno,
            note: Some("a note".to_owned()),
        };
        let text = format!("+0 {call}\n+0 close(3) = 0");
        let script = Script::parse(&text).unwrap();
        prop_assert_eq!(&script.events[0].action, &Action::Call(call));
    }
}
