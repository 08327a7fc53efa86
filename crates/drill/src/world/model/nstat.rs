//! `nstat | grep NAME` of scripts: whether a counter of the host moved.

use super::super::WorldError;
use super::ModelWorld;

/// What a script wants to know of a counter.
#[derive(Debug, PartialEq, Eq)]
struct Wanted<'a> {
    name: &'a str,
    /// How far it moved; nothing: at all.
    value: Option<u64>,
    /// Since the beginning, not since it was asked last.
    absolute: bool,
}

/// Reads `nstat … | grep … 'NAME'` and `… 'NAME *VALUE '`; nothing where it is something else.
fn wanted(text: &str) -> Option<Wanted<'_>> {
    let (nstat, grep) = text.split_once('|')?;
    let grep = grep.split('>').next()?.trim();
    let mut pattern = grep.strip_prefix("grep")?.trim_start();
    while let Some(option) = pattern.strip_prefix("-q") {
        pattern = option.trim_start();
    }
    let has = |option: char| {
        let mut options = nstat
            .split_whitespace()
            .filter(|word| word.starts_with('-'));
        options.any(|word| word.contains(option))
    };
    let absolute = has('a');
    let pattern = pattern.trim_end().trim_matches(['"', '\'']);
    let end = pattern
        .find(|letter: char| !letter.is_ascii_alphanumeric())
        .unwrap_or(pattern.len());
    let (name, rest) = pattern.split_at(end);
    if rest.is_empty() {
        // With zeros shown it is always there.
        return (!has('z') && !name.is_empty()).then_some(Wanted {
            name,
            value: None,
            absolute,
        });
    }
    let value = rest.strip_prefix(" *")?.strip_suffix(' ')?.parse().ok()?;
    Some(Wanted {
        name,
        value: Some(value),
        absolute,
    })
}

impl ModelWorld {
    /// `nstat`, which tells what moved since it was called last; what there is to say about it.
    pub(super) fn nstat(&mut self, text: &str) -> Result<Vec<String>, WorldError> {
        let now = self.host.counters().clone();
        let before = self.counted.replace(now.clone());
        let Some(wanted) = wanted(text) else {
            let left_out = text.contains('|');
            let note = format!(
                "what `{}` looks for is left out in the model world",
                text.trim()
            );
            return Ok(left_out.then_some(note).into_iter().collect());
        };
        let name = wanted.name;
        let unknown = || WorldError(format!("the model host has no counter {name}"));
        let value = now.named(name).ok_or_else(unknown)?;
        let before = before.filter(|_| !wanted.absolute);
        let before = before.and_then(|before| before.named(name)).unwrap_or(0);
        let moved = value.saturating_sub(before);
        match wanted.value {
            Some(wanted) if moved != wanted => Err(WorldError(format!(
                "{name} moved by {moved}, the script wants {wanted}"
            ))),
            None if moved == 0 => Err(WorldError(format!("{name} did not move"))),
            _ => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_asked_for_in_two_ways() {
        let one = "nstat | grep TcpExtOutOfWindowIcmps > /dev/null";
        let name = "TcpExtOutOfWindowIcmps";
        let asked = |name, value, absolute| {
            Some(Wanted {
                name,
                value,
                absolute,
            })
        };
        assert_eq!(wanted(one), asked(name, None, false));
        let other = "nstat -z | grep -q 'TcpInSegs *12 '";
        assert_eq!(wanted(other), asked("TcpInSegs", Some(12), false));
        let all = "nstat -az | grep -q 'TcpInSegs *12 '";
        assert_eq!(wanted(all), asked("TcpInSegs", Some(12), true));
        for else_where in [
            "nstat > /dev/null",
            "nstat -z | grep x",
            "nstat | wc -l",
            "nstat | grep 'a[bc]'",
        ] {
            assert_eq!(wanted(else_where), None, "{else_where}");
        }
    }
}
