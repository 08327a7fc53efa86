//! FILTER: compiled by libpcap, for every link type, and made fit for the kernel.
//!
//! The expression is compiled once, where Transect was started: host names in it are looked up there, not in the namespaces
//! that are observed.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use pcap::{Capture, Linktype};
use transect_packet::LinkType;
use transect_packet::bpf::{Instruction, Program};

use crate::Error;

/// What is captured besides the flows in question: neighbour discovery, errors that may speak of them, and fragments after
/// the first, which hold no ports for the expression to match.
const BESIDES: &str = "arp or icmp or icmp6 or (ip[6:2] & 0x1fff != 0) or (ip6[6] == 44)";

/// The link types that are compiled ahead. Others are rare and compiled when they appear.
const AHEAD: [LinkType; 3] = [LinkType::ETHERNET, LinkType::RAW, LinkType::LINUX_SLL];

/// `DLT_RAW` on Linux; in files it is LINKTYPE_RAW (<https://www.tcpdump.org/linktypes.html>).
const DLT_RAW: i32 = 12;

// Classic BPF, <linux/bpf_common.h> and <linux/filter.h>.
const LOAD_BYTE: u16 = 0x30;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// `SKF_AD_OFF + SKF_AD_PKTTYPE`: asks the kernel for the packet's type.
const PACKET_TYPE: u32 = 0xffff_f004;
/// `PACKET_OUTGOING` of <linux/if_packet.h>.
const PACKET_OUTGOING: u32 = 4;

/// Which way frames go, seen from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// A filter expression, compiled. Without one, everything matches.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    text: Option<String>,
    compiled: BTreeMap<LinkType, Compiled>,
}

/// The programs for one link type.
#[derive(Debug, Clone)]
struct Compiled {
    /// The expression alone. `None`: it means nothing on this link type, so no frame of it matches.
    alone: Option<Program>,
    /// The expression, and what is captured besides. `None`: too much for libpcap, so everything is captured.
    captured: Option<Program>,
}

impl Filter {
    /// Compiles an expression; `None` and blank text match everything.
    ///
    /// # Errors
    /// libpcap does not understand it for any of the usual link types; the reason is libpcap's.
    pub fn new(text: Option<&str>) -> Result<Self, Error> {
        let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
            return Ok(Filter::default());
        };
        let mut compiled = BTreeMap::new();
        let mut reason = None;
        for link_type in AHEAD {
            let (programs, refused) = Compiled::new(link_type, text);
            compiled.insert(link_type, programs);
            reason = reason.or(refused);
        }
        match reason {
            Some(reason) if compiled.values().all(|programs| programs.alone.is_none()) => {
                Err(Error::Filter {
                    filter: text.to_owned(),
                    reason,
                })
            }
            _ => Ok(Filter {
                text: Some(text.to_owned()),
                compiled,
            }),
        }
    }

    /// The expression.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The expression alone, for frames of this link type: which frames belong to the flows in question. `None` when there is
    /// no expression, or when it means nothing on this link type (`ether host …` on raw IP).
    pub fn program(&self, link_type: LinkType) -> Option<Program> {
        self.programs(link_type)?.alone
    }

    /// What a tap needs for frames of this link type.
    pub(crate) fn tap_programs(
        &self,
        link_type: LinkType,
        way: Way,
        snap_length: NonZeroU32,
    ) -> TapPrograms {
        let captured = self
            .programs(link_type)
            .and_then(|programs| programs.captured);
        // Of a cooked frame the kernel's filter sees no link header: libpcap makes that up when it delivers.
        let cooked = matches!(link_type, LinkType::LINUX_SLL | LinkType::LINUX_SLL2);
        let in_kernel = captured
            .as_ref()
            .filter(|_| !cooked && !self.needs_whole_tags());
        TapPrograms {
            kernel: kernel_program(in_kernel, way, snap_length),
            matches_in_kernel: in_kernel.is_some() || captured.is_none(),
            captured,
        }
    }

    fn programs(&self, link_type: LinkType) -> Option<Compiled> {
        let text = self.text.as_deref()?;
        let ahead = self.compiled.get(&link_type).cloned();
        Some(ahead.unwrap_or_else(|| Compiled::new(link_type, text).0))
    }

    /// The kernel takes a frame's VLAN tag off before filters see it; libpcap puts it back in what it delivers. So an
    /// expression that speaks of tags is matched on what is delivered.
    fn needs_whole_tags(&self) -> bool {
        let word = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.');
        let text = self.text.as_deref().unwrap_or_default();
        text.split(word).any(|word| word == "vlan")
    }
}

