//! What the user types, as it was typed. [`crate::plan`] turns it into what will be done.

mod drill;
mod host;
mod words;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use drill::DrillArgs;
pub(crate) use host::HostArgs;
pub(crate) use words::{Share, Span, share, span};

/// Follows packets through every layer of a Linux host and finds the layer that lost them.
#[derive(Debug, Parser)]
#[command(
    name = "transect",
    version,
    disable_help_subcommand = true,
    after_help = "Exit status: 0 answered, 1 failed, 2 wrong usage."
)]
pub(crate) struct Cli {
    /// Say more on standard error while working; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Observe, then say where packets were lost and why
    ///
    /// Captures on all interfaces and reads every counter, socket, route and rule before, after and in between; then says
    /// where packets of the flow were lost, by which rule or setting, and how sure that is. Nothing on the machine is
    /// changed.
    #[command(after_help = WHY_EXAMPLES)]
    Why(WhyArgs),

    /// Only observe; write a bundle
    ///
    /// The bundle is one .tar.zst of plain files. `transect explain` on it says what `transect why` would have said.
    #[command(after_help = COLLECT_EXAMPLES)]
    Collect(CollectArgs),

    /// Diagnose bundles, captures and dumps
    ///
    /// Kinds of files are recognised by content: pcap and pcapng (also .gz, .zst), bundles, nstat, netstat -s,
    /// /proc/net/*, ss, iptables-save, nft list ruleset, ip -j, tc -s, conntrack, ethtool, access logs, folders of these.
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),

    /// Attach a model host to a TUN or TAP device, in real time
    ///
    /// The host is Transect's own network stack. The kernel's programs talk to its servers through the device, and its
    /// clients to theirs. The device is made where there is none, and is gone with the command; give the kernel's end an
    /// address and set it up with `ip`. At the end (^C, SIGTERM, --for, or when all clients are done and nothing is served)
    /// it prints the host's counters as nstat does and its sockets as ss does.
    #[command(after_help = host::EXAMPLES)]
    Host(Box<HostArgs>),

    /// Experiments: a fault made on purpose, and the verdict it must end in
    #[command(subcommand)]
    Lab(LabCommand),

    /// Run packetdrill scripts against the model host or this machine's kernel
    ///
    /// A script says which packets arrive, which system calls are made, and what the host must do and when. docs/drill.md has
    /// the language.
    #[command(after_help = drill::EXAMPLES)]
    Drill(DrillArgs),

    /// The path, and which tool, counter, cause and disturbance lives where
    Map(MapArgs),

    /// What can be observed here, what cannot, and what to do about it
    Doctor(DoctorArgs),
}

const WHY_EXAMPLES: &str = "\
Examples:
  transect why tcp port 3306 -- mysql -h 172.17.0.3 -e 'select 1'
  transect why --for 10s host 10.0.0.7
  transect why --netns client --netns server=pid:4711 tcp port 80 -- curl http://10.0.0.7/

Without COMMAND and --for it observes until ^C; a second ^C stops at once.

Exit status: 0 answered, 1 failed, 2 wrong usage; with --exit-code, 3 when the verdict is lost, refused, stalled or not_sent.";

const COLLECT_EXAMPLES: &str = "\
Examples:
  transect collect -o incident.tar.zst --for 30s tcp port 443
  transect collect -o incident.tar.zst -- curl https://example.org/

Without COMMAND and --for it observes until ^C; a second ^C stops at once.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  transect explain incident.tar.zst
  transect explain client=client.pcap server=server.pcap
  transect explain server=dump.pcap server.before=nstat.0 server.after=nstat.1 server=rules.txt
  transect explain server@raw_tap=tcpcopy.pcap

Exit status: 0 answered, 1 failed, 2 wrong usage; with --exit-code, 3 when the verdict is lost, refused, stalled or not_sent.";

/// What `why` and `collect` share: whom, what and how long to observe.
#[derive(Debug, Clone, Args)]
pub(crate) struct ObserveArgs {
    /// Host to observe: a network namespace; again for more hosts
    ///
    /// NAME is one that `ip netns` knows; pid:N that of a process, /PATH a file such as /proc/1/ns/net. The default is the
    /// namespace in which transect was started, labelled by the host name.
    #[arg(long, value_name = "[LABEL=]NAME|pid:N|/PATH")]
    pub(crate) netns: Vec<String>,

    /// Observe at most this long, such as 10s, 500ms, 2m
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub(crate) duration: Option<Span>,

