//! Observations of real namespaces: what goes over a veth pair is captured once at each end with its direction, interfaces
//! that appear later are captured too, and nothing is left behind.

// A failed unwrap in a test is the test's own message; clippy sees only the functions marked #[test] as tests.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use transect_collect::{
    CommandOutput, Error, HostPlan, Namespace, NamespaceRef, Observation, Plan, Progress,
    StopSignal, in_namespace, run, run_with,
};
use transect_packet::{CaptureReader, FrameDirection, Network, Transport, dissect};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 8, 1));
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 8, 2));
const PORT: u16 = 5555;

/// Two namespaces with a veth pair between them; removed when dropped.
struct Hosts {
    names: [String; 2],
}

impl Hosts {
    /// `None`, with the reason printed, where namespaces may not be made. In CI that is a failure.
    fn make() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "this test needs root"
            );
            eprintln!("skipped: making network namespaces needs root");
            return None;
        }
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let prefix = format!("tc{}-{number}", std::process::id());
        let hosts = Hosts {
            names: [format!("{prefix}c"), format!("{prefix}s")],
        };
        let [client, server] = &hosts.names;
        ip(&format!("netns add {client}"));
        ip(&format!("netns add {server}"));
        ip(&format!(
            "-n {client} link add eth0 type veth peer name eth0 netns {server}"
        ));
        for (name, address) in [(client, CLIENT), (server, SERVER)] {
            ip(&format!("-n {name} address add {address}/24 dev eth0"));
            ip(&format!("-n {name} link set lo up"));
            ip(&format!("-n {name} link set eth0 up"));
        }
        Some(hosts)
    }

    fn plan(&self, folder: &Path) -> Plan {
        let [client, server] = &self.names;
        let hosts = [format!("client={client}"), format!("server={server}")];
        let mut plan = Plan::new(HostPlan::parse_all(&hosts).unwrap(), folder.to_owned());
        plan.filter = Some(format!("udp port {PORT}"));
        plan.settle = Duration::ZERO;
        plan
    }

    fn namespace(&self, index: usize) -> Arc<Namespace> {
        let name = self.names[index].clone();
        Arc::new(NamespaceRef::Name(name).open().unwrap())
    }

    /// A socket in one of the namespaces.
    fn socket(&self, index: usize, address: IpAddr, port: u16) -> UdpSocket {
        let bound = SocketAddr::from((address, port));
        let socket = in_namespace(&self.namespace(index), move || {
            Ok(UdpSocket::bind(bound).unwrap())
        })
        .unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        socket
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            // May not exist, when making it was what failed.
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}

/// Sends `count` datagrams and waits until each has arrived.
fn send(from: &UdpSocket, to: &UdpSocket, count: usize) {
    let target = to.local_addr().unwrap();
    let mut buffer = [0; 100];
    for number in 0..count {
        from.send_to(&[b'x'; 40][..=number.min(39)], target)
            .unwrap();
        to.recv_from(&mut buffer).unwrap();
    }
}

fn capture_of(folder: &Path, label: &str) -> PathBuf {
    folder.join("hosts").join(label).join("capture.pcapng")
}

/// The UDP datagrams in a capture: interface, direction, destination port; in the file's order, which is checked.
fn datagrams(folder: &Path, label: &str) -> Vec<(String, FrameDirection, u16)> {
    let file = File::open(capture_of(folder, label)).unwrap();
    let mut reader = CaptureReader::new(file, label).unwrap();
    let mut found = Vec::new();
    let mut last = transect_path::Timestamp::MIN;
    while let Some(frame) = reader.next_frame().unwrap() {
        assert!(frame.time >= last, "frames stand in the order of time");
        last = frame.time;
        let direction = frame.direction.unwrap();
        let interface = frame.interface;
        let dissection = dissect(frame.link, frame.data, frame.original_length);
        if let Network::Ip(header) = dissection.network
            && let Transport::Udp(udp) = header.transport
        {
            found.push((interface, direction, udp.destination_port));
        }
    }
    let name = |index: usize| reader.interfaces()[index].name.clone().unwrap();
    found
        .into_iter()
        .map(|(interface, direction, port)| (name(interface), direction, port))
        .collect()
}

