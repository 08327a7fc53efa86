//! The model world from outside: experiments end as their files say, without rights, and a run is a pure function of the file.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of these tests are tests, too"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use transect_lab::{ExperimentResult, RunOptions, Selection, WorldKind, run};

fn run_in_model(names: &[&str], keep: Option<&Path>) -> Vec<ExperimentResult> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let options = RunOptions {
        world: WorldKind::Model,
        jobs: 1,
        keep: keep.map(Path::to_owned),
        ..RunOptions::default()
    };
    run(&Selection::Named(names), &options, &mut |_| {}).unwrap()
}

/// An experiment of our own, in a file.
fn run_file(name: &str, text: &str) -> ExperimentResult {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let mut results = run_in_model(&[path.to_str().unwrap()], None);
    results.swap_remove(0)
}

#[test]
fn the_seeds_experiments_end_as_the_source_says() {
    let results = run_in_model(
        &[
            "seed-3.1-exact",
            "seed-3.2-exact",
            "seed-4.3-default-retries",
        ],
        None,
    );
    assert_eq!(results.len(), 6);
    for result in results {
        assert!(result.passed, "{}: {:?}", result.name, result.problems);
        assert!(result.virtual_seconds.unwrap() < 150.0);
    }
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(one) = folders.pop() {
        for entry in std::fs::read_dir(&one).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                all.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    all
}

#[test]
fn the_same_experiment_twice_leaves_the_same_bundle_byte_for_byte() {
    let runs = [(); 2].map(|()| {
        let folder = tempfile::tempdir().unwrap();
        let results = run_in_model(
            &["healthy-lossy.ipv4", "seed-4.3-answer-lost.nft.ipv6"],
            Some(folder.path()),
        );
        assert!(results.iter().all(|result| result.bundle.is_some()));
        files(folder.path())
    });
    let [first, second] = runs;
    assert!(first.len() > 100, "{} files", first.len());
    assert_eq!(
        first.keys().collect::<Vec<_>>(),
        second.keys().collect::<Vec<_>>()
    );
    for (name, bytes) in &first {
        assert_eq!(Some(bytes), second.get(name), "{}", name.display());
    }
}

const PAIR: &str = r#"
summary = "two hosts"
entries = []
[matrix]
family = ["ipv4"]
[hosts.client]
[hosts.server]
[[links]]
ends = ["client:eth0", "server:eth0"]
ipv4 = ["172.17.0.2/16", "172.17.0.3/16"]
CONDITIONS
[[prepare]]
host = "server"
do.tcp_listen = { port = 80 }
[[steps]]
host = "client"
STEP
[observe]
hosts = ["client", "server"]
filter = "tcp port 80"
[[expect]]
outcome = "delivered"
[twin]
none = true
"#;

fn pair(conditions: &str, step: &str) -> ExperimentResult {
    run_file(
        "pair.toml",
        &PAIR.replace("CONDITIONS", conditions).replace("STEP", step),
    )
}

#[test]
fn a_slow_and_lossy_link_takes_its_time_and_tcp_repairs_what_it_loses() {
    let exchange = r#"do.exchange = { to = "${server.url}:80", connections = 3, bytes = 200000 }"#;
    let quick = pair("", exchange);
    assert!(quick.passed, "{:?}", quick.problems);
    let slow = pair(
        r#"conditions = { delay = "20ms", rate = 10000000, loss = 0.02, reorder = 0.01, corruption = 0.002, duplication = 0.01 }"#,
        exchange,
    );
    assert!(slow.passed, "{:?}", slow.problems);
    // Three handshakes, and 600 kB each way at 10 Mbit/s, chunk by chunk.
    assert!(slow.virtual_seconds.unwrap() > quick.virtual_seconds.unwrap() + 1.0);
    assert!(slow.got.iter().any(|verdict| !verdict.recovered.is_empty()));
}

#[test]
fn what_the_model_does_not_know_is_said() {
    for (step, part) in [
        (
            r#"do.run = { command = "ip rule add from all lookup 7" }"#,
            "the model world does not know \"ip rule add",
        ),
        (
            r#"do.run = { command = "tcpdump -i any" }"#,
            "no program \"tcpdump\"",
        ),
        (
            r#"do.run = { command = "sysctl -w net.ipv4.tcp_telepathy=1" }"#,
            "net.ipv4.tcp_telepathy",
        ),
        (
            r#"do.wait = { for.socket = { port = 80, state = "dreaming" } }"#,
            "unknown TCP state \"dreaming\"",
        ),
        (
            r#"do.wait = { for.counter = { name = "TcpOutRsts", at_least = 1 }, timeout = "3s" }"#,
            "did not happen within 3s",
        ),
    ] {
        let result = pair("", step);
        assert!(!result.passed);
        let problem = result.problems.join("\n");
        assert!(
            problem.contains("step 1: ") && problem.contains(part),
            "{problem}"
        );
    }
}

#[test]
fn a_storm_of_frames_stops_at_its_limit() {
    let mut text = String::from(
        "summary = \"three links between two switches double each broadcast at each hop\"
entries = [\"A9\"]
[hosts.client]
[hosts.a]
[hosts.b]
[[links]]
ends = [\"client:eth0\", \"a:port0\"]
ipv4 = [\"172.17.0.2/16\", \"-\"]
",
    );
    for port in ["port1", "port2", "port3"] {
        text += &format!(
            "[[links]]
ends = [\"a:{port}\", \"b:{port}\"]
ipv4 = [\"-\", \"-\"]
"
        );
    }
    text += "[[bridges]]
host = \"a\"
name = \"br0\"
ports = [\"port0\", \"port1\", \"port2\", \"port3\"]
[[bridges]]
host = \"b\"
name = \"br0\"
ports = [\"port1\", \"port2\", \"port3\"]
[[steps]]
host = \"client\"
do.connect = { to = \"172.17.0.3:80\", timeout = \"3s\", end = \"timeout\" }
[observe]
hosts = [\"client\"]
filter = \"tcp port 80\"
[[expect]]
outcome = \"lost\"
";
    let result = run_file("storm.toml", &text);
    assert!(!result.passed);
    let problems = result.problems.join("\n");
    assert!(
        problems.contains("the world's limit of 50000 frames under way at once is reached"),
        "{problems}"
    );
}
