//! Classic BPF: the filter programs that libpcap compiles, run on captured frames.
//!
//! The interpreter mirrors the kernel's `___bpf_prog_run` for classic programs (`net/core/filter.c`): a load past the
//! captured bytes rejects the frame, `len` is the length on the wire. It exists because libpcap's own user-space run
//! takes the captured length for the wire length.

mod compile;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::compile::{ExpressionError, compile};
use crate::LinkType;

/// The most instructions that a program may have. The kernel takes 4096 (`BPF_MAXINSNS`); libpcap compiles longer ones.
pub const MAX_INSTRUCTIONS: usize = 65_536;

// Instruction classes and modes, as in <linux/bpf_common.h>.
const CLASS_LD: u16 = 0x00;
const CLASS_LDX: u16 = 0x01;
const CLASS_ST: u16 = 0x02;
const CLASS_STX: u16 = 0x03;
const CLASS_ALU: u16 = 0x04;
const CLASS_JMP: u16 = 0x05;
const CLASS_RET: u16 = 0x06;
const CLASS_MISC: u16 = 0x07;
const SIZE_W: u16 = 0x00;
const SIZE_H: u16 = 0x08;
const SIZE_B: u16 = 0x10;
const MODE_IMM: u16 = 0x00;
const MODE_ABS: u16 = 0x20;
const MODE_IND: u16 = 0x40;
const MODE_MEM: u16 = 0x60;
const MODE_LEN: u16 = 0x80;
const MODE_MSH: u16 = 0xa0;
const SOURCE_X: u16 = 0x08;

/// Loads at and above this offset ask about the packet's metadata (`SKF_AD_OFF`).
const ANCILLARY: u32 = 0xffff_f000;
/// Loads at and above this offset (below [`ANCILLARY`]) are relative to the network header (`SKF_NET_OFF`).
const NETWORK_RELATIVE: u32 = 0xfff0_0000;
/// Loads at and above this offset (below [`NETWORK_RELATIVE`]) are relative to the link header (`SKF_LL_OFF`).
const LINK_RELATIVE: u32 = 0xffe0_0000;

/// One instruction; in JSON `[code, jt, jf, k]`, the numbers that `tcpdump -ddd` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "(u16, u8, u8, u32)", into = "(u16, u8, u8, u32)")]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// How many instructions to skip when a condition holds.
    pub jt: u8,
    /// How many instructions to skip when it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

impl From<(u16, u8, u8, u32)> for Instruction {
    fn from((code, jt, jf, k): (u16, u8, u8, u32)) -> Self {
        Instruction { code, jt, jf, k }
    }
}

impl From<Instruction> for (u16, u8, u8, u32) {
    fn from(instruction: Instruction) -> Self {
        (
            instruction.code,
            instruction.jt,
            instruction.jf,
            instruction.k,
        )
    }
}

/// A filter program, for frames of one link type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Program {
    /// The link type that it was compiled for.
    pub link_type: LinkType,
    /// Its instructions.
    pub instructions: Vec<Instruction>,
}

/// Why a program is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProgramError {
    /// No instruction at all, or too many.
    #[error("a filter program has 1 to {MAX_INSTRUCTIONS} instructions, this one has {0}")]
    Length(usize),
    /// An operation that classic BPF does not have.
    #[error("instruction {index}: {code:#06x} is no classic BPF operation")]
    Operation {
        /// Which instruction, from 0.
        index: usize,
        /// Its code.
        code: u16,
    },
    /// A jump behind the end.
    #[error("instruction {0}: the jump goes past the end of the program")]
    Jump(usize),
    /// A scratch cell that does not exist.
    #[error("instruction {index}: there are 16 memory cells, not {cell}")]
    Memory {
        /// Which instruction, from 0.
        index: usize,
        /// The cell asked for.
        cell: u32,
    },
    /// Division by the constant zero, or a shift by 32 bits and more.
    #[error("instruction {0}: the constant divides by zero or shifts everything away")]
    Constant(usize),
    /// The last instruction does not return.
    #[error("the program does not end with a return")]
    NoReturn,
}

