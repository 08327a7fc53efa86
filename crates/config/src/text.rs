//! Small pieces that the readers of plain text share.

/// An unsigned number, decimal or `0x…`.
pub(crate) fn unsigned(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// An unsigned number that fits.
pub(crate) fn fitting<T: TryFrom<u64>>(text: &str) -> Option<T> {
    T::try_from(unsigned(text)?).ok()
}

/// A link-layer address, `aa:bb:cc:dd:ee:ff`.
pub(crate) fn mac(text: &str) -> Option<[u8; 6]> {
    let mut octets = [0u8; 6];
    let mut parts = text.split(':');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.len() > 2 || part.is_empty() {
            return None;
        }
        *octet = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(octets)
}

/// Words of a line, taken one by one.
#[derive(Debug, Clone)]
pub(crate) struct Words<'a>(std::iter::Peekable<std::str::SplitWhitespace<'a>>);

impl<'a> Words<'a> {
    /// The words of a text.
    pub(crate) fn new(text: &'a str) -> Self {
        Words(text.split_whitespace().peekable())
    }

    /// The next word, which stays.
    pub(crate) fn peek(&mut self) -> Option<&'a str> {
        self.0.peek().copied()
    }

    /// The next word as a value of a type.
    pub(crate) fn value<T: std::str::FromStr>(&mut self) -> Option<T> {
        self.next()?.parse().ok()
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.0.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_addresses() {
        assert_eq!(unsigned("0x1f"), Some(31));
        assert_eq!(unsigned("-1"), None);
        assert_eq!(fitting::<u8>("256"), None);
        assert_eq!(mac("02:00:00:00:00:7f"), Some([2, 0, 0, 0, 0, 127]));
        for bad in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:00:00",
            "2::::::",
            "0200:0:0:0:0:0",
        ] {
            assert_eq!(mac(bad), None, "{bad}");
        }
    }
}
