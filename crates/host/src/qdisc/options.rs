//! A discipline's options, as `tc` writes them: compact JSON, or the words of its text.

use serde_json::Value;

/// Why a discipline cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("qdisc {kind} on {device}: {why}")]
pub(crate) struct OptionError {
    kind: String,
    device: String,
    why: String,
}

/// Options by name.
#[derive(Debug)]
pub(super) struct Options<'a> {
    qdisc: &'a transect_config::Qdisc,
    json: Option<serde_json::Map<String, Value>>,
}

impl<'a> Options<'a> {
    /// Reads them.
    pub(super) fn read(qdisc: &'a transect_config::Qdisc) -> Result<Self, OptionError> {
        let text = qdisc.options.trim();
        let mut options = Options { qdisc, json: None };
        if text.starts_with('{') {
            options.json = match serde_json::from_str(text) {
                Ok(Value::Object(map)) => Some(map),
                _ => return Err(options.error("its options are no JSON object")),
            };
        }
        Ok(options)
    }

    pub(super) fn error(&self, why: impl Into<String>) -> OptionError {
        OptionError {
            kind: self.qdisc.kind.clone(),
            device: self.qdisc.device.clone(),
            why: why.into(),
        }
    }

    pub(super) fn unknown_kind(&self) -> OptionError {
        self.error("the model knows noqueue, pfifo_fast, pfifo, bfifo, tbf and htb")
    }

    pub(super) fn missing(&self, name: &str) -> OptionError {
        self.error(format!("\"{name}\" is missing or 0"))
    }

    /// A size in bytes, or a number of packets; text: `1600b`, `10Kb`, `50p`.
    pub(super) fn size(&self, name: &str) -> Result<Option<u64>, OptionError> {
        self.number(name, |word| {
            let (number, unit) = split_unit(word)?;
            let factor = match unit.to_ascii_lowercase().as_str() {
                "" | "b" | "p" => 1.0,
                "k" | "kb" => 1024.0,
                "m" | "mb" => 1024.0 * 1024.0,
                "g" | "gb" => 1024.0 * 1024.0 * 1024.0,
                _ => return None,
            };
            whole(number * factor)
        })
    }

    /// A number in hexadecimal, as a class's minor number is written: `10`, `0x10`.
    pub(super) fn hexadecimal(&self, name: &str) -> Result<Option<u64>, OptionError> {
        let read = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
        let Some(Value::String(word)) = self.json.as_ref().and_then(|map| map.get(name)) else {
            return self.number(name, read);
        };
        let wrong = || self.error(format!("\"{name}\" cannot be \"{word}\""));
        read(word).map(Some).ok_or_else(wrong)
    }

    /// A rate in bytes per second; text: `8Kbit`, `125000bps`.
    pub(super) fn rate(&self, name: &str) -> Result<Option<u64>, OptionError> {
        self.number(name, |word| {
            let (number, unit) = split_unit(word)?;
            let unit = unit.to_ascii_lowercase();
            let (prefix, bits) = match (unit.strip_suffix("bit"), unit.strip_suffix("bps")) {
                (Some(prefix), _) => (prefix, 8.0),
                (_, Some(prefix)) => (prefix, 1.0),
                _ => (unit.as_str(), 8.0),
            };
            let factor = match prefix {
                "" => 1.0,
                "k" => 1e3,
                "m" => 1e6,
                "g" => 1e9,
                "t" => 1e12,
                _ => return None,
            };
            whole(number * factor / bits)
        })
    }

    /// A length of time in nanoseconds; JSON: microseconds; text: `50ms`.
    pub(super) fn time(&self, name: &str) -> Result<Option<u64>, OptionError> {
        if self.json.is_some() {
            let microseconds = self.number(name, |_| None)?;
            return Ok(microseconds.map(|microseconds| microseconds.saturating_mul(1000)));
        }
        self.number(name, |word| {
            let (number, unit) = split_unit(word)?;
            let factor = match unit.to_ascii_lowercase().as_str() {
                "s" | "sec" | "secs" => 1e9,
                "ms" | "msec" | "msecs" => 1e6,
                "" | "us" | "usec" | "usecs" => 1e3,
                "ns" => 1.0,
                _ => return None,
            };
            whole(number * factor)
        })
    }

    /// An option's value: as it stands in JSON, or by what reads a word of text.
    fn number(
        &self,
        name: &str,
        read: impl Fn(&str) -> Option<u64>,
    ) -> Result<Option<u64>, OptionError> {
        let wrong = |value: &str| self.error(format!("\"{name}\" cannot be \"{value}\""));
        match &self.json {
            Some(map) => match map.get(name) {
                None => Ok(None),
                Some(value) => match value.as_u64().or_else(|| whole(value.as_f64()?)) {
                    Some(number) => Ok(Some(number)),
                    None => Err(wrong(&value.to_string())),
                },
            },
            None => {
                let mut words = self.qdisc.options.split_whitespace();
                if !words.any(|word| word == name || synonyms(name).contains(&word)) {
                    return Ok(None);
                }
                let word = words.next().unwrap_or("");
                // `burst 10Kb/8` names the cell as well.
                let word = word.split('/').next().unwrap_or(word);
                read(word).map(Some).ok_or_else(|| wrong(word))
            }
        }
    }
}

/// How else `tc` takes an option on its command line.
fn synonyms(name: &str) -> &'static [&'static str] {
    match name {
        "burst" => &["buffer", "maxburst"],
        "lat" => &["latency"],
        _ => &[],
    }
}

/// `10Kb` as 10 and `Kb`.
fn split_unit(word: &str) -> Option<(f64, &str)> {
    let end = word
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(word.len());
    let (number, unit) = word.split_at_checked(end)?;
    Some((number.parse().ok()?, unit))
}

/// A number that is not negative, rounded down.
fn whole(number: f64) -> Option<u64> {
    (number.is_finite() && (0.0..1.8e19).contains(&number)).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qdisc(options: &str) -> transect_config::Qdisc {
        transect_config::Qdisc {
            device: String::from("eth0"),
            kind: String::from("tbf"),
            options: options.to_owned(),
            ..transect_config::Qdisc::default()
        }
    }

    #[test]
    fn json_and_text_say_the_same() {
        for text in [
            r#"{"rate":1000,"burst":1600,"lat":50000}"#,
            "rate 8Kbit burst 1600b lat 50ms",
            "rate 8kbit burst 1600 latency 50ms",
            "rate 1000bps burst 1600b/1 mpu 0b lat 50000us",
        ] {
            let qdisc = qdisc(text);
            let options = Options::read(&qdisc).unwrap();
            assert_eq!(options.rate("rate"), Ok(Some(1000)), "{text}");
            assert_eq!(options.size("burst"), Ok(Some(1600)), "{text}");
            assert_eq!(options.time("lat"), Ok(Some(50_000_000)), "{text}");
            assert_eq!(options.size("limit"), Ok(None), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = qdisc("limit much");
        let error = Options::read(&wrong).unwrap().size("limit").unwrap_err();
        assert_eq!(
            error.to_string(),
            "qdisc tbf on eth0: \"limit\" cannot be \"much\""
        );
        assert!(Options::read(&qdisc("{")).is_err());
    }
}
