//! `transect host`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use super::{Share, Span, share, span};

pub(crate) const EXAMPLES: &str = "\
Examples:
  ip tuntap add dev t0 mode tun && ip addr add 10.9.0.1/24 dev t0 && ip link set t0 up
  transect host --tun t0 --address 10.9.0.2/24 --serve http:8080:/srv/www --serve echo:7 &
  curl http://10.9.0.2:8080/index.html
  transect host --tap t1 --address 10.9.1.2/24 --fetch http://10.9.1.1/big.bin -o big.bin --loss 1% --reorder 1%

Exit status: 0 answered, 1 failed or a client failed, 2 wrong usage.";

/// What is attached, and what it does.
#[derive(Debug, Clone, Args)]
pub(crate) struct HostArgs {
    /// TUN device to attach to: IP packets
    #[arg(long, value_name = "NAME", required_unless_present = "tap")]
    pub(crate) tun: Option<String>,

    /// TAP device to attach to: Ethernet frames, with ARP and neighbour discovery
    #[arg(long, value_name = "NAME", conflicts_with = "tun")]
    pub(crate) tap: Option<String>,

    /// Network namespace of the device; default: the one in which transect was started
    #[arg(long, value_name = "NAME|pid:N|/PATH")]
    pub(crate) netns: Option<String>,

    /// Address of the host with its prefix length; again for more
    #[arg(long, value_name = "ADDRESS/LENGTH", required = true)]
    pub(crate) address: Vec<String>,

    /// Default gateway; again for the other family
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Vec<IpAddr>,

    /// MTU of the host's interface
    #[arg(long, value_name = "BYTES", default_value_t = 1500)]
    pub(crate) mtu: u32,

    /// Setting of the host; again for more
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) sysctl: Vec<String>,

    /// Netfilter rules of the host: what iptables-save, nft list ruleset or nft -j list ruleset print
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,

    /// Write what the host's interface sees
    #[arg(long, value_name = "FILE.pcapng")]
    pub(crate) capture: Option<PathBuf>,

    /// Seed of everything random: initial sequence numbers, ports, losses
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// Share of frames that is lost between host and device, each way
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) loss: Option<Share>,

    /// Share of frames that is held back by 1 ms, so that later ones pass them
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) reorder: Option<Share>,

    /// Share of frames that arrives twice
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) duplicate: Option<Share>,

    /// Share of frames that arrives with a bit turned
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) corrupt: Option<Share>,

    /// How long a frame takes between host and device
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) delay: Option<Span>,

    /// Server to run; again for more
    ///
    /// http:PORT[:FOLDER] gives the folder's files, echo:PORT, sink:PORT, source:PORT[:BYTES], mysql:PORT greets, logs in and
    /// answers `select NUMBER`, iperf3:PORT, echo-udp:PORT, discard-udp:PORT.
    #[arg(long, value_name = "SERVICE:PORT")]
    pub(crate) serve: Vec<String>,

    /// Page to fetch by HTTP
    #[arg(long, value_name = "http://ADDRESS[:PORT]/PATH", group = "errand")]
    pub(crate) fetch: Option<String>,

    /// Fetch it so many times, each over a connection of its own
    #[arg(long, value_name = "N", default_value_t = 1, requires = "fetch", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) times: u32,

    /// File to send over a TCP connection
    #[arg(long, num_args = 2, value_names = ["ADDRESS:PORT", "FILE"], group = "errand")]
    pub(crate) send: Option<Vec<String>>,

    /// iperf3 server to measure with, over one TCP stream
    #[arg(long, value_name = "ADDRESS:PORT", group = "errand")]
    pub(crate) iperf3: Option<String>,

    /// The iperf3 server sends
    #[arg(long, requires = "iperf3")]
    pub(crate) reverse: bool,

    /// Measure so long with iperf3
    #[arg(long, value_name = "N", default_value_t = 10, requires = "iperf3", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,

    /// MySQL or MariaDB server to run a statement at, as root without a password
    #[arg(long, num_args = 2, value_names = ["ADDRESS:PORT", "STATEMENT"], group = "errand")]
    pub(crate) mysql: Option<Vec<String>>,

    /// Where to write what was fetched, or what came back
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// End after this time, such as 10s
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub(crate) duration: Option<Span>,

    /// Print one JSON object (transect.host/1) on standard output
    #[arg(long)]
    pub(crate) json: bool,
}