fn count(found: &[(String, FrameDirection, u16)], way: FrameDirection) -> usize {
    found
        .iter()
        .filter(|(interface, direction, _)| interface == "eth0" && *direction == way)
        .count()
}

#[test]
fn each_frame_is_captured_once_at_each_end_with_its_direction() {
    let Some(hosts) = Hosts::make() else { return };
    let folder = tempfile::tempdir().unwrap();
    let client = hosts.socket(0, CLIENT, 0);
    let server = hosts.socket(1, SERVER, PORT);
    let other = hosts.socket(1, SERVER, PORT + 1);

    let observation = Observation::start(hosts.plan(folder.path())).unwrap();
    assert_eq!(
        observation.watching()[0],
        (
            "client".to_owned(),
            vec!["lo".to_owned(), "eth0".to_owned()]
        )
    );
    send(&client, &server, 5);
    send(&server, &client, 3);
    send(&client, &other, 2);
    let summary = observation.stop().unwrap();

    for (label, out, incoming) in [("client", 5, 3), ("server", 3, 5)] {
        let found = datagrams(folder.path(), label);
        assert_eq!(found.len(), 8, "{label}: {found:?}");
        assert_eq!(count(&found, FrameDirection::Out), out, "{label}");
        assert_eq!(count(&found, FrameDirection::In), incoming, "{label}");
    }
    for host in &summary.hosts {
        assert_eq!(host.unseen, [], "{}", host.label);
        let eth0 = host
            .capture
            .interfaces
            .iter()
            .find(|interface| interface.name == "eth0")
            .unwrap();
        // Neighbour discovery is captured besides.
        assert!(eth0.frames >= 8, "{eth0:?}");
        assert_eq!(eth0.dropped, 0);
        assert_eq!(eth0.received, eth0.frames);
    }
}

#[test]
fn without_a_filter_everything_is_captured_and_loopback_once() {
    let Some(hosts) = Hosts::make() else { return };
    let folder = tempfile::tempdir().unwrap();
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let (one, two) = (
        hosts.socket(0, localhost, 0),
        hosts.socket(0, localhost, PORT),
    );
    let mut plan = hosts.plan(folder.path());
    plan.filter = None;
    let observation = Observation::start(plan).unwrap();
    send(&one, &two, 4);
    observation.stop().unwrap();
    let found = datagrams(folder.path(), "client");
    let on_lo = found.iter().filter(|(interface, ..)| interface == "lo");
    let ways: Vec<_> = on_lo.map(|(_, direction, _)| *direction).collect();
    assert_eq!(ways, [FrameDirection::In; 4]);
}

#[test]
fn an_interface_that_appears_later_is_captured_too() {
    let Some(hosts) = Hosts::make() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [client, server] = &hosts.names;
    let observation = Observation::start(hosts.plan(folder.path())).unwrap();
    ip(&format!(
        "-n {client} link add late type veth peer name late netns {server}"
    ));
    let addresses = [[10, 9, 7, 1], [10, 9, 7, 2]].map(|octets| IpAddr::V4(octets.into()));
    for (name, address) in hosts.names.iter().zip(addresses) {
        ip(&format!("-n {name} address add {address}/24 dev late"));
        ip(&format!("-n {name} link set late up"));
    }
    for index in 0..2 {
        wait_for_taps(&hosts.namespace(index), |taps| taps == 5);
    }
    let from = hosts.socket(0, addresses[0], 0);
    let to = hosts.socket(1, addresses[1], PORT);
    send(&from, &to, 3);
    // New links and addresses are changes of the configuration, which is read again.
    let deadline = Instant::now() + Duration::from_secs(10);
    while !phases(folder.path(), "client").contains(&"change".to_owned()) {
        assert!(
            Instant::now() < deadline,
            "no reading because of the change"
        );
        std::thread::yield_now();
    }
    let summary = observation.stop().unwrap();
    for (label, way) in [
        ("client", FrameDirection::Out),
        ("server", FrameDirection::In),
    ] {
        let found = datagrams(folder.path(), label);
        let late: Vec<_> = found
            .iter()
            .map(|(interface, direction, _)| (interface.as_str(), *direction))
            .collect();
        assert_eq!(late, [("late", way); 3], "{label}");
    }
    // It was down for a moment; that is no lasting gap.
    assert_eq!(summary.hosts[0].unseen, []);
}