impl Compiled {
    /// The programs for one link type, and libpcap's reason where the expression means nothing on it.
    fn new(link_type: LinkType, text: &str) -> (Self, Option<String>) {
        let (alone, refused) = match compile(link_type, text) {
            Ok(program) => (Some(program), None),
            Err(reason) => (None, Some(reason)),
        };
        let captured = match alone {
            Some(_) => compile(link_type, &format!("({text}) or {BESIDES}")),
            None => compile(link_type, BESIDES),
        };
        let captured = captured.ok();
        (Compiled { alone, captured }, refused)
    }
}

/// The programs of one tap.
#[derive(Debug, Clone)]
pub(crate) struct TapPrograms {
    /// For SO_ATTACH_FILTER.
    pub(crate) kernel: Vec<Instruction>,
    /// For frames that the kernel's program did not see; `None` matches everything.
    pub(crate) captured: Option<Program>,
    /// The kernel's program says all that `captured` says, once it is attached.
    pub(crate) matches_in_kernel: bool,
}

/// The program for the kernel: frames that go this way and match, cut to the snap length. The direction is part of it so that
/// frames of the other one take no room in the tap's buffer; libpcap itself tells directions apart only when it delivers.
fn kernel_program(
    captured: Option<&Program>,
    way: Way,
    snap_length: NonZeroU32,
) -> Vec<Instruction> {
    let (if_outgoing, if_not) = match way {
        Way::In => (0, 1),
        Way::Out => (1, 0),
    };
    let mut program: Vec<Instruction> = [
        (LOAD_BYTE, 0, 0, PACKET_TYPE),
        (JUMP_IF_EQUAL, if_outgoing, if_not, PACKET_OUTGOING),
        (RETURN, 0, 0, 0),
    ]
    .map(Instruction::from)
    .to_vec();
    match captured {
        Some(captured) => program.extend(captured.instructions.iter().map(|&instruction| {
            // A program returns how many bytes to keep. This one was compiled without knowing the snap length.
            if instruction.code == RETURN && instruction.k != 0 {
                Instruction {
                    k: snap_length.get(),
                    ..instruction
                }
            } else {
                instruction
            }
        })),
        None => program.push(Instruction::from((RETURN, 0, 0, snap_length.get()))),
    }
    program
}

fn compile(link_type: LinkType, text: &str) -> Result<Program, String> {
    let dlt = match link_type {
        LinkType::RAW => DLT_RAW,
        LinkType(other) => i32::from(other),
    };
    let reason = |error: pcap::Error| match error {
        pcap::Error::PcapError(reason) => reason,
        other => other.to_string(),
    };
    let program = Capture::dead(Linktype(dlt))
        .and_then(|handle| handle.compile(text, true))
        .map_err(reason)?;
    let instructions = program
        .get_instructions()
        .iter()
        .map(|instruction| instruction_of(&instruction.to_string()))
        .collect::<Option<Vec<_>>>()
        .ok_or("libpcap's program cannot be read")?;
    Ok(Program {
        link_type,
        instructions,
    })
}

