//! BPF programs that drop what goes to one port, as ELF objects that `tc filter add … bpf` and `ip link set … xdp` load.
//!
//! They are written by hand, instruction by instruction, so that experiments need no compiler. Kernels without tc actions
//! (`gact`) can drop at tc in no other way.

/// One instruction: opcode, destination and source register, jump offset, immediate value (linux/bpf.h, `struct bpf_insn`).
struct Instruction(u8, u8, i16, i32);

/// `BPF_LD | BPF_ABS | BPF_H`: R0 = two bytes of the packet, in host order; needs the context in R6.
const LOAD_HALF: u8 = 0x28;
/// `BPF_LDX | BPF_MEM`: of four bytes, of two.
const READ_WORD: u8 = 0x61;
const READ_HALF: u8 = 0x69;
const ADD_IMMEDIATE: u8 = 0x07;
const MOVE_IMMEDIATE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const JUMP: u8 = 0x05;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_IF_GREATER_THAN_REGISTER: u8 = 0x2d;
const EXIT: u8 = 0x95;

const TC_ACT_OK: i32 = 0;
const TC_ACT_SHOT: i32 = 2;
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;

/// Where a TCP or UDP destination port is in an Ethernet frame whose IP header has no options.
const PORT_IPV4: i16 = 14 + 20 + 2;
const PORT_IPV6: i16 = 14 + 40 + 2;

/// The section that holds the program for tc; `tc` wants it as `sec tc`.
pub(super) const TC: &str = "tc";
/// Likewise for XDP.
pub(super) const XDP: &str = "xdp";

fn program_for_tc(port: u16) -> Vec<Instruction> {
    let port = i32::from(port);
    vec![
        Instruction(MOVE_REGISTER, 0x16, 0, 0),
        Instruction(LOAD_HALF, 0, 0, 12),
        Instruction(JUMP_IF_EQUAL, 0, 2, 0x0800),
        Instruction(JUMP_IF_EQUAL, 0, 3, 0x86dd),
        Instruction(JUMP, 0, 4, 0),
        Instruction(LOAD_HALF, 0, 0, PORT_IPV4.into()),
        Instruction(JUMP, 0, 1, 0),
        Instruction(LOAD_HALF, 0, 0, PORT_IPV6.into()),
        Instruction(JUMP_IF_EQUAL, 0, 2, port),
        Instruction(MOVE_IMMEDIATE, 0, 0, TC_ACT_OK),
        Instruction(EXIT, 0, 0, 0),
        Instruction(MOVE_IMMEDIATE, 0, 0, TC_ACT_SHOT),
        Instruction(EXIT, 0, 0, 0),
    ]
}

/// XDP programs read the frame itself, whose bounds the verifier wants to see checked: R2 is its end, R3 its beginning
/// (`struct xdp_md`), R4 the end of what is read. Numbers are in network order, as loaded by a little-endian machine.
fn program_for_xdp(port: u16) -> Vec<Instruction> {
    let swapped = |number: u16| i32::from(number.swap_bytes());
    vec![
        Instruction(READ_WORD, 0x12, 4, 0),
        Instruction(READ_WORD, 0x13, 0, 0),
        Instruction(MOVE_REGISTER, 0x34, 0, 0),
        Instruction(ADD_IMMEDIATE, 0x04, 0, i32::from(PORT_IPV4) + 2),
        Instruction(JUMP_IF_GREATER_THAN_REGISTER, 0x24, 10, 0),
        Instruction(READ_HALF, 0x35, 12, 0),
        Instruction(JUMP_IF_EQUAL, 0x05, 6, swapped(0x0800)),
        // Anything else that is not IPv6 passes.
        Instruction(JUMP_IF_EQUAL, 0x05, 1, swapped(0x86dd)),
        Instruction(JUMP, 0, 6, 0),
        Instruction(ADD_IMMEDIATE, 0x04, 0, i32::from(PORT_IPV6 - PORT_IPV4)),
        Instruction(JUMP_IF_GREATER_THAN_REGISTER, 0x24, 4, 0),
        Instruction(READ_HALF, 0x35, PORT_IPV6, 0),
        Instruction(JUMP, 0, 1, 0),
        Instruction(READ_HALF, 0x35, PORT_IPV4, 0),
        Instruction(JUMP_IF_EQUAL, 0x05, 2, swapped(port)),
        Instruction(MOVE_IMMEDIATE, 0, 0, XDP_PASS),
        Instruction(EXIT, 0, 0, 0),
        Instruction(MOVE_IMMEDIATE, 0, 0, XDP_DROP),
        Instruction(EXIT, 0, 0, 0),
    ]
}

fn code(instructions: &[Instruction]) -> Vec<u8> {
    let mut code = Vec::new();
    for Instruction(opcode, registers, offset, immediate) in instructions {
        code.extend([*opcode, *registers]);
        code.extend(offset.to_le_bytes());
        code.extend(immediate.to_le_bytes());
    }
    code
}

/// A program for tc.
pub(super) fn dropping_at_tc(port: u16) -> Vec<u8> {
    object(TC, &program_for_tc(port))
}

/// A program for XDP.
pub(super) fn dropping_at_xdp(port: u16) -> Vec<u8> {
    object(XDP, &program_for_xdp(port))
}