/// Waits until the right number of packet sockets listens in the namespace: two for each interface, one for the loopback
/// interface. (A program that another test is just starting holds copies of them for a moment.)
fn wait_for_taps(namespace: &Arc<Namespace>, right: impl Fn(usize) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let taps = in_namespace(namespace, || {
            let table = std::fs::read_to_string("/proc/thread-self/net/packet").unwrap();
            // "Running": it is attached to its interface.
            let running = |line: &&str| line.split_whitespace().nth(5) == Some("1");
            Ok(table.lines().skip(1).filter(running).count())
        })
        .unwrap();
        if right(taps) {
            return;
        }
        assert!(Instant::now() < deadline, "{taps} taps");
        std::thread::yield_now();
    }
}

fn phases(folder: &Path, label: &str) -> Vec<String> {
    let readings = folder.join("hosts").join(label).join("readings");
    let mut folders: Vec<_> = std::fs::read_dir(readings)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    // A reading without a record is just being written.
    folders
        .iter()
        .map(|folder| folder.join("reading.json"))
        .filter(|record| record.exists())
        .map(|record| json(&record)["phase"].as_str().unwrap().to_owned())
        .collect()
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_run_leaves_a_complete_bundle() {
    let Some(hosts) = Hosts::make() else { return };
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    std::fs::write(&log, "old\n").unwrap();
    let bundle = folder.path().join("bundle");
    let mut plan = hosts.plan(&bundle);
    plan.logs = vec![transect_collect::LogPlan {
        label: "server".to_owned(),
        path: log.clone(),
    }];
    plan.command_output = CommandOutput::Kept;
    let script = format!(
        "echo out; echo err >&2; echo new >> {}; exit 7",
        log.display()
    );
    plan.command = Some(["sh", "-c", &script].map(str::to_owned).to_vec());
    let summary = run(plan, &StopSignal::new().unwrap()).unwrap();
    assert_eq!(summary.command.unwrap().status, Some(7));
    assert!(!summary.interrupted);

    let text = |path: &str| std::fs::read_to_string(bundle.join(path)).unwrap();
    assert_eq!(text("command.stdout"), "out\n");
    assert_eq!(text("command.stderr"), "err\n");
    assert_eq!(text("hosts/server/logs/access.log"), "new\n");
    let manifest = json(&bundle.join("manifest.json"));
    assert_eq!(manifest["format"], "transect.bundle/1");
    assert_eq!(manifest["filter"], format!("udp port {PORT}"));
    assert_eq!(manifest["programs"][0]["link_type"], 1);
    assert_eq!(manifest["command"]["status"], 7);
    assert_eq!(manifest["hosts"][0]["label"], "client");
    assert_eq!(manifest["hosts"][0]["netns"], hosts.names[0]);
    assert_eq!(manifest["hosts"][1]["unseen"], serde_json::json!([]));
    let [started, ended] = ["started", "ended"].map(|key| manifest[key].as_u64().unwrap());
    assert!(started < ended);
    for label in ["client", "server"] {
        let phases = phases(&bundle, label);
        assert_eq!(phases.first().unwrap(), "before");
        assert_eq!(phases.last().unwrap(), "after");
        let reading = bundle.join(format!("hosts/{label}/readings/000001"));
        assert!(reading.join("net/snmp").is_file());
    }
}

#[test]
fn asked_to_stop_it_ends_and_still_gives_the_result() {
    let Some(hosts) = Hosts::make() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut plan = hosts.plan(folder.path());
    plan.command_output = CommandOutput::Kept;
    plan.command = Some(vec!["sleep".to_owned(), "1000".to_owned()]);
    let stop = StopSignal::new().unwrap();
    let raise = stop.clone();
    let mut seen = Vec::new();
    let summary = run_with(plan, &stop, &mut |progress| {
        if progress == Progress::CommandStarted {
            raise.raise();
        }
        seen.push(progress);
    })
    .unwrap();
    assert!(summary.interrupted);
    assert_eq!(summary.command.unwrap().status, Some(128 + 15));
    assert_eq!(
        seen[1..],
        [
            Progress::CommandStarted,
            Progress::CommandEnded(Some(128 + 15)),
            Progress::Finishing
        ]
    );
    assert_eq!(phases(folder.path(), "client").last().unwrap(), "after");
}

#[test]
fn asked_twice_it_stops_at_once_and_leaves_no_process() {
    let Some(hosts) = Hosts::make() else { return };
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let mut plan = hosts.plan(&folder.path().join("bundle"));
    plan.command_output = CommandOutput::Kept;
    // Deaf to SIGTERM, so that only being killed ends it. The pipe tells when it has got so far.
    let script = format!(
        "trap '' TERM; echo $$ > {0}.new; mv {0}.new {0}; while :; do sleep 1000; done",
        pid_file.display()
    );
    plan.command = Some(["sh", "-c", &script].map(str::to_owned).to_vec());
    let stop = StopSignal::new().unwrap();
    let raise = stop.clone();
    let error = run_with(plan, &stop, &mut |progress| {
        if progress == Progress::CommandStarted {
            while !pid_file.exists() {
                std::thread::yield_now();
            }
            raise.raise();
            raise.raise();
        }
    })
    .unwrap_err();
    assert!(matches!(error, Error::Stopped), "{error}");
    let mut pid = String::new();
    File::open(&pid_file)
        .unwrap()
        .read_to_string(&mut pid)
        .unwrap();
    let left = Path::new("/proc").join(pid.trim());
    assert!(!left.exists(), "{} still runs", left.display());
    for index in 0..2 {
        wait_for_taps(&hosts.namespace(index), |taps| taps == 0);
    }
}

#[test]
fn an_interface_that_goes_down_and_away_leaves_no_gap() {
    let Some(hosts) = Hosts::make() else { return };
    let folder = tempfile::tempdir().unwrap();
    let client = &hosts.names[0];
    let (from, to) = (hosts.socket(0, CLIENT, 0), hosts.socket(1, SERVER, PORT));
    let observation = Observation::start(hosts.plan(folder.path())).unwrap();
    send(&from, &to, 1);
    ip(&format!("-n {client} link set eth0 down"));
    wait_for_taps(&hosts.namespace(0), |taps| taps == 1);
    ip(&format!("-n {client} link set eth0 up"));
    wait_for_taps(&hosts.namespace(0), |taps| taps == 3);
    send(&from, &to, 2);
    ip(&format!("-n {client} link del eth0"));
    wait_for_taps(&hosts.namespace(0), |taps| taps == 1);
    let summary = observation.stop().unwrap();
    let found = datagrams(folder.path(), "client");
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(summary.hosts[0].unseen, []);
    let names: Vec<_> = summary.hosts[0]
        .capture
        .interfaces
        .iter()
        .map(|interface| interface.name.as_str())
        .collect();
    assert_eq!(names, ["lo", "eth0"]);
}

#[test]
fn one_namespace_is_not_observed_twice() {
    let Some(hosts) = Hosts::make() else { return };
    let folder = tempfile::tempdir().unwrap();
    let name = &hosts.names[0];
    let twice = [format!("one={name}"), format!("two=/run/netns/{name}")];
    let plan = Plan::new(HostPlan::parse_all(&twice).unwrap(), folder.path().into());
    let error = Observation::start(plan).unwrap_err();
    assert!(error.is_usage());
    assert_eq!(
        error.to_string(),
        format!(
            "\"{name}\" and \"/run/netns/{name}\" are the same network namespace: name it once"
        )
    );
}

#[test]
fn without_the_right_to_capture_the_rest_is_done() {
    let Some(hosts) = Hosts::make() else { return };
    let folder = tempfile::tempdir().unwrap();
    let plan = hosts.plan(folder.path());
    // Capabilities belong to threads, and threads inherit them from the one that starts them.
    let summary = std::thread::spawn(move || {
        let mut sets = rustix::thread::capabilities(None).unwrap();
        sets.effective -= rustix::thread::CapabilitySet::NET_RAW;
        rustix::thread::set_capabilities(None, sets).unwrap();
        Observation::start(plan).unwrap().stop().unwrap()
    })
    .join()
    .unwrap();
    let unseen = &summary.hosts[0].unseen;
    let capture = unseen
        .iter()
        .find(|unseen| unseen.meter == "capture/*")
        .unwrap();
    assert_eq!(capture.why, "needs CAP_NET_RAW: run as root");
    assert_eq!(phases(folder.path(), "client"), ["before", "after"]);
    assert_eq!(datagrams(folder.path(), "client"), []);
}
