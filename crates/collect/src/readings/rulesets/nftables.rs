//! The rules of nftables as netlink messages (include/uapi/linux/netfilter/nf_tables.h): enough to know which tables there
//! are, and whether anything, counters included, is different from the last time.

use std::io;
use std::path::Path;

use super::super::netlink::{Connection, NLM_F_DUMP, attribute, be32_at, text, u8_at};
use super::super::proc;

/// NFNL_SUBSYS_NFTABLES in the upper byte.
const GET_TABLE: u16 = 0x0a01;
const GET_CHAIN: u16 = 0x0a04;
const GET_RULE: u16 = 0x0a07;
const GET_SET: u16 = 0x0a0a;
const GET_OBJECT: u16 = 0x0a13;
/// NFT_SET_TIMEOUT, NFT_SET_EVAL, NFT_SET_EXPR: packets change the elements, or elements count packets.
const CHANGED_BY_PACKETS: u32 = 0x10 | 0x20 | 0x100;

/// One table.
pub(super) struct Table {
    /// NFPROTO_*.
    pub(super) family: u8,
    /// Its name.
    pub(super) name: String,
}

/// All rules of a namespace.
#[derive(Default)]
pub(super) struct Dump {
    /// The tables.
    pub(super) tables: Vec<Table>,
    /// Tables, chains, rules, sets and objects as the kernel sent them. Equal bytes mean equal rules and counters.
    pub(super) bytes: Vec<u8>,
    /// Equal bytes mean nothing: a set has elements that packets change, or the dump is not whole.
    pub(super) volatile: bool,
}

impl Dump {
    /// Asks the kernel. Without tables it asks nothing more.
    pub(super) fn take(connection: &mut Connection) -> io::Result<Self> {
        let mut dump = Dump::default();
        for kind in [GET_TABLE, GET_CHAIN, GET_RULE, GET_SET, GET_OBJECT] {
            // struct nfgenmsg: all families.
            let answer = connection.ask(kind, NLM_F_DUMP, &[0; 4])?;
            dump.volatile |= answer.incomplete.is_some();
            for (_, payload) in answer.messages() {
                let body = payload.get(4..).unwrap_or_default();
                if kind == GET_TABLE {
                    dump.tables.push(Table {
                        family: u8_at(payload, 0).unwrap_or_default(),
                        name: attribute(body, 1).map(text).unwrap_or_default(),
                    });
                } else if kind == GET_SET {
                    let flags = attribute(body, 3).and_then(|value| be32_at(value, 0));
                    dump.volatile |= flags.unwrap_or_default() & CHANGED_BY_PACKETS != 0;
                }
                dump.bytes.extend_from_slice(payload);
            }
            if dump.tables.is_empty() {
                break;
            }
        }
        Ok(dump)
    }
}

/// Whether nftables can be asked without loading its module, which would change the host.
///
/// Loaded modules stand in `/proc/modules`. Built into the kernel it stands in `modules.builtin`; and where the kernel has
/// no folder of modules, there is nothing that could be loaded.
pub(in super::super) fn may_be_asked() -> bool {
    let names = |line: &str| line.split([' ', '/', '.']).any(|word| word == "nf_tables");
    let listed = |path: &str| {
        proc::read_file(path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).lines().any(names))
    };
    if listed("/proc/modules") {
        return true;
    }
    let release = rustix::system::uname();
    let folder = format!("/lib/modules/{}", release.release().to_string_lossy());
    !Path::new(&folder).exists() || listed(&format!("{folder}/modules.builtin"))
}
