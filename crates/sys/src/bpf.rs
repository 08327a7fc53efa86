//! The bpf(2) commands that ask about a loaded program (include/uapi/linux/bpf.h).
//!
//! Only commands that read are here; loading and attaching is not.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// `BPF_TAG_SIZE` and `BPF_OBJ_NAME_LEN`.
const TAG: usize = 8;
const NAME: usize = 16;

/// What the kernel says of a loaded BPF program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BpfProgram {
    /// The name that its loader gave it; empty when it gave none. At most 15 characters.
    pub name: String,
    /// A hash of its instructions, by which copies of one program are known.
    pub tag: [u8; TAG],
    /// Whether it was compiled to machine code.
    pub jited: bool,
}

/// `union bpf_attr` for `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoByFd {
    fd: u32,
    length: u32,
    info: u64,
}

/// `struct bpf_prog_info` as far as its name, which every kernel since 4.15 has.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    tag: [u8; TAG],
    jited_length: u32,
    translated_length: u32,
    jited: u64,
    translated: u64,
    load_time: u64,
    created_by_uid: u32,
    map_count: u32,
    map_ids: u64,
    name: [u8; NAME],
}

/// Asks for a program by its id (ids are the machine's, whatever the namespace).
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN`, `ENOENT` when there is no such program (any more).
pub fn bpf_program(id: u32) -> io::Result<BpfProgram> {
    let by_id = ById {
        id,
        next_id: 0,
        open_flags: 0,
    };
    // SAFETY: the structure has the layout and the size that the command reads, and nothing is written to it.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_GET_FD_BY_ID,
            &raw const by_id,
            size_of::<ById>(),
        )
    };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for this process, and nobody else knows it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = Info::default();
    let mut info_by_fd = InfoByFd {
        fd: fd.as_raw_fd().unsigned_abs(),
        length: u32::try_from(size_of::<Info>()).unwrap_or(0),
        info: (&raw mut info) as u64,
    };
    // SAFETY: the kernel writes at most `length` bytes to `info`, which lives on and has that size, and how many it wrote to
    // `length`; the lengths and pointers in `info` are zero, so that it writes nowhere else.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_GET_INFO_BY_FD,
            &raw mut info_by_fd,
            size_of::<InfoByFd>(),
        )
    };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    let end = info.name.iter().position(|byte| *byte == 0);
    let name = info.name.get(..end.unwrap_or(NAME)).unwrap_or_default();
    Ok(BpfProgram {
        name: String::from_utf8_lossy(name).into_owned(),
        tag: info.tag,
        jited: info.jited_length > 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_PROG_TYPE_XDP: u32 = 6;

    /// `union bpf_attr` for `BPF_PROG_LOAD`, as far as the name.
    #[repr(C)]
    #[derive(Default)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
        name: [u8; NAME],
    }

    /// Loads `return XDP_PASS`; None where that is not permitted.
    fn load(name: &str) -> Option<OwnedFd> {
        // BPF_ALU64 | BPF_MOV | BPF_K into R0, BPF_EXIT.
        let program: [u64; 2] = [0x0000_0002_0000_00b7, 0x0000_0000_0000_0095];
        let mut load = Load {
            kind: BPF_PROG_TYPE_XDP,
            count: 2,
            instructions: program.as_ptr() as u64,
            license: c"MIT".as_ptr() as u64,
            ..Load::default()
        };
        load.name[..name.len()].copy_from_slice(name.as_bytes());
        // SAFETY: the structure has the layout that the command reads; what it points to lives until the end of the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_PROG_LOAD,
                &raw const load,
                size_of::<Load>(),
            )
        };
        if fd < 0 {
            return None;
        }
        // SAFETY: the kernel has just opened it for this process.
        Some(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) })
    }

    /// The id, as the program's file says.
    fn id(fd: &OwnedFd) -> u32 {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
        let text = text.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
        line.unwrap().trim().parse().unwrap()
    }

    #[test]
    fn a_program_says_its_name_and_one_that_went_is_an_error() {
        let Some(fd) = load("let_pass") else {
            eprintln!("skipped: BPF programs cannot be loaded here");
            return;
        };
        let id = id(&fd);
        let program = bpf_program(id).unwrap();
        assert_eq!(program.name, "let_pass");
        let tag = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
        let hex: String = program
            .tag
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert!(tag.contains(&hex), "{tag}");
        drop(fd);
        // Programs are freed after a grace period of RCU.
        let gone = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            bpf_program(id).is_err_and(|error| error.raw_os_error() == Some(libc::ENOENT))
        });
        assert!(gone);
    }
}
