//! Any bytes as files of a host: loose, as a bundle's folder, or as an archive. Whatever they are, loading ends, and nothing
//! outside of the folder is touched.
//!
//! The first byte chooses: 0 a folder, 1 a bundle, 2 an archive. Folder and bundle are a row of files, each `NAME SIZE BYTES`:
//! one byte that chooses the name, two for the size (little endian).
//!
//! `cargo fuzz run -s none load`

#![no_main]

use std::fs;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use transect_evidence::{Input, LoadOptions, Role, load};

const NAMES: [&str; 16] = [
    "manifest.json",
    "hosts/a/capture.pcapng",
    "hosts/a/readings/000000/reading.json",
    "hosts/a/readings/000000/net/snmp",
    "hosts/a/readings/000000/sockets.txt",
    "hosts/a/readings/000000/nft/ruleset.json",
    "hosts/a/readings/000001/reading.json",
    "hosts/a/readings/000001/net/snmp",
    "hosts/a/readings/000001/sockets.txt",
    "hosts/a/readings/000001/unseen.json",
    "hosts/a/logs/access.log",
    "hosts/a/logs/access.json",
    "server.before.txt",
    "server.after.txt",
    "client.pcap",
    "command.stdout",
];

const MANIFEST: &str = r#"{"format":"transect.bundle/1","transect":"0.1.0","created":1,"filter":null,"programs":[],
"command":null,"started":1,"ended":9,"hosts":[{"label":"a","netns":"a","kernel":"6.18","hostname":"a","clock":"realtime",
"hz":null,"unseen":[]}]}"#;

fuzz_target!(|data: &[u8]| {
    let Some((&shape, mut rest)) = data.split_first() else {
        return;
    };
    let Ok(folder) = tempfile::tempdir() else {
        return;
    };
    let root = folder.path().join("input");
    if shape % 3 == 2 {
        let _ = fs::write(&root, rest);
    } else {
        if shape % 3 == 1 {
            write(&root, NAMES[0], MANIFEST.as_bytes());
        }
        while let [name, low, high, after @ ..] = rest {
            let size = usize::from(u16::from_le_bytes([*low, *high])).min(after.len());
            let (bytes, next) = after.split_at(size);
            write(&root, NAMES[usize::from(*name) % NAMES.len()], bytes);
            rest = next;
        }
    }
    let input = Input {
        label: None,
        role: Role::Any,
        path: root,
    };
    let _ = load(&[input], &LoadOptions::default());
    // What was named lies alone where it was: nothing was unpacked beside it.
    let beside = fs::read_dir(folder.path()).map_or(0, Iterator::count);
    assert!(beside <= 1, "{beside} entries");
});

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    if let Some(parent) = path.parent() {
        let _ = fs::create_dir_all(parent);
    }
    let _ = fs::write(path, bytes);
}
