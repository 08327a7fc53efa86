//! The one spelling of what stands behind the options of matches and targets.

use super::super::super::{CtStates, Family, TcpFlags, names};
use super::Argument;

/// Puts an option of a match into the words that `iptables-save` prints.
pub(super) fn of_match(family: Family, module: &str, option: &mut Argument) -> Result<(), String> {
    let Argument { name, values, .. } = option;
    match (module, name.as_str()) {
        ("tcp", "--syn") => {
            *name = "--tcp-flags".to_owned();
            *values = vec!["FIN,SYN,RST,ACK".to_owned(), "SYN".to_owned()];
            return Ok(());
        }
        (_, "--source-port") => "--sport".clone_into(name),
        (_, "--destination-port") => "--dport".clone_into(name),
        (_, "--source-ports") => "--sports".clone_into(name),
        (_, "--destination-ports") => "--dports".clone_into(name),
        ("ttl", "--ttl") => "--ttl-eq".clone_into(name),
        ("hl", "--hl") => "--hl-eq".clone_into(name),
        ("dscp", "--dscp-class") => "--dscp".clone_into(name),
        _ => {}
    }
    if super::options_of(module).is_none() {
        return Ok(());
    }
    let wanted = if name == "--tcp-flags" { 2 } else { 1 };
    if values.len() != wanted {
        return Err(format!(
            "\"{name}\" takes {wanted} argument(s), found {}",
            values.len()
        ));
    }
    for value in values.iter_mut() {
        let spelt = value_of_match(family, module, name, value);
        *value = spelt.ok_or_else(|| format!("\"{value}\" is not understood behind \"{name}\""))?;
    }
    Ok(())
}

fn value_of_match(family: Family, module: &str, name: &str, value: &str) -> Option<String> {
    Some(match name {
        "--sport" | "--dport" => ports(value)?,
        "--sports" | "--dports" | "--ports" => {
            let all: Option<Vec<String>> = value.split(',').map(ports).collect();
            all?.join(",")
        }
        "--tcp-flags" => flags(value)?,
        "--state" | "--ctstate" => states(value)?,
        "--icmp-type" | "--icmpv6-type" if value == "any" => value.to_owned(),
        "--icmp-type" | "--icmpv6-type" => {
            let (kind, code) = names::icmp_type_and_code(family, value)?;
            match code {
                Some(code) => format!("{kind}/{code}"),
                None => kind.to_string(),
            }
        }
        "--mark" => masked(value)?,
        "--limit" => rate(value)?,
        "--hashlimit-upto" | "--hashlimit-above" if !value.contains("b/") => rate(value)?,
        "--probability" => probability(value)?,
        "--dscp" if module == "dscp" => format!("0x{:02x}", names::dscp(value)?),
        "--limit-burst" | "--every" | "--packet" => value.parse::<u32>().ok()?.to_string(),
        "--mode" => match value {
            "random" | "nth" => value.to_owned(),
            _ => return None,
        },
        _ => value.to_owned(),
    })
}

/// `80`, `http`, `1024:` as `1024:65535`.
fn ports(text: &str) -> Option<String> {
    let one = |text: &str| text.parse::<u16>().ok().or_else(|| service(text));
    Some(match text.split_once(':') {
        None => one(text)?.to_string(),
        Some((first, last)) => {
            let first = if first.is_empty() { 0 } else { one(first)? };
            let last = if last.is_empty() {
                u16::MAX
            } else {
                one(last)?
            };
            if last < first {
                return None;
            }
            format!("{first}:{last}")
        }
    })
}

/// The services of /etc/services that rules name.
fn service(name: &str) -> Option<u16> {
    Some(match name {
        "ftp" => 21,
        "ssh" => 22,
        "telnet" => 23,
        "smtp" => 25,
        "domain" => 53,
        "bootps" => 67,
        "bootpc" => 68,
        "tftp" => 69,
        "http" => 80,
        "pop3" => 110,
        "ntp" => 123,
        "imap2" | "imap" => 143,
        "snmp" => 161,
        "ldap" => 389,
        "https" => 443,
        "submission" => 587,
        "ldaps" => 636,
        "imaps" => 993,
        "pop3s" => 995,
        "mysql" => 3306,
        "postgresql" => 5432,
        "http-alt" => 8080,
        _ => return None,
    })
}

