//! The small languages inside of arguments.

use std::time::Duration;

/// A length of time as the user gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// The longest time that can be asked for.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Reads `10s`, `500ms`, `2m`, `1h`, `1.5s`.
pub(crate) fn span(text: &str) -> Result<Span, String> {
    let expected = "expected a number with its unit, such as 500ms, 10s, 2m or 1h";
    let split = text
        .find(|character: char| !(character.is_ascii_digit() || character == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds_in_unit = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "" if !number.is_empty() => {
            return Err(format!(
                "the unit is missing: write {text}s for seconds; {expected}"
            ));
        }
        _ => return Err(expected.to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| expected.to_owned())?;
    let length = Duration::try_from_secs_f64(number * seconds_in_unit)
        .map_err(|_| format!("too long; {expected}"))?;
    if length > LONGEST {
        return Err("longer than seven days".to_owned());
    }
    Ok(Span(length))
}

/// A part of a whole, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share(pub(crate) u32);

/// Reads `1%`, `0.5%`, `0.01`.
pub(crate) fn share(text: &str) -> Result<Share, String> {
    let expected = || "expected a share such as 1% or 0.01".to_owned();
    let (number, whole) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let plain = |byte: u8| byte.is_ascii_digit() || byte == b'.';
    if !number.bytes().all(plain) {
        return Err(expected());
    }
    let share: f64 = number.parse().map_err(|_| expected())?;
    if share > whole {
        return Err(format!("more than all; {}", expected()));
    }
    // From 0 to 1,000,000 by what was checked.
    Ok(Share((share / whole * 1e6).round() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        let millis = |text: &str| span(text).map(|span| span.0.as_millis());
        assert_eq!(millis("500ms"), Ok(500));
        assert_eq!(millis("10s"), Ok(10_000));
        assert_eq!(millis("1.5s"), Ok(1_500));
        assert_eq!(millis("2m"), Ok(120_000));
        assert_eq!(millis("1h"), Ok(3_600_000));
        assert_eq!(millis("0s"), Ok(0));
    }

    #[test]
    fn what_is_no_length_of_time_says_what_to_write() {
        assert!(span("10").unwrap_err().contains("write 10s"));
        for text in [
            "", "s", "ten", "-1s", "1.2.3s", "10 s", "1d", "s10", "infs", "NaNs",
        ] {
            assert!(span(text).unwrap_err().contains("500ms"), "{text}");
        }
        assert!(span("99999999999999999999999999h").is_err());
        assert!(span("8000h").unwrap_err().contains("seven days"));
    }

    #[test]
    fn shares() {
        assert_eq!(share("1%"), Ok(Share(10_000)));
        assert_eq!(share("0.5%"), Ok(Share(5_000)));
        assert_eq!(share("0.01"), Ok(Share(10_000)));
        assert_eq!(share("1"), Ok(Share(1_000_000)));
        for text in ["", "%", "101%", "1.5", "-1%", "nan", "1e-2", "one"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}
