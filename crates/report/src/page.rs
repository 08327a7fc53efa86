//! A page of text for a terminal: indented, wrapped to a width, coloured where asked. All text passes [`clean`].

use crate::clean;

/// How a page is to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether ANSI colours may be used.
    pub color: bool,
    /// The width in columns to wrap at; at least [`Style::NARROWEST`] is used.
    pub width: usize,
}

impl Style {
    /// The narrowest page; below it, lines are as long as this.
    pub const NARROWEST: usize = 40;

    /// Without colours, 80 columns: for files and pipes.
    pub const PLAIN: Style = Style {
        color: false,
        width: 80,
    };

    fn columns(self) -> usize {
        self.width.max(Self::NARROWEST)
    }
}

impl Default for Style {
    fn default() -> Self {
        Style::PLAIN
    }
}

/// What a piece of text is, as far as its colour tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// As the terminal has it.
    Plain,
    /// Something died or is missing.
    Bad,
    /// Something stands still, or is there in part.
    Warn,
    /// All is well.
    Good,
    /// Not decided.
    Open,
    /// Headings and names.
    Strong,
    /// Of less importance.
    Faint,
}

impl Color {
    /// The SGR parameters (ECMA-48 8.3.117).
    const fn parameters(self) -> &'static str {
        match self {
            Color::Plain => "",
            Color::Bad => "1;31",
            Color::Warn => "1;33",
            Color::Good => "1;32",
            Color::Open => "1;35",
            Color::Strong => "1",
            Color::Faint => "2",
        }
    }
}

/// A page that is being written. Text enters it only through its methods, and all of them take out control characters.
#[derive(Debug)]
pub struct Page {
    style: Style,
    out: String,
}

impl Page {
    /// An empty page.
    pub fn new(style: Style) -> Self {
        Page {
            style,
            out: String::new(),
        }
    }

    /// The width in columns that lines are wrapped at.
    pub fn columns(&self) -> usize {
        self.style.columns()
    }