fn flags(text: &str) -> Option<String> {
    const ALL: [(&str, TcpFlags); 6] = [
        ("FIN", TcpFlags::FIN),
        ("SYN", TcpFlags::SYN),
        ("RST", TcpFlags::RST),
        ("PSH", TcpFlags::PSH),
        ("ACK", TcpFlags::ACK),
        ("URG", TcpFlags::URG),
    ];
    let bits = text
        .split(',')
        .try_fold(0, |bits, name| Some(bits | TcpFlags::from_name(name)?.0))?;
    let set: Vec<&str> = ALL
        .iter()
        .filter(|(_, flag)| bits & flag.0 != 0)
        .map(|(name, _)| *name)
        .collect();
    Some(if set.is_empty() {
        "NONE".to_owned()
    } else {
        set.join(",")
    })
}

fn states(text: &str) -> Option<String> {
    const ALL: [(&str, CtStates); 5] = [
        ("INVALID", CtStates::INVALID),
        ("NEW", CtStates::NEW),
        ("RELATED", CtStates::RELATED),
        ("ESTABLISHED", CtStates::ESTABLISHED),
        ("UNTRACKED", CtStates::UNTRACKED),
    ];
    // DNAT and SNAT follow the states proper.
    let mut asked = CtStates::NONE;
    let mut translations = Vec::new();
    for name in text.split(',') {
        match name.to_ascii_uppercase().as_str() {
            "SNAT" => translations.push("SNAT"),
            "DNAT" => translations.push("DNAT"),
            name => asked = asked.union(CtStates::from_name(name)?),
        }
    }
    translations.sort_by(|a, b| b.cmp(a));
    let names = ALL.iter().filter(|(_, state)| asked.contains(*state));
    let names: Vec<&str> = names.map(|(name, _)| *name).chain(translations).collect();
    Some(names.join(","))
}

/// `VALUE[/MASK]` in hexadecimal.
fn masked(text: &str) -> Option<String> {
    let number = |text: &str| u32::try_from(names::number(text)?).ok();
    Some(match text.split_once('/') {
        Some((value, mask)) => match number(mask)? {
            u32::MAX => format!("0x{:x}", number(value)?),
            mask => format!("0x{:x}/0x{mask:x}", number(value)?),
        },
        None => format!("0x{:x}", number(text)?),
    })
}

/// `5/s` as `5/sec`; a number alone is per second.
fn rate(text: &str) -> Option<String> {
    let (number, unit) = text.split_once('/').unwrap_or((text, "second"));
    let number: u32 = number.parse().ok().filter(|number| *number > 0)?;
    let unit = ["second", "minute", "hour", "day"]
        .into_iter()
        .find(|name| !unit.is_empty() && name.starts_with(unit))
        .or(match unit {
            "sec" => Some("second"),
            "min" => Some("minute"),
            _ => None,
        })?;
    let unit = match unit {
        "second" => "sec",
        "minute" => "min",
        other => other,
    };
    Some(format!("{number}/{unit}"))
}

/// A probability as the kernel keeps it, in 31 bits (`xt_statistic`).
fn probability(text: &str) -> Option<String> {
    let wanted: f64 = text.parse().ok().filter(|p| (0.0..=1.0).contains(p))?;
    const ONE: f64 = 2_147_483_648.0;
    Some(format!("{:.11}", (wanted * ONE).round() / ONE))
}

