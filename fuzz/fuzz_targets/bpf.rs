//! Any instructions on any frame: eight bytes for each instruction, the rest is the frame.
//!
//! `cargo fuzz run -s none bpf`

#![no_main]

use libfuzzer_sys::fuzz_target;
use transect_packet::LinkType;
use transect_packet::bpf::{Instruction, Program};

fuzz_target!(|data: &[u8]| {
    let Some((&count, rest)) = data.split_first() else {
        return;
    };
    let split = (usize::from(count) * 8).min(rest.len());
    let (code, frame) = rest.split_at(split);
    let instructions = code
        .chunks_exact(8)
        .map(|bytes| Instruction {
            code: u16::from_le_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        })
        .collect();
    let program = Program {
        link_type: LinkType::ETHERNET,
        instructions,
    };
    let _ = program.validate();
    let _ = program.matches(frame, frame.len() as u32);
});