impl Program {
    /// Checks what the kernel checks before it takes a program (`bpf_check_classic`).
    ///
    /// # Errors
    /// The first thing that is wrong. [`Program::matches`] is safe on an unchecked program too: it then says no.
    pub fn validate(&self) -> Result<(), ProgramError> {
        let length = self.instructions.len();
        if length == 0 || length > MAX_INSTRUCTIONS {
            return Err(ProgramError::Length(length));
        }
        for (index, instruction) in self.instructions.iter().enumerate() {
            validate_instruction(index, *instruction, length)?;
        }
        match self.instructions.last() {
            Some(last) if last.code & 0x07 == CLASS_RET => Ok(()),
            _ => Err(ProgramError::NoReturn),
        }
    }

    /// Whether the program accepts the frame: `data` is what was captured of it, `wire_length` its length on the wire.
    ///
    /// Terminates after at most as many steps as there are instructions, since every jump goes forward.
    pub fn matches(&self, data: &[u8], wire_length: u32) -> bool {
        self.run(data, wire_length)
            .is_some_and(|verdict| verdict != 0)
    }

    fn run(&self, data: &[u8], wire_length: u32) -> Option<u32> {
        let mut a = 0u32;
        let mut x = 0u32;
        let mut memory = [0u32; 16];
        let mut pc = 0usize;
        loop {
            let Instruction { code, jt, jf, k } = *self.instructions.get(pc)?;
            pc += 1;
            match code & 0x07 {
                CLASS_LD => {
                    a = match code & 0xe0 {
                        MODE_ABS => load(data, k, code & 0x18)?,
                        MODE_IND => load(data, x.checked_add(k)?, code & 0x18)?,
                        MODE_IMM => k,
                        MODE_LEN => wire_length,
                        MODE_MEM => *memory.get(k as usize)?,
                        _ => return None,
                    }
                }
                CLASS_LDX => {
                    x = match code & 0xe0 {
                        MODE_IMM => k,
                        MODE_LEN => wire_length,
                        MODE_MEM => *memory.get(k as usize)?,
                        MODE_MSH => 4 * (u32::from(*data.get(k as usize)?) & 0x0f),
                        _ => return None,
                    }
                }
                CLASS_ST => *memory.get_mut(k as usize)? = a,
                CLASS_STX => *memory.get_mut(k as usize)? = x,
                CLASS_ALU => a = arithmetic(code, a, if code & SOURCE_X != 0 { x } else { k })?,
                CLASS_JMP => {
                    let operand = if code & SOURCE_X != 0 { x } else { k };
                    let holds = match code & 0xf0 {
                        0x00 => {
                            pc = pc.checked_add(k as usize)?;
                            continue;
                        }
                        0x10 => a == operand,
                        0x20 => a > operand,
                        0x30 => a >= operand,
                        0x40 => a & operand != 0,
                        _ => return None,
                    };
                    pc += usize::from(if holds { jt } else { jf });
                }
                CLASS_RET => {
                    return match code & 0x18 {
                        0x00 => Some(k),
                        0x10 => Some(a),
                        0x08 => Some(x),
                        _ => None,
                    };
                }
                CLASS_MISC if code & 0xf8 == 0x80 => a = x,
                CLASS_MISC if code & 0xf8 == 0x00 => x = a,
                _ => return None,
            }
        }
    }
}

fn load(data: &[u8], offset: u32, size: u16) -> Option<u32> {
    let offset = if offset < LINK_RELATIVE {
        offset
    } else if offset >= ANCILLARY {
        return ancillary(offset - ANCILLARY);
    } else if offset >= NETWORK_RELATIVE {
        // Where the network header starts is the kernel's knowledge; libpcap never compiles this.
        return None;
    } else {
        offset - LINK_RELATIVE
    };
    let at = offset as usize;
    match size {
        SIZE_W => {
            let bytes = data.get(at..at.checked_add(4)?)?;
            Some(u32::from_be_bytes(bytes.try_into().ok()?))
        }
        SIZE_H => {
            let bytes = data.get(at..at.checked_add(2)?)?;
            Some(u32::from(u16::from_be_bytes(bytes.try_into().ok()?)))
        }
        SIZE_B => data.get(at).map(|&byte| u32::from(byte)),
        _ => None,
    }
}

/// What the kernel would say about the packet besides its bytes. A file holds none of it: VLAN tags stand in the frame
/// there, so "no tag outside of the frame" is the truth; the rest reads as zero, as for a packet without mark or hash.
fn ancillary(which: u32) -> Option<u32> {
    match which {
        // packet type, interface, mark, queue, hardware type, hash, CPU, VLAN tag, tag present, VLAN protocol
        4 | 8 | 20 | 24 | 28 | 32 | 36 | 44 | 48 | 60 => Some(0),
        _ => None,
    }
}