/// One section of the object.
struct Section {
    name: &'static str,
    kind: u32,
    flags: u64,
    /// The index of the section that holds this one's names.
    link: u32,
    /// For a symbol table: the index of the first symbol that is not local.
    info: u32,
    entry_size: u64,
    bytes: Vec<u8>,
}

const PROGBITS: u32 = 1;
const SYMTAB: u32 = 2;
const STRTAB: u32 = 3;
const WRITE: u64 = 1;
const ALLOC: u64 = 2;
const EXECINSTR: u64 = 4;

const HEADER_SIZE: usize = 64;
const SECTION_HEADER_SIZE: u16 = 64;
const SYMBOL_SIZE: u64 = 24;

/// The object: a relocatable little-endian ELF64 file for EM_BPF (System V ABI, chapter 4).
fn object(section: &'static str, instructions: &[Instruction]) -> Vec<u8> {
    let code = code(instructions);
    // Names, each with its final zero; offsets into it follow from the order.
    let names = format!("\0.strtab\0{section}\0license\0.symtab\0drop\0").into_bytes();
    let name_at = |name: &str| {
        let wanted = [name.as_bytes(), &[0]].concat();
        let at = names.windows(wanted.len()).position(|part| part == wanted);
        // Every name asked for is in the table above, which the tests check.
        u32::try_from(at.unwrap_or(0)).unwrap_or(0)
    };
    let mut symbols = vec![0; 24];
    symbols.extend(name_at("drop").to_le_bytes());
    // STB_GLOBAL, STT_FUNC, in section 2.
    symbols.extend([0x12, 0, 2, 0]);
    symbols.extend(0_u64.to_le_bytes());
    symbols.extend((code.len() as u64).to_le_bytes());

    let plain = |name, kind, flags, bytes| Section {
        name,
        kind,
        flags,
        link: 0,
        info: 0,
        entry_size: 0,
        bytes,
    };
    let sections = [
        plain(".strtab", STRTAB, 0, names.clone()),
        plain(section, PROGBITS, ALLOC | EXECINSTR, code),
        plain(
            "license",
            PROGBITS,
            ALLOC | WRITE,
            b"Dual MIT/GPL\0".to_vec(),
        ),
        Section {
            name: ".symtab",
            kind: SYMTAB,
            flags: 0,
            link: 1,
            info: 1,
            entry_size: SYMBOL_SIZE,
            bytes: symbols,
        },
    ];

    let mut contents = Vec::new();
    let mut headers = vec![0; usize::from(SECTION_HEADER_SIZE)];
    for section in &sections {
        let padding = contents.len().next_multiple_of(8);
        contents.resize(padding, 0);
        headers.extend(name_at(section.name).to_le_bytes());
        headers.extend(section.kind.to_le_bytes());
        headers.extend(section.flags.to_le_bytes());
        headers.extend(0_u64.to_le_bytes());
        headers.extend(((HEADER_SIZE + contents.len()) as u64).to_le_bytes());
        headers.extend((section.bytes.len() as u64).to_le_bytes());
        headers.extend(section.link.to_le_bytes());
        headers.extend(section.info.to_le_bytes());
        headers.extend(8_u64.to_le_bytes());
        headers.extend(section.entry_size.to_le_bytes());
        contents.extend(&section.bytes);
    }
    let padding = contents.len().next_multiple_of(8);
    contents.resize(padding, 0);

    let mut object = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // ET_REL, EM_BPF, EV_CURRENT.
    object.extend(1_u16.to_le_bytes());
    object.extend(247_u16.to_le_bytes());
    object.extend(1_u32.to_le_bytes());
    // No entry point, no program headers; section headers behind the contents.
    object.extend([0; 16]);
    object.extend(((HEADER_SIZE + contents.len()) as u64).to_le_bytes());
    object.extend(0_u32.to_le_bytes());
    let count = sections.len() as u16 + 1;
    for half in [HEADER_SIZE as u16, 0, 0, SECTION_HEADER_SIZE, count, 1] {
        object.extend(half.to_le_bytes());
    }
    object.extend(contents);
    object.extend(headers);
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::testing::needs_namespaces;
    use crate::world::{HostNamespace, command};

    #[test]
    fn tc_loads_it() {
        if needs_namespaces("tc_loads_it") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let host = HostNamespace::create("h").unwrap();
        std::fs::write(folder.path().join("drop.o"), dropping_at_tc(80)).unwrap();
        for text in [
            "tc qdisc add dev lo clsact",
            "tc filter add dev lo ingress bpf da obj drop.o sec tc",
        ] {
            command::run_successfully(&host, folder.path(), text).unwrap();
        }
    }
    #[test]
    fn ip_attaches_it() {
        if needs_namespaces("ip_attaches_it") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let host = HostNamespace::create("h").unwrap();
        std::fs::write(folder.path().join("drop.o"), dropping_at_xdp(80)).unwrap();
        for text in [
            "ip link set dev lo xdpgeneric object drop.o section xdp",
            "ip link set dev lo xdpgeneric off",
        ] {
            command::run_successfully(&host, folder.path(), text).unwrap();
        }
    }
}