/// Puts a target's options into the words that `iptables-save` prints.
pub(super) fn of_target(
    family: Family,
    target: &str,
    options: &mut Vec<Argument>,
) -> Result<(), String> {
    let option = |name: &str, values: &[&str]| Argument {
        negated: false,
        name: name.to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    match target {
        "REJECT" => match options.first_mut() {
            None => options.push(option("--reject-with", &[default_reject(family)])),
            Some(own) => {
                let with = own.values.first().map(String::as_str).unwrap_or_default();
                let known = reject_name(family, with)
                    .ok_or_else(|| format!("\"{with}\" is nothing to reject with"))?;
                own.values = vec![known.to_owned()];
            }
        },
        "NFQUEUE" => {
            let has = |name: &str| options.iter().any(|own| own.name == name);
            if !has("--queue-num") && !has("--queue-balance") {
                options.insert(0, option("--queue-num", &["0"]));
            }
        }
        "DNAT" => rename(options, "--to", "--to-destination"),
        "SNAT" => rename(options, "--to", "--to-source"),
        "REDIRECT" => rename(options, "--to-port", "--to-ports"),
        "MARK" => *options = vec![mark(options)?],
        "CONNMARK" => {
            let moves = |own: &Argument| own.name == "--save-mark" || own.name == "--restore-mark";
            match options.iter().find(|own| moves(own)) {
                Some(own) if options.len() == 1 => {
                    let masks = ["--nfmask", "--ctmask"].map(|name| option(name, &["0xffffffff"]));
                    *options = std::iter::once(own.clone()).chain(masks).collect();
                }
                Some(_) => {}
                None => *options = vec![mark(options)?],
            }
        }
        _ => {}
    }
    Ok(())
}

fn rename(options: &mut [Argument], from: &str, to: &str) {
    for option in options.iter_mut().filter(|option| option.name == from) {
        to.clone_into(&mut option.name);
    }
}

/// What REJECT answers where nothing is said.
fn default_reject(family: Family) -> &'static str {
    match family {
        Family::Ip6 => "icmp6-port-unreachable",
        _ => "icmp-port-unreachable",
    }
}

/// The one name of what REJECT answers.
fn reject_name(family: Family, name: &str) -> Option<&'static str> {
    const V4: &[(&str, &str)] = &[
        ("icmp-net-unreachable", "net-unreach"),
        ("icmp-host-unreachable", "host-unreach"),
        ("icmp-proto-unreachable", "proto-unreach"),
        ("icmp-port-unreachable", "port-unreach"),
        ("icmp-net-prohibited", "net-prohib"),
        ("icmp-host-prohibited", "host-prohib"),
        ("icmp-admin-prohibited", "admin-prohib"),
        ("tcp-reset", "tcp-rst"),
    ];
    const V6: &[(&str, &str)] = &[
        ("icmp6-no-route", "no-route"),
        ("icmp6-adm-prohibited", "adm-prohibited"),
        ("icmp6-addr-unreachable", "addr-unreach"),
        ("icmp6-port-unreachable", "port-unreach"),
        ("tcp-reset", "tcp-rst"),
        ("icmp6-policy-fail", "policy-fail"),
        ("icmp6-reject-route", "reject-route"),
    ];
    let all = if family == Family::Ip6 { V6 } else { V4 };
    all.iter()
        .find(|(long, short)| *long == name || *short == name)
        .map(|(long, _)| *long)
}

/// `--set-xmark VALUE/MASK`, whatever was typed.
fn mark(options: &[Argument]) -> Result<Argument, String> {
    let [option] = options else {
        return Err("a mark needs exactly one of --set-mark, --set-xmark, --and-mark, --or-mark, --xor-mark".to_owned());
    };
    let text = option
        .values
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    let wrong = || format!("\"{text}\" is not understood behind \"{}\"", option.name);
    let number = |text: &str| {
        names::number(text)
            .and_then(|number| u32::try_from(number).ok())
            .ok_or_else(wrong)
    };
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (number(value)?, Some(number(mask)?)),
        None => (number(text)?, None),
    };
    let (value, mask) = match option.name.as_str() {
        "--set-xmark" => (value, mask.unwrap_or(u32::MAX)),
        "--set-mark" => (value, mask.map_or(u32::MAX, |mask| mask | value)),
        "--and-mark" => (0, !value),
        "--or-mark" => (value, value),
        "--xor-mark" => (value, 0),
        _ => return Err(wrong()),
    };
    Ok(Argument {
        negated: false,
        name: "--set-xmark".to_owned(),
        values: vec![format!("0x{value:x}/0x{mask:x}")],
    })
}
