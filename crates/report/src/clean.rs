//! Text from others, made safe for a terminal.

use std::borrow::Cow;

/// `text` without anything that a terminal would obey: C0 and C1 control characters and DEL are taken out, line breaks
/// and tabs become one space, and so do the Unicode line and paragraph separators. Characters that reorder or hide text
/// (bidirectional controls, zero-width characters, the byte order mark) are taken out too, so that what one reads is
/// what was there.
///
/// An escape sequence loses its ESC and stays readable as plain text: somebody who tries to hide a rule's comment that
/// way is seen trying.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' | '\u{0b}' | '\u{0c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                if !out.ends_with(' ') {
                    out.push(' ');
                }
            }
            hostile if is_hostile(hostile) => {}
            plain => out.push(plain),
        }
    }
    Cow::Owned(out)
}

/// Whether a terminal would act on this character, or show it as nothing.
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_not_copied() {
        assert!(matches!(
            clean("-A INPUT -j DROP · ü 中"),
            Cow::Borrowed("-A INPUT -j DROP · ü 中")
        ));
    }

    #[test]
    fn escape_sequences_lose_their_escape() {
        assert_eq!(clean("a\u{1b}[2J\u{9b}31mb\u{7f}\u{7}"), "a[2J31mb");
        assert_eq!(clean("\u{1b}]0;owned\u{7}x"), "]0;ownedx");
    }

    #[test]
    fn lines_cannot_be_forged() {
        assert_eq!(clean("one\r\n\tDELIVERED\u{2028}two"), "one DELIVERED two");
    }

    #[test]
    fn text_cannot_be_reordered_or_hidden() {
        assert_eq!(clean("a\u{202e}b\u{2066}c\u{200b}d\u{feff}"), "abcd");
    }
}
