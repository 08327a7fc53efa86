//! The words of a filter expression.

/// The words in order.
#[derive(Debug)]
pub(super) struct Words<'a> {
    words: Vec<&'a str>,
    at: usize,
}

/// The signs, longer ones first.
const SIGNS: [&str; 16] = [
    "&&", "||", "==", "!=", ">=", "<=", "(", ")", "[", "]", "!", "&", "=", ">", "<", ":",
];

impl<'a> Words<'a> {
    /// Splits a text.
    pub(super) fn new(text: &'a str) -> Result<Self, String> {
        let mut words = Vec::new();
        let mut rest = text.trim_start();
        // A colon parts offset and size within brackets alone; elsewhere it belongs to an address.
        let mut in_brackets = false;
        while !rest.is_empty() {
            let sign = SIGNS
                .into_iter()
                .find(|sign| rest.starts_with(sign) && (in_brackets || *sign != ":"));
            let length = match sign {
                Some(sign) => sign.len(),
                None => rest
                    .find(|c: char| !is_of_a_name(c, in_brackets))
                    .unwrap_or(rest.len()),
            };
            let (word, behind) = rest.split_at(length);
            if word.is_empty() {
                let found = rest.chars().next().unwrap_or_default();
                return Err(format!("\"{}\" is not understood", found.escape_default()));
            }
            match word {
                "[" => in_brackets = true,
                "]" => in_brackets = false,
                _ => {}
            }
            words.push(word);
            rest = behind.trim_start();
        }
        Ok(Words { words, at: 0 })
    }

    /// The next word, which stays.
    pub(super) fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    /// The one behind it.
    pub(super) fn peek_second(&self) -> Option<&'a str> {
        self.words.get(self.at + 1).copied()
    }

    /// Takes the next word.
    pub(super) fn next(&mut self) -> Option<&'a str> {
        let word = self.peek()?;
        self.at += 1;
        Some(word)
    }
}

fn is_of_a_name(c: char, in_brackets: bool) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '/' | '_') || (c == ':' && !in_brackets)
}
