//! Commands of scripts: settings, and the few programs that change what the host goes by.

use transect_config::{IpVersion, Qdisc, read_routes};
use transect_host::namespace;

use super::super::WorldError;
use super::ModelWorld;
use super::setup::NAME;

/// Settings that Linux has and that mean nothing to the model, for want of what they are about.
const WITHOUT_MEANING: &[&str] = &[
    "net.core.busy_poll",
    "net.core.busy_read",
    "net.core.default_qdisc",
    "net.core.optmem_max",
    "net.ipv4.tcp_allowed_congestion_control",
    "net.ipv4.tcp_child_ehash_entries",
    "net.ipv4.tcp_fack",
    "net.ipv4.tcp_low_latency",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_migrate_req",
    "net.ipv4.tcp_no_metrics_save",
    "net.ipv4.tcp_no_ssthresh_metrics_save",
    "net.ipv4.tcp_plb_enabled",
    "net.ipv4.tcp_reflect_tos",
];

/// Parameters of modules, as they are in the model and cannot be changed.
const PARAMETERS: &[(&str, &str)] = &[
    ("/sys/module/tcp_cubic/parameters/hystart", "1"),
    ("/sys/module/tcp_cubic/parameters/hystart_detect", "3"),
    ("/sys/module/tcp_cubic/parameters/hystart_low_window", "16"),
    ("/sys/module/tcp_cubic/parameters/fast_convergence", "1"),
    ("/sys/module/tcp_cubic/parameters/tcp_friendliness", "1"),
];

/// Whether a command writes a parameter of a module to be what it is anyway.
fn is_parameter_as_it_is(command: &str) -> bool {
    let words: Vec<&str> = command.split_whitespace().collect();
    matches!(words.as_slice(), ["echo", value, ">", path] if PARAMETERS.contains(&(*path, *value)))
}

impl ModelWorld {
    /// Sets a setting; what there is to say about it.
    pub(super) fn set_sysctl(
        &mut self,
        name: &str,
        value: &str,
    ) -> Result<Option<String>, WorldError> {
        if WITHOUT_MEANING.contains(&name) {
            return Ok(Some(format!(
                "{name} means nothing to the model host: ignored"
            )));
        }
        // The kernel reads numbers in any base.
        let number = |word: &str| match word.strip_prefix("0x") {
            Some(digits) => {
                u64::from_str_radix(digits, 16).map_or(word.to_owned(), |n| n.to_string())
            }
            None => word.to_owned(),
        };
        let value: Vec<String> = value.split_whitespace().map(number).collect();
        self.host
            .set_sysctl(name, &value.join(" "))
            .map_err(WorldError::doing("setting"))?;
        Ok(None)
    }

    /// Does what a program would do; what there is to say about it.
    pub(super) fn program(&mut self, text: &str) -> Result<Vec<String>, WorldError> {
        let all: Vec<&str> = text
            .split_whitespace()
            .take_while(|word| !word.contains('>'))
            .collect();
        let refused = || {
            WorldError(format!(
                "the model world has no programs: it cannot run `{}` (it knows sysctl, ip route, ip link set … mtu, ip address add, tc qdisc, ethtool -K)",
                text.trim()
            ))
        };
        let Some((program, words)) = all.split_first() else {
            return Ok(Vec::new());
        };
        if is_parameter_as_it_is(text) {
            return Ok(Vec::new());
        }
        match *program {
            "ip" => {}
            "tc" => return self.traffic_control(words).ok_or_else(refused),
            "ethtool" => return self.features(words).ok_or_else(refused),
            // What only looks changes nothing.
            "nstat" => return self.nstat(text),
            "ss" | "sleep" | "cat" | "ls" | "grep" => {
                let note = format!("`{}` is left out in the model world", text.trim());
                return Ok(vec![note]);
            }
            _ => return Err(refused()),
        }
        let mut version = IpVersion::V4;
        let mut words = words;
        while let Some((option, rest)) = words
            .split_first()
            .filter(|(word, _)| word.starts_with('-'))
        {
            if *option == "-6" {
                version = IpVersion::V6;
            }
            words = rest;
        }
        match words {
            ["tcp_metrics" | "tcpm", "flush", ..] => {
                self.host.forget_tcp_metrics();
                Ok(Vec::new())
            }
            ["tcp_metrics" | "tcpm", ..] => Ok(Vec::new()),
            ["route" | "ro" | "r", "flush", "cache"] => Ok(Vec::new()),
            [
                "route" | "ro" | "r",
                verb @ ("add" | "replace" | "change" | "del" | "delete"),
                spec @ ..,
            ] => self
                .change_route(version, verb, &spec.join(" "))
                .map(|()| Vec::new()),
            ["link" | "li" | "l", "set", rest @ ..] => {
                let rest: Vec<&str> = rest.iter().copied().filter(|word| *word != "dev").collect();
                match rest.as_slice() {
                    [device, "mtu", mtu] => {
                        let mtu: u32 = mtu.parse().map_err(|_| refused())?;
                        self.set_mtu(device, mtu);
                        Ok(Vec::new())
                    }
                    [_, "up"] => Ok(Vec::new()),
                    _ => Err(refused()),
                }
            }
            ["address" | "addr" | "a", "add", prefix, rest @ ..] if rest.contains(&NAME) => {
                let (ip, length) = prefix.split_once('/').ok_or_else(refused)?;
                let ip: std::net::IpAddr = ip.parse().map_err(|_| refused())?;
                let length = length.parse().map_err(|_| refused())?;
                self.host.reconfigure(self.now, |config| {
                    namespace::add_address(config, NAME, ip, length)
                });
                Ok(Vec::new())
            }
            _ => Err(refused()),
        }
    }

