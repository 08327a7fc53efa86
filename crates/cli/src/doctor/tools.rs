//! Tools that the collectors run, because only they print what is wanted.

use transect_report::Check;

use super::{System, missing, ok};

/// A tool, what cannot be seen without it, and the Debian package that has it.
struct Tool {
    name: &'static str,
    without: &'static str,
    package: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        name: "nft",
        without: "nftables rules and their counters: a drop by one of them is not named",
        package: "nftables",
    },
    Tool {
        name: "iptables-nft-save",
        without: "matches of iptables-nft rules that nft does not print",
        package: "iptables",
    },
    Tool {
        name: "ip6tables-nft-save",
        without: "matches of ip6tables-nft rules that nft does not print",
        package: "iptables",
    },
    Tool {
        name: "iptables-legacy-save",
        without: "legacy iptables rules, where tables of them are loaded",
        package: "iptables",
    },
    Tool {
        name: "ip6tables-legacy-save",
        without: "legacy ip6tables rules, where tables of them are loaded",
        package: "iptables",
    },
];

/// Everything about tools.
pub(super) fn checks(system: &System) -> Vec<Check> {
    let mut checks = Vec::new();
    if cfg!(feature = "live") {
        checks.push(ok("build.live", "this build observes live, with libpcap"));
    } else {
        checks.push(missing(
            "build.live",
            "this build was made without the feature live",
            "why, collect and lab: only files can be explained",
            "install libpcap-dev and build with the default features",
        ));
    }
    checks.extend(TOOLS.iter().map(|tool| {
        let name = format!("tool.{}", tool.name);
        match system.program(tool.name) {
            Some(path) => ok(&name, path.display().to_string()),
            None => missing(
                &name,
                "not installed",
                tool.without,
                &format!("apt-get install {}", tool.package),
            ),
        }
    }));
    checks
}