    /// Go on this long after COMMAND has ended
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = span)]
    pub(crate) settle: Span,

    /// Read counters, sockets and rules this often
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = span)]
    pub(crate) sample: Span,

    /// Application's log, read from its present end; LABEL may be left out for one host; again for more logs
    #[arg(long, value_name = "[LABEL=]PATH")]
    pub(crate) log: Vec<String>,

    /// Bytes to keep of each packet
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(96..=262_144))]
    pub(crate) snaplen: u32,

    /// pcap filter expression for the flows in question, as for tcpdump; everything when left out
    #[arg(value_name = "FILTER")]
    pub(crate) filter: Vec<String>,

    /// Command to run and observe, started where transect was started
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// How `why` and `explain` answer.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct AnswerArgs {
    /// Print one JSON object (transect.verdict/1) on standard output; COMMAND's output goes to standard error
    #[arg(long)]
    pub(crate) json: bool,

    /// Exit with 3 when the verdict is lost, refused, stalled or not_sent
    #[arg(long)]
    pub(crate) exit_code: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WhyArgs {
    #[command(flatten)]
    pub(crate) answer: AnswerArgs,

    /// Keep what was observed as a bundle, too
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) observe: ObserveArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CollectArgs {
    /// Bundle to write (.tar.zst)
    #[arg(short, long, value_name = "FILE", required = true)]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) observe: ObserveArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) answer: AnswerArgs,

    /// pcap filter expression for the flows in question, in captures that are no bundle; a bundle has its own
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Option<String>,

    /// Application's log on the host LABEL; again for more logs
    #[arg(long, value_name = "LABEL=PATH")]
    pub(crate) log: Vec<String>,

    /// Files and folders; LABEL= names the host (default: the file's stem), .before and .after the moment, @POINT where a capture was taken
    #[arg(required = true, value_name = "[LABEL[.before|.after|@POINT]=]PATH")]
    pub(crate) inputs: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// List the experiments inside of this program
    List(LabListArgs),

    /// Run experiments, and check their verdicts
    ///
    /// In the kernel world their hosts are network namespaces of their own, and real programs run in them: that needs root. In
    /// the model world they are model hosts in virtual time, which need nothing.
    #[command(after_help = "\
Examples:
  transect lab run seed-3.1-local-in
  transect lab run seed-3.1-exact --world model
  transect lab run --all --jobs 8
  transect lab run my-experiment.toml --keep /tmp/bundles

Exit status: 0 all ended as they must, 1 some did not, 2 wrong usage.")]
    Run(LabRunArgs),

    /// Run experiments in both worlds, and show what the model does otherwise than the kernel
    ///
    /// Compared are verdicts, the packets at each tap (flags, relative numbers, times as far as timers can tell), counters that
    /// moved, sockets and rule counters.
    #[command(after_help = "\
Examples:
  transect lab compare healthy-plain
  transect lab compare seed-3.2-exact --all-rows
  transect lab compare --all --kernel-runs 5

Exit status: 0 no difference, 1 a difference, 2 wrong usage.")]
    Compare(LabCompareArgs),
}

/// In which world experiments run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorldArg {
    /// Network namespaces and real programs
    Kernel,
    /// Model hosts in virtual time
    Model,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LabListArgs {
    /// Print one JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LabRunArgs {
    /// Names, prefixes of names, or .toml files
    #[arg(
        value_name = "NAME",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub(crate) names: Vec<String>,

    /// Run all that are not marked slow
    #[arg(long)]
    pub(crate) all: bool,

    /// With --all: those marked slow, too
    #[arg(long)]
    pub(crate) slow: bool,

    /// In which world
    #[arg(long, value_enum, value_name = "WORLD", default_value_t = WorldArg::Kernel)]
    pub(crate) world: WorldArg,

    /// How many run side by side; in the kernel world they mostly wait
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) jobs: u16,

    /// Keep each experiment's bundle below this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,

    /// Show each verdict in full
    #[arg(long)]
    pub(crate) verdicts: bool,

    /// Report which counters moved: in the JSON, else as a page of Markdown, IPv4 beside IPv6
    #[arg(long)]
    pub(crate) counters: bool,

    /// Print one JSON object (transect.lab/1) on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LabCompareArgs {
    /// Names, prefixes of names, or .toml files
    #[arg(
        value_name = "NAME",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub(crate) names: Vec<String>,

    /// Compare all that are not marked slow
    #[arg(long)]
    pub(crate) all: bool,

    /// How many run side by side
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) jobs: u16,

    /// Where the worlds differ, run the kernel's again, up to so often in all, and keep the run that differs least
    ///
    /// The model does the same each time; what the kernel does depends on which processor is free when.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) kernel_runs: u16,

    /// Keep the bundles of both worlds below this folder
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,

    /// Show what agrees, too
    #[arg(long)]
    pub(crate) all_rows: bool,

    /// Print one JSON object (transect.lab.compare/1) on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct MapArgs {
    /// Print one JSON object (transect.map/1) on standard output
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) json: bool,

    /// Print the documentation's page
    #[arg(long)]
    pub(crate) markdown: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorArgs {
    /// Print one JSON object (transect.doctor/1) on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_filter_ends_where_the_command_begins() {
        let cli = Cli::try_parse_from([
            "transect", "why", "--for", "10s", "tcp", "port", "80", "--json", "--", "curl", "-v",
            "--json",
        ])
        .unwrap();
        let Command::Why(why) = cli.command else {
            panic!("not why");
        };
        assert_eq!(why.observe.filter, ["tcp", "port", "80"]);
        assert_eq!(why.observe.command, ["curl", "-v", "--json"]);
        assert!(why.answer.json);
    }

    #[test]
    fn what_belongs_to_later_versions_is_not_offered() {
        let mut command = Cli::command();
        let help = command.render_long_help().to_string();
        for word in ["watch", "whatif", "allow-changes"] {
            assert!(!help.contains(word), "{word}");
        }
        assert!(Cli::try_parse_from(["transect", "watch"]).is_err());
    }
}