    /// An empty line, unless the page is empty or ends with one.
    pub fn gap(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// A paragraph: `head` in its colour, padded to `hang` columns, then `body` wrapped behind it. Continuation lines are
    /// indented by `indent + hang`.
    pub fn entry(&mut self, indent: usize, head: (&str, Color), hang: usize, body: &str) {
        self.entry_colored(indent, head, hang, (body, Color::Plain));
    }

    /// Like [`Page::entry`], with a colour for the body.
    pub fn entry_colored(
        &mut self,
        indent: usize,
        head: (&str, Color),
        hang: usize,
        body: (&str, Color),
    ) {
        let label = clean(head.0);
        let label_width = display_width(&label);
        let body_text = clean(body.0);
        let margin = indent.saturating_add(hang);
        if label_width > hang && indent.saturating_add(label_width) > self.columns() / 2 {
            self.lines(indent, &label, head.1);
            self.lines(margin.max(indent.saturating_add(4)), &body_text, body.1);
            return;
        }
        let room = self.columns().saturating_sub(margin).max(16);
        let first_room = if label_width >= hang && hang > 0 {
            room.saturating_sub(label_width.saturating_add(1).saturating_sub(hang))
                .max(1)
        } else {
            room
        };
        let mut lines = wrap(&body_text, first_room, room).into_iter();
        self.pad(indent);
        self.paint(&label, head.1);
        match lines.next() {
            Some(first) if !first.is_empty() => {
                if label_width < hang {
                    self.pad(hang - label_width);
                } else if label_width > 0 {
                    self.out.push(' ');
                }
                self.paint(&first, body.1);
            }
            _ => {}
        }
        self.out.push('\n');
        for line in lines {
            self.pad(margin);
            self.paint(&line, body.1);
            self.out.push('\n');
        }
    }

    /// A row of cells, each padded to its width and followed by a space, and then a wrapped text. Where cells leave less
    /// than a third of the page, the text goes below them.
    pub fn row(&mut self, indent: usize, cells: &[(&str, Color, usize)], body: &str) {
        let mut margin = indent;
        self.pad(indent);
        for (index, (text, color, width)) in cells.iter().enumerate() {
            let text = clean(text);
            let used = display_width(&text);
            self.paint(&text, *color);
            if index + 1 < cells.len() || !body.is_empty() {
                self.pad(width.saturating_sub(used).saturating_add(1));
            }
            margin = margin.saturating_add(used.max(*width)).saturating_add(1);
        }
        let body = clean(body);
        let mut room = self.columns().saturating_sub(margin);
        if body.is_empty() {
            self.end_line();
            return;
        }
        if room < self.columns() / 3 {
            margin = indent.saturating_add(4);
            room = self.columns().saturating_sub(margin);
            self.end_line();
            self.pad(margin);
        }
        for (index, line) in wrap(&body, room, room).iter().enumerate() {
            if index > 0 {
                self.pad(margin);
            }
            self.paint(line, Color::Plain);
            self.end_line();
        }
    }

    /// A wrapped paragraph.
    pub fn paragraph(&mut self, indent: usize, text: &str) {
        self.entry(indent, ("", Color::Plain), 0, text);
    }

    /// A wrapped paragraph in a colour.
    pub fn colored(&mut self, indent: usize, text: &str, color: Color) {
        self.entry_colored(indent, ("", Color::Plain), 0, (text, color));
    }

    /// The finished page.
    pub fn finish(self) -> String {
        self.out
    }

    fn pad(&mut self, columns: usize) {
        self.out.extend(std::iter::repeat_n(' ', columns));
    }

    /// A wrapped text, every line at the same margin; nothing for an empty one.
    fn lines(&mut self, margin: usize, text: &str, color: Color) {
        let room = self.columns().saturating_sub(margin).max(16);
        for line in wrap(text, room, room) {
            if !line.is_empty() {
                self.pad(margin);
                self.paint(&line, color);
                self.end_line();
            }
        }
    }

    /// Ends the line, without spaces before its end.
    fn end_line(&mut self) {
        let length = self.out.trim_end_matches(' ').len();
        self.out.truncate(length);
        self.out.push('\n');
    }

    /// Appends text that is already clean.
    fn paint(&mut self, text: &str, color: Color) {
        let parameters = color.parameters();
        if self.style.color && !parameters.is_empty() && !text.is_empty() {
            self.out.push_str("\u{1b}[");
            self.out.push_str(parameters);
            self.out.push('m');
            self.out.push_str(text);
            self.out.push_str("\u{1b}[0m");
        } else {
            self.out.push_str(text);
        }
    }
}

/// How many columns a terminal gives to the text: East Asian wide characters and most pictographs take two, combining
/// marks none. An approximation of Unicode Standard Annex 11 that suffices for alignment.
pub(crate) fn display_width(text: &str) -> usize {
    text.chars().map(column_width).sum()
}

fn column_width(character: char) -> usize {
    match u32::from(character) {
        0x300..=0x36f | 0x1ab0..=0x1aff | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Breaks text at spaces into lines of at most `first` and then `rest` columns; a word that is too long is broken.
fn wrap(text: &str, first: usize, rest: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0usize;
    let mut room = first.max(1);
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let width = display_width(word);
        let gap = usize::from(used > 0);
        if used > 0 && used + gap + width > room {
            lines.push(std::mem::take(&mut line));
            used = 0;
            room = rest.max(1);
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        for character in word.chars() {
            let columns = column_width(character);
            if used > 0 && used + columns > room {
                lines.push(std::mem::take(&mut line));
                used = 0;
                room = rest.max(1);
            }
            line.push(character);
            used += columns;
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(width: usize, write: impl FnOnce(&mut Page)) -> String {
        let mut page = Page::new(Style {
            color: false,
            width,
        });
        write(&mut page);
        page.finish()
    }

    #[test]
    fn entries_hang_under_their_label() {
        let text = page(40, |page| {
            page.entry(
                2,
                ("For", Color::Strong),
                8,
                "seven SYNs arrived and none of them went further",
            );
        });
        assert_eq!(
            text,
            "  For     seven SYNs arrived and none of\n          them went further\n"
        );
    }

    #[test]
    fn a_long_label_pushes_its_text() {
        let text = page(40, |page| {
            page.entry(
                0,
                ("longer than eight", Color::Plain),
                8,
                "text goes on behind it and below",
            );
        });
        insta::assert_snapshot!(text, @r"
        longer than eight text goes on behind it
                and below
        ");
    }

    #[test]
    fn a_label_as_long_as_the_page_stands_above_its_text() {
        let text = page(40, |page| {
            page.entry(
                2,
                (
                    "a label that does not fit beside anything at all",
                    Color::Plain,
                ),
                4,
                "text below it",
            );
        });
        assert_eq!(
            text,
            "  a label that does not fit beside\n  anything at all\n      text below it\n"
        );
    }

    #[test]
    fn a_word_longer_than_the_line_is_broken() {
        assert_eq!(wrap("ab abcdefgh c", 4, 4), ["ab", "abcd", "efgh", "c"]);
        assert_eq!(wrap("", 4, 4), [""]);
        assert_eq!(wrap("中中中", 4, 4), ["中中", "中"]);
    }

    #[test]
    fn no_line_is_wider_than_the_page() {
        let text = page(44, |page| {
            page.entry(
                4,
                ("Rule", Color::Plain),
                10,
                "-A INPUT -s 172.17.0.2/32 -p tcp -m tcp --dport 3306 -m comment --comment aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa -j QUEUE",
            );
        });
        assert!(text.lines().all(|line| display_width(line) <= 44), "{text}");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let text = page(60, |page| {
            page.entry(0, ("la\u{1b}[1mbel", Color::Bad), 8, "bo\u{7}dy\nDELIVERED");
            page.paragraph(0, "\u{1b}]0;title\u{7}");
        });
        assert!(
            text.chars().all(|c| c == '\n' || !c.is_control()),
            "{text:?}"
        );
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn colours_are_used_only_when_asked_for() {
        let mut page = Page::new(Style {
            color: true,
            width: 80,
        });
        page.colored(0, "LOST", Color::Bad);
        assert_eq!(page.finish(), "\u{1b}[1;31mLOST\u{1b}[0m\n");
    }
}
