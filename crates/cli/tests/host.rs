//! `host` against this kernel's own programs: a TUN device in a network namespace of the test's own, which ends with the
//! processes in it.

#![cfg(feature = "live")]
// Helpers of tests fail by panicking; clippy's own exception covers test functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use snapbox::cmd::cargo_bin;

/// Whether TUN devices can be made in new namespaces here, and the programs are there. Where not, the test is skipped and says so.
fn is_possible(test: &str, programs: &[&str]) -> bool {
    let mut script = "ip tuntap add dev t0 mode tun".to_owned();
    for program in programs {
        script.push_str(" && command -v ");
        script.push_str(program);
    }
    let made = Command::new("unshare")
        .args(["--net", "sh", "-c", &script])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let possible = made.is_ok_and(|status| status.success());
    if !possible {
        eprintln!(
            "skipped: {test}: TUN devices in namespaces are not permitted (run as root), or one of {programs:?} is not there"
        );
    }
    possible
}

/// A shell in a new namespace with the device `t0`, the kernel's end at 10.9.0.1; `$TRANSECT` is the program.
fn at_device(script: &str, folder: &Path) -> Output {
    let prepared = "ip link set lo up; ip tuntap add dev t0 mode tun; ip address add 10.9.0.1/24 dev t0; ip link set t0 up";
    Command::new("unshare")
        .args(["--net", "sh", "-euc"])
        .arg(format!("{prepared}\n{script}"))
        .env("TRANSECT", cargo_bin!("transect"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Bytes that repeat nowhere within them.
fn bytes(count: u32) -> Vec<u8> {
    (0..count / 4).flat_map(u32::to_be_bytes).collect()
}

#[track_caller]
fn report(output: &Output) -> Value {
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let stdout = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

#[test]
fn curl_fetches_from_the_model_over_a_wire_that_loses_and_reorders() {
    if !is_possible("curl_fetches_from_the_model", &["curl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data"), bytes(4 << 20)).unwrap();
    let output = at_device(
        "\"$TRANSECT\" host --tun t0 --address 10.9.0.2/24 --serve http:80:. --loss 1% --reorder 1% --json &
         host=$!
         curl -s --retry 20 --retry-connrefused --retry-delay 1 --max-time 100 -o got http://10.9.0.2/data
         kill -TERM $host; wait $host",
        folder.path(),
    );
    let report = report(&output);
    assert_eq!(
        std::fs::read(folder.path().join("got")).unwrap(),
        bytes(4 << 20)
    );
    assert_eq!(report["schema"], "transect.host/1");
    assert_eq!(report["services"][0]["open"], 0);
    assert_eq!(report["services"][0]["failed"], 0);
    assert!(
        report["counters"]["TcpRetransSegs"].as_u64() > Some(0),
        "{report}"
    );
}

#[test]
fn the_model_sends_to_a_listener_of_the_kernel_and_takes_its_answer() {
    if !is_possible("the_model_sends", &["nc"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data"), bytes(1 << 20)).unwrap();
    std::fs::write(folder.path().join("answer"), "heard\n").unwrap();
    let output = at_device(
        "nc -l -N 10.9.0.1 9000 < answer > got & listener=$!
         sleep 0.3
         \"$TRANSECT\" host --tun t0 --address 10.9.0.2/24 --loss 1% --send 10.9.0.1:9000 data -o back --json
         wait $listener",
        folder.path(),
    );
    let report = report(&output);
    assert_eq!(
        std::fs::read(folder.path().join("got")).unwrap(),
        bytes(1 << 20)
    );
    assert_eq!(
        std::fs::read(folder.path().join("back")).unwrap(),
        b"heard\n"
    );
    assert_eq!(report["errands"][0]["done"], true);
    assert_eq!(report["left"]["sockets"], 0, "{report}");
}

#[test]
fn a_refused_client_is_a_failure_that_says_why() {
    if !is_possible("a_refused_client", &[]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = at_device(
        "exec \"$TRANSECT\" host --tun t0 --address 10.9.0.2/24 --fetch http://10.9.0.1:81/ --json",
        folder.path(),
    );
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["errands"][0]["error"], "fetching: ECONNREFUSED");
    assert_eq!(report["counters"]["TcpAttemptFails"], 1);
}