    /// `tc qdisc add|replace|change|del dev tun0 root KIND OPTIONS`.
    fn traffic_control(&mut self, words: &[&str]) -> Option<Vec<String>> {
        let ["qdisc", verb, "dev", NAME, "root", what @ ..] = words else {
            return None;
        };
        let qdisc = match (*verb, what) {
            // Without a kind: what the device has by itself.
            ("del" | "delete", _) => Qdisc {
                device: NAME.to_owned(),
                parent: "root".to_owned(),
                ..Qdisc::default()
            },
            ("add" | "replace" | "change", [kind, options @ ..]) => Qdisc {
                device: NAME.to_owned(),
                kind: (*kind).to_owned(),
                parent: "root".to_owned(),
                options: options.join(" "),
                ..Qdisc::default()
            },
            _ => return None,
        };
        self.host
            .replace_qdisc(self.now, self.device, qdisc)
            .ok()
            .map(|()| Vec::new())
    }

    /// `ethtool -K tun0 NAME on|off …`: of the features of a TUN device only large packets matter.
    fn features(&mut self, words: &[&str]) -> Option<Vec<String>> {
        let ["-K", NAME, settings @ ..] = words else {
            return None;
        };
        let mut features = self.host.features(self.device);
        for setting in settings.chunks(2) {
            match setting {
                ["gso", value] => features.gso = *value == "on",
                [_, "on" | "off"] => {}
                _ => return None,
            }
        }
        self.host.set_features(self.device, features);
        Some(Vec::new())
    }

    fn set_mtu(&mut self, device: &str, mtu: u32) {
        self.host.reconfigure(self.now, |config| {
            let mut links = config.links.iter_mut().flatten();
            if let Some(link) = links.find(|link| link.name == device) {
                link.mtu = Some(mtu);
            }
        });
    }

    fn change_route(
        &mut self,
        version: IpVersion,
        verb: &str,
        spec: &str,
    ) -> Result<(), WorldError> {
        let parsed = read_routes(spec, Some(version));
        let mut routes = parsed.value.into_iter();
        let (Some(route), None, true) = (routes.next(), routes.next(), parsed.problems.is_empty())
        else {
            return Err(WorldError(format!(
                "`ip route {verb} {spec}`: this route is not understood"
            )));
        };
        // Metrics that the model does not go by.
        let metrics = ["rto_min", "window", "congctl", "features", "rtt"];
        if let Some(metric) = spec.split_whitespace().find(|word| metrics.contains(word)) {
            return Err(WorldError(format!(
                "`ip route {verb} {spec}`: the model host knows no {metric} of routes"
            )));
        }
        self.host.reconfigure(self.now, |config| {
            let routes = namespace::routes_of(config, version);
            if verb != "add" {
                routes.retain(|known| {
                    known.table != route.table || known.destination != route.destination
                });
            }
            if !verb.starts_with("del") {
                routes.push(route);
            }
        });
        Ok(())
    }
}