/// One line of `tcpdump -ddd`, which is how the pcap crate shows an instruction: `code jt jf k`.
fn instruction_of(line: &str) -> Option<Instruction> {
    let mut numbers = line.split_ascii_whitespace();
    let instruction = Instruction {
        code: numbers.next()?.parse().ok()?,
        jt: numbers.next()?.parse().ok()?,
        jf: numbers.next()?.parse().ok()?,
        k: numbers.next()?.parse().ok()?,
    };
    numbers.next().is_none().then_some(instruction)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNAP: NonZeroU32 = NonZeroU32::new(96).unwrap();

    /// An Ethernet frame with an IPv4 packet: protocol, fragment field, ports.
    fn frame(protocol: u8, fragment: u16, ports: (u16, u16)) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 0]);
        frame.extend(fragment.to_be_bytes());
        frame.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend(ports.0.to_be_bytes());
        frame.extend(ports.1.to_be_bytes());
        frame.extend([0; 16]);
        frame
    }

    fn matches(program: &Program, frame: &[u8]) -> bool {
        program.validate().unwrap();
        program.matches(frame, u32::try_from(frame.len()).unwrap())
    }

    #[test]
    fn no_expression_matches_everything() {
        for text in [None, Some(""), Some("  ")] {
            let filter = Filter::new(text).unwrap();
            assert_eq!(filter.text(), None);
            assert_eq!(filter.program(LinkType::ETHERNET), None);
            let programs = filter.tap_programs(LinkType::ETHERNET, Way::In, SNAP);
            assert!(programs.matches_in_kernel && programs.captured.is_none());
            assert_eq!(programs.kernel.len(), 4);
        }
    }

    #[test]
    fn what_concerns_the_flow_is_captured_besides() {
        let filter = Filter::new(Some("tcp port 3306")).unwrap();
        let alone = filter.program(LinkType::ETHERNET).unwrap();
        let programs = filter.tap_programs(LinkType::ETHERNET, Way::In, SNAP);
        let captured = programs.captured.unwrap();
        let (flow, other) = (frame(6, 0, (40000, 3306)), frame(6, 0, (40000, 80)));
        let (icmp, fragment) = (frame(1, 0, (0, 0)), frame(6, 100, (0, 0)));
        let mut arp = vec![0; 42];
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        for (frame, in_alone, in_captured) in [
            (flow, true, true),
            (other, false, false),
            (icmp, false, true),
            (fragment, false, true),
            (arp, false, true),
        ] {
            assert_eq!(matches(&alone, &frame), in_alone);
            assert_eq!(matches(&captured, &frame), in_captured);
        }
    }

    #[test]
    fn the_kernel_gets_direction_and_snap_length() {
        let filter = Filter::new(Some("tcp port 3306")).unwrap();
        let of = |way| {
            filter
                .tap_programs(LinkType::ETHERNET, way, SNAP)
                .kernel
                .iter()
                .map(|&instruction| instruction.into())
                .collect::<Vec<(u16, u8, u8, u32)>>()
        };
        let (incoming, outgoing) = (of(Way::In), of(Way::Out));
        assert_eq!(
            incoming[..3],
            [(0x30, 0, 0, 0xffff_f004), (0x15, 0, 1, 4), (0x06, 0, 0, 0)]
        );
        assert_eq!(
            outgoing[..3],
            [(0x30, 0, 0, 0xffff_f004), (0x15, 1, 0, 4), (0x06, 0, 0, 0)]
        );
        assert_eq!(incoming[3..], outgoing[3..]);
        let returns: Vec<u32> = incoming[3..]
            .iter()
            .filter(|(code, ..)| *code == 0x06)
            .map(|(.., k)| *k)
            .collect();
        assert!(returns.contains(&96) && returns.iter().all(|k| matches!(k, 0 | 96)));
    }

    #[test]
    fn tags_are_matched_where_they_are_whole() {
        let filter = Filter::new(Some("vlan 5 and tcp port 3306")).unwrap();
        let programs = filter.tap_programs(LinkType::ETHERNET, Way::In, SNAP);
        assert!(!programs.matches_in_kernel);
        assert!(programs.captured.is_some());
        assert_eq!(programs.kernel.len(), 4);
        let named = Filter::new(Some("tcp port 3306 or host 10.0.0.1")).unwrap();
        assert!(!named.needs_whole_tags());
    }

    #[test]
    fn an_expression_may_mean_nothing_on_some_links() {
        let filter = Filter::new(Some("ether host 02:00:00:00:00:01")).unwrap();
        assert!(filter.program(LinkType::ETHERNET).is_some());
        assert_eq!(filter.program(LinkType::RAW), None);
        // Errors that may speak of the flow are captured there all the same.
        let raw = filter.tap_programs(LinkType::RAW, Way::In, SNAP);
        assert!(matches(&raw.captured.unwrap(), &frame(1, 0, (0, 0))[14..]));
    }

    #[test]
    fn raw_ip_is_matched_without_a_link_header() {
        let filter = Filter::new(Some("tcp port 3306")).unwrap();
        let program = filter.program(LinkType::RAW).unwrap();
        assert!(matches(&program, &frame(6, 0, (40000, 3306))[14..]));
        assert!(!matches(&program, &frame(6, 0, (40000, 3306))));
    }

    #[test]
    fn a_bad_expression_is_shown_with_libpcaps_reason() {
        let error = Filter::new(Some("tcp prot 80")).unwrap_err();
        assert!(error.is_usage());
        insta::assert_snapshot!(error, @r#"the filter "tcp prot 80" does not compile: can't parse filter expression: syntax error"#);
    }
}