fn arithmetic(code: u16, a: u32, operand: u32) -> Option<u32> {
    Some(match code & 0xf0 {
        0x00 => a.wrapping_add(operand),
        0x10 => a.wrapping_sub(operand),
        0x20 => a.wrapping_mul(operand),
        0x30 => a.checked_div(operand)?,
        0x40 => a | operand,
        0x50 => a & operand,
        // A shift by X counts modulo 32, as in the kernel's interpreter.
        0x60 => a.wrapping_shl(operand),
        0x70 => a.wrapping_shr(operand),
        0x80 => a.wrapping_neg(),
        0x90 => a.checked_rem(operand)?,
        0xa0 => a ^ operand,
        _ => return None,
    })
}

fn validate_instruction(
    index: usize,
    instruction: Instruction,
    length: usize,
) -> Result<(), ProgramError> {
    let Instruction { code, jt, jf, k } = instruction;
    let unknown = Err(ProgramError::Operation { index, code });
    let cell = if k < 16 {
        Ok(())
    } else {
        Err(ProgramError::Memory { index, cell: k })
    };
    match code & 0x07 {
        CLASS_LD => match code {
            0x00 | 0x80 | 0x20 | 0x28 | 0x30 | 0x40 | 0x48 | 0x50 => Ok(()),
            0x60 => cell,
            _ => unknown,
        },
        CLASS_LDX => match code {
            0x01 | 0x81 | 0xb1 => Ok(()),
            0x61 => cell,
            _ => unknown,
        },
        CLASS_ST | CLASS_STX if code <= 0x03 => cell,
        CLASS_ALU if code <= 0xac => {
            let constant = code & SOURCE_X == 0;
            let wrong = match code & 0xf0 {
                0x30 | 0x90 => k == 0,
                0x60 | 0x70 => k >= 32,
                _ => false,
            };
            if constant && wrong {
                Err(ProgramError::Constant(index))
            } else {
                Ok(())
            }
        }
        CLASS_JMP if code <= 0x4d => {
            let inside = |skip: usize| {
                index
                    .checked_add(1)
                    .and_then(|next| next.checked_add(skip))
                    .is_some_and(|target| target < length)
            };
            let fine = match code & 0xf0 {
                0x00 => inside(k as usize),
                _ => inside(usize::from(jt)) && inside(usize::from(jf)),
            };
            if fine {
                Ok(())
            } else {
                Err(ProgramError::Jump(index))
            }
        }
        CLASS_RET => match code {
            0x06 | 0x0e | 0x16 => Ok(()),
            _ => unknown,
        },
        CLASS_MISC => match code {
            0x07 | 0x87 => Ok(()),
            _ => unknown,
        },
        _ => unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `tcpdump -ddd`'s lines behind the count.
    fn program(link_type: LinkType, text: &str) -> Program {
        let instructions = text
            .split(';')
            .map(|line| {
                let numbers: Vec<u32> = line
                    .split_whitespace()
                    .map(|number| number.parse().unwrap())
                    .collect();
                Instruction {
                    code: numbers[0] as u16,
                    jt: numbers[1] as u8,
                    jf: numbers[2] as u8,
                    k: numbers[3],
                }
            })
            .collect();
        let program = Program {
            link_type,
            instructions,
        };
        assert_eq!(program.validate(), Ok(()));
        program
    }

    /// `tcpdump -ddd -y EN10MB tcp port 80`, libpcap 1.10.3.
    const TCP_PORT_80: &str = "40 0 0 12;21 0 6 34525;48 0 0 20;21 0 15 6;40 0 0 54;21 12 0 80;40 0 0 56;\
        21 10 11 80;21 0 10 2048;48 0 0 23;21 0 8 6;40 0 0 20;69 6 0 8191;177 0 0 14;72 0 0 14;21 2 0 80;\
        72 0 0 16;21 0 1 80;6 0 0 262144;6 0 0 0";
    /// `tcpdump -ddd -y EN10MB 'tcp port 3306 and host 172.17.0.2 and greater 100'`.
    const GREATER: &str = "40 0 0 12;21 17 0 34525;21 0 16 2048;48 0 0 23;21 0 14 6;40 0 0 20;69 12 0 8191;\
        177 0 0 14;72 0 0 14;21 2 0 3306;72 0 0 16;21 0 7 3306;32 0 0 26;21 2 0 2886795266;32 0 0 30;\
        21 0 3 2886795266;128 0 0 0;53 0 1 100;6 0 0 262144;6 0 0 0";
    /// `tcpdump -ddd -y RAW 'udp port 53'`.
    const RAW_UDP_53: &str = "48 0 0 0;84 0 0 240;21 0 6 96;48 0 0 6;21 0 17 17;40 0 0 40;21 14 0 53;40 0 0 42;\
        21 12 13 53;48 0 0 0;84 0 0 240;21 0 10 64;48 0 0 9;21 0 8 17;40 0 0 6;69 6 0 8191;177 0 0 0;\
        72 0 0 0;21 2 0 53;72 0 0 2;21 0 1 53;6 0 0 262144;6 0 0 0";
    /// `tcpdump -ddd -y EN10MB 'tcp[tcpflags] & tcp-syn != 0 and ip[8] > 5'`.
    const SYN_WITH_TTL: &str = "40 0 0 12;21 0 10 2048;48 0 0 23;21 0 8 6;40 0 0 20;69 6 0 8191;177 0 0 14;\
        80 0 0 27;69 0 3 2;48 0 0 22;37 0 1 5;6 0 0 262144;6 0 0 0";

    fn tcp(source: [u8; 4], ports: (u16, u16), ttl: u8) -> Vec<u8> {
        let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(source, [172, 17, 0, 3], ttl)
            .tcp(ports.0, ports.1, 1, 1024)
            .syn();
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &[]).unwrap();
        bytes
    }

    #[test]
    fn a_port_on_ethernet_in_ipv4_and_ipv6() {
        let program = program(LinkType::ETHERNET, TCP_PORT_80);
        let length = |frame: &[u8]| frame.len() as u32;
        for (ports, expected) in [
            ((40000, 80), true),
            ((80, 40000), true),
            ((40000, 81), false),
        ] {
            let v4 = tcp([172, 17, 0, 2], ports, 64);
            assert_eq!(program.matches(&v4, length(&v4)), expected);
            let mut v6 = Vec::new();
            etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
                .ipv6([1; 16], [2; 16], 64)
                .tcp(ports.0, ports.1, 1, 1024)
                .write(&mut v6, &[])
                .unwrap();
            assert_eq!(program.matches(&v6, length(&v6)), expected);
        }
        // A later fragment has no ports.
        let mut fragment = tcp([172, 17, 0, 2], (40000, 80), 64);
        fragment[21] = 1;
        assert!(!program.matches(&fragment, length(&fragment)));
    }

    #[test]
    fn the_length_is_the_one_on_the_wire() {
        let program = program(LinkType::ETHERNET, GREATER);
        let frame = tcp([172, 17, 0, 2], (40000, 3306), 64);
        assert!(program.matches(&frame, 100));
        assert!(!program.matches(&frame, 99));
        assert!(!program.matches(&tcp([172, 17, 0, 9], (40000, 3306), 64), 100));
    }

    #[test]
    fn a_snap_too_short_to_tell_is_rejected() {
        let program = program(LinkType::ETHERNET, TCP_PORT_80);
        let frame = tcp([172, 17, 0, 2], (40000, 80), 64);
        assert!(!program.matches(&frame[..36], 54));
        assert!(program.matches(&frame[..38], 54));
    }

    #[test]
    fn raw_ip_and_header_fields() {
        let dns = program(LinkType::RAW, RAW_UDP_53);
        let mut query = Vec::new();
        etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(5353, 53)
            .write(&mut query, b"x")
            .unwrap();
        assert!(dns.matches(&query, 29));
        query[9] = 6;
        assert!(!dns.matches(&query, 29));
        let syn = program(LinkType::ETHERNET, SYN_WITH_TTL);
        assert!(syn.matches(&tcp([1; 4], (1, 2), 6), 54));
        assert!(!syn.matches(&tcp([1; 4], (1, 2), 5), 54));
    }

    #[test]
    fn the_manifest_form_reads_back() {
        let program = Program {
            link_type: LinkType::ETHERNET,
            instructions: vec![(6, 0, 0, 262_144).into()],
        };
        let json = serde_json::to_string(&program).unwrap();
        assert_eq!(json, r#"{"link_type":1,"instructions":[[6,0,0,262144]]}"#);
        assert_eq!(serde_json::from_str::<Program>(&json).unwrap(), program);
    }

    fn error(instructions: &[(u16, u8, u8, u32)]) -> Result<(), ProgramError> {
        Program {
            link_type: LinkType::ETHERNET,
            instructions: instructions
                .iter()
                .copied()
                .map(Instruction::from)
                .collect(),
        }
        .validate()
    }

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        let ret = (6, 0, 0, 0);
        assert_eq!(error(&[]), Err(ProgramError::Length(0)));
        assert_eq!(error(&[ret]), Ok(()));
        assert_eq!(error(&[(0, 0, 0, 1)]), Err(ProgramError::NoReturn));
        assert_eq!(error(&[(0x15, 1, 0, 1), ret]), Err(ProgramError::Jump(0)));
        assert_eq!(
            error(&[(0x05, 0, 0, u32::MAX), ret]),
            Err(ProgramError::Jump(0))
        );
        assert_eq!(
            error(&[(0x60, 0, 0, 16), ret]),
            Err(ProgramError::Memory { index: 0, cell: 16 })
        );
        assert_eq!(
            error(&[(0x34, 0, 0, 0), ret]),
            Err(ProgramError::Constant(0))
        );
        assert_eq!(
            error(&[(0x64, 0, 0, 32), ret]),
            Err(ProgramError::Constant(0))
        );
        assert_eq!(
            error(&[(0xffff, 0, 0, 0), ret]),
            Err(ProgramError::Operation {
                index: 0,
                code: 0xffff
            })
        );
    }

    #[test]
    fn arithmetic_is_that_of_the_kernel() {
        let value = |instructions: &[(u16, u8, u8, u32)]| {
            Program {
                link_type: LinkType::ETHERNET,
                instructions: instructions
                    .iter()
                    .copied()
                    .map(Instruction::from)
                    .collect(),
            }
            .run(&[0x45, 1, 2, 3], 1500)
        };
        let load = (0x00, 0, 0, 7);
        let ret_a = (0x16, 0, 0, 0);
        for (code, k, expected) in [
            (0x04, 3, 10),
            (0x14, 8, u32::MAX),
            (0x24, 6, 42),
            (0x34, 2, 3),
            (0x44, 8, 15),
            (0x54, 3, 3),
            (0x64, 4, 112),
            (0x74, 1, 3),
            (0x84, 0, 7u32.wrapping_neg()),
            (0x94, 4, 3),
            (0xa4, 5, 2),
        ] {
            assert_eq!(
                value(&[load, (code, 0, 0, k), ret_a]),
                Some(expected),
                "{code:#x}"
            );
        }
        // Division by an X of zero rejects; the wire length; the IP header length; transfers; scratch memory.
        assert_eq!(value(&[load, (0x3c, 0, 0, 0), ret_a]), None);
        assert_eq!(value(&[(0x80, 0, 0, 0), ret_a]), Some(1500));
        assert_eq!(value(&[(0xb1, 0, 0, 0), (0x87, 0, 0, 0), ret_a]), Some(20));
        assert_eq!(value(&[load, (0x07, 0, 0, 0), (0x0e, 0, 0, 0)]), Some(7));
        assert_eq!(
            value(&[
                load,
                (0x02, 0, 0, 3),
                (0x00, 0, 0, 0),
                (0x60, 0, 0, 3),
                ret_a
            ]),
            Some(7)
        );
        // No VLAN tag outside of the frame; the network header's place is not known.
        assert_eq!(value(&[(0x30, 0, 0, 0xffff_f030), ret_a]), Some(0));
        assert_eq!(value(&[(0x20, 0, 0, 0xfff0_0000), ret_a]), None);
        assert_eq!(value(&[(0x28, 0, 0, 0xffe0_0001), ret_a]), Some(0x0102));
    }

    proptest! {
        #[test]
        fn no_program_panics_or_runs_on(
            instructions in prop::collection::vec((any::<u16>(), any::<u8>(), any::<u8>(), any::<u32>()), 0..40),
            small in any::<bool>(),
            data in prop::collection::vec(any::<u8>(), 0..80),
            length in any::<u32>(),
        ) {
            let instructions = instructions
                .into_iter()
                .map(|(code, jt, jf, k)| match small {
                    // Codes and jumps that have a chance to mean something.
                    true => Instruction { code: code & 0xff, jt: jt & 3, jf: jf & 3, k: k & 0x3f },
                    false => Instruction { code, jt, jf, k },
                })
                .collect();
            let program = Program { link_type: LinkType::ETHERNET, instructions };
            program.matches(&data, length);
            let _ = program.validate();
        }
    }
}
