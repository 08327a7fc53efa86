//! The names of classes, and what `tc class` says of one of htb's.

use std::fmt;
use std::str::FromStr;

use super::options::{OptionError, Options};

/// A discipline's handle (`1:`), or one of its classes (`1:10`); both numbers are hexadecimal (`TC_H_MAKE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClassId {
    pub(crate) major: u16,
    /// 0 is the discipline itself.
    pub(crate) minor: u16,
}

impl ClassId {
    /// The class that a packet's priority names.
    pub(super) fn of_priority(priority: u32) -> Self {
        ClassId {
            major: (priority >> 16) as u16,
            minor: (priority & 0xffff) as u16,
        }
    }
}

impl fmt::Display for ClassId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.minor {
            0 => write!(f, "{:x}:", self.major),
            minor => write!(f, "{:x}:{minor:x}", self.major),
        }
    }
}

impl FromStr for ClassId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no class: expected MAJOR:MINOR in hexadecimal");
        let (major, minor) = text.split_once(':').ok_or_else(wrong)?;
        let number = |word: &str| match word {
            "" => Some(0),
            word => u16::from_str_radix(word, 16).ok(),
        };
        Ok(ClassId {
            major: number(major).ok_or_else(wrong)?,
            minor: number(minor).ok_or_else(wrong)?,
        })
    }
}

/// What `tc class add … htb` says of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Bytes per second that it may always send.
    pub(super) rate: u64,
    /// Bytes per second that it may send while its parent lends.
    pub(super) ceil: u64,
    /// Bytes that it may send at once.
    pub(super) burst: u64,
    /// Bytes that it may send at once while its parent lends.
    pub(super) cburst: u64,
    /// Lower ones are served first.
    pub(super) priority: u8,
    /// Bytes before it is the turn of the next one.
    pub(super) quantum: u64,
}

/// What `tc` takes a packet to be at most (`mtu` of `htb_parse_class_opt`).
const MTU: u64 = 1600;
/// The lowest priority (`TC_HTB_NUMPRIO`).
const PRIORITIES: u64 = 8;
/// A computed quantum is no less and no more (`htb_change_class`).
const QUANTUM: std::ops::RangeInclusive<u64> = 1000..=200_000;

impl Shape {
    /// Reads it as iproute2 does (`htb_parse_class_opt`), with the kernel's defaults (`htb_change_class`).
    pub(super) fn read(options: &Options<'_>, rate_to_quantum: u64) -> Result<Self, OptionError> {
        let rate = options.rate("rate")?.filter(|rate| *rate > 0);
        let rate = rate.ok_or_else(|| options.missing("rate"))?;
        let ceil = options.rate("ceil")?.unwrap_or(rate);
        // With a clock of nanoseconds the rate adds nothing to the default below 1 GB/s.
        let default = |rate: u64| MTU.saturating_add(rate / 1_000_000_000);
        let quantum = rate / rate_to_quantum.max(1);
        let computed = quantum.clamp(*QUANTUM.start(), *QUANTUM.end());
        let priority = options.size("prio")?.unwrap_or(0).min(PRIORITIES - 1);
        Ok(Shape {
            rate,
            ceil,
            burst: options.size("burst")?.unwrap_or_else(|| default(rate)),
            cburst: options.size("cburst")?.unwrap_or_else(|| default(ceil)),
            priority: u8::try_from(priority).unwrap_or(0),
            quantum: options.size("quantum")?.unwrap_or(computed).max(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_written_as_they_are_read() {
        for text in ["1:", "1:10", "ffff:fff1", "8001:a"] {
            assert_eq!(text.parse::<ClassId>().unwrap().to_string(), text);
        }
        assert_eq!("1:10".parse(), Ok(ClassId::of_priority(0x1_0010)));
        for text in ["", "1", "x:1", "1:10000", "1:1:1"] {
            assert!(text.parse::<ClassId>().is_err(), "{text}");
        }
    }
}
