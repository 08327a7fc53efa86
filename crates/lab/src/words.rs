//! A command's words, split as a shell does, without anything else that a shell does.

/// Splits at white space; `'…'` and `"…"` keep it. There are no escapes, variables or patterns.
///
/// # Errors
/// A quote that is not closed, or nothing at all.
pub(crate) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                // An empty pair of quotes is a word, too.
                word.get_or_insert_default();
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(format!("a quote is not closed in: {text}"));
    }
    words.extend(word);
    if words.is_empty() {
        return Err("the command is empty".to_owned());
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_like_a_shell() {
        assert_eq!(
            split("nft add chain t c '{ type filter; }'  \"\" a'b c'd").unwrap(),
            [
                "nft",
                "add",
                "chain",
                "t",
                "c",
                "{ type filter; }",
                "",
                "ab cd"
            ]
        );
        assert!(split("  ").is_err());
        assert!(split("a 'b").unwrap_err().contains("not closed"));
    }
}
