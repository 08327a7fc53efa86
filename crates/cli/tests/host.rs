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
    let report = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_valid(&report);
    report
}

/// Against the published schema.
#[track_caller]
fn assert_valid(report: &Value) {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/schema/transect.host.1.json"
    );
    let schema = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(report)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:?}\n{report}");
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
fn iperf3_measures_in_all_four_ways() {
    if !is_possible("iperf3_measures_in_all_four_ways", &["iperf3"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = at_device(
        "\"$TRANSECT\" host --tun t0 --address 10.9.0.2/24 --serve iperf3:5201 --json > served & host=$!
         sleep 0.5
         iperf3 -c 10.9.0.2 -t 1 -P 2 -J > to-model
         iperf3 -c 10.9.0.2 -t 1 -R -J > from-model
         kill -TERM $host; wait $host; cat served",
        folder.path(),
    );
    let served = report(&output);
    let service = &served["services"][0];
    // Two control connections, two streams there, one back.
    assert_eq!(service["accepted"], 5, "{served}");
    assert_eq!(
        (&service["open"], &service["failed"]),
        (&0.into(), &0.into())
    );
    for name in ["to-model", "from-model"] {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        let sums: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(sums["error"], Value::Null, "{text}");
        for sum in ["sum_sent", "sum_received"] {
            assert!(sums["end"][sum]["bytes"].as_u64() > Some(100_000), "{text}");
        }
    }

    for reverse in ["", "--reverse"] {
        let script = format!(
            "iperf3 -s -1 -B 10.9.0.1 > measured & server=$!
             sleep 0.5
             \"$TRANSECT\" host --tun t0 --address 10.9.0.2/24 --iperf3 10.9.0.1:5201 {reverse} --seconds 1 --json
             wait $server"
        );
        let report = report(&at_device(&script, folder.path()));
        let errand = &report["errands"][0];
        assert_eq!(errand["done"], true, "{report}");
        for bytes in ["sent", "received"] {
            assert!(errand[bytes].as_u64() > Some(100_000), "{report}");
        }
    }
}

#[test]
fn mariadbs_client_and_server_talk_to_the_models() {
    let programs = ["mariadb", "mariadbd"];
    if !is_possible("mariadbs_client_and_server_talk_to_the_models", &programs) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = at_device(
        "\"$TRANSECT\" host --tun t0 --address 10.9.0.2/24 --serve mysql:3306 --json > served & host=$!
         sleep 0.5
         mariadb --no-defaults --skip-ssl -h 10.9.0.2 -u root -N -B -e 'select 42' > selected
         kill -TERM $host; wait $host; cat served",
        folder.path(),
    );
    let served = report(&output);
    assert_eq!(served["services"][0]["accepted"], 1);
    let selected = std::fs::read_to_string(folder.path().join("selected")).unwrap();
    assert_eq!(selected, "42\n");

    let output = at_device(
        "mkdir data
         mariadbd --no-defaults --datadir=\"$PWD/data\" --user=root --socket=\"$PWD/socket\" --pid-file=\"$PWD/pid\" \
           --bind-address=10.9.0.1 --skip-name-resolve --skip-grant-tables --skip-networking=0 --skip-log-bin \
           --innodb-flush-method=nosync --innodb-use-native-aio=0 > log 2>&1 & server=$!
         for i in $(seq 300); do
           mariadb --no-defaults --socket=\"$PWD/socket\" -e 'select 1' > /dev/null 2>&1 && break
           sleep 0.1
         done
         \"$TRANSECT\" host --tun t0 --address 10.9.0.2/24 --mysql 10.9.0.1:3306 'select 7' --json > answered
         kill $server; wait $server; cat answered",
        folder.path(),
    );
    let report = report(&output);
    assert_eq!(report["errands"][0]["done"], true, "{report}");
    assert_eq!(report["left"]["sockets"], 0, "{report}");
}

#[test]
fn the_model_fetches_from_nginx() {
    if !is_possible("the_model_fetches_from_nginx", &["nginx"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data"), bytes(4 << 20)).unwrap();
    let configuration = "daemon off; master_process off; user root; pid pid; error_log stderr;
        events {} http { access_log off; server { listen 10.9.0.1:80; root .; } }";
    std::fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
    let output = at_device(
        "nginx -p . -c nginx.conf & server=$!
         sleep 0.5
         \"$TRANSECT\" host --tun t0 --address 10.9.0.2/24 --fetch http://10.9.0.1/data -o got --loss 1% --reorder 1% --json
         kill $server",
        folder.path(),
    );
    let report = report(&output);
    assert_eq!(
        std::fs::read(folder.path().join("got")).unwrap(),
        bytes(4 << 20)
    );
    assert_eq!(report["errands"][0]["received"], 4 << 20, "{report}");
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
    assert_valid(&report);
    assert_eq!(report["errands"][0]["error"], "fetching: ECONNREFUSED");
    assert_eq!(report["counters"]["TcpAttemptFails"], 1);
}
