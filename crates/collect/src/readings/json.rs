//! A JSON writer that keeps the order of iproute2's own output, so that people can compare the two by eye.

use std::fmt::{Display, Write};

/// JSON text under construction. The caller opens and closes in pairs.
#[derive(Debug, Default)]
pub(super) struct Json {
    out: String,
}

impl Json {
    fn comma(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with(['{', '[', ':']) {
            self.out.push(',');
        }
    }

    fn quoted(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\t' => self.out.push_str("\\t"),
                other if other.is_control() => {
                    let _ = write!(self.out, "\\u{:04x}", u32::from(other));
                }
                other => self.out.push(other),
            }
        }
        self.out.push('"');
    }

    fn name(&mut self, name: &str) {
        self.comma();
        self.quoted(name);
        self.out.push(':');
    }

    /// `"name":"value"`
    pub(super) fn text(&mut self, name: &str, value: impl AsRef<str>) {
        self.name(name);
        self.quoted(value.as_ref());
    }

    /// `"name":value`, for anything that is displayed as JSON wants it: numbers, booleans.
    pub(super) fn value(&mut self, name: &str, value: impl Display) {
        self.name(name);
        let _ = write!(self.out, "{value}");
    }

    /// `"name":null`, iproute2's way of saying "yes".
    pub(super) fn null(&mut self, name: &str) {
        self.value(name, "null");
    }

    /// An element of an array.
    pub(super) fn element(&mut self, value: &str) {
        self.comma();
        self.quoted(value);
    }

    /// `"name":{…}`
    pub(super) fn object(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        self.name(name);
        self.braces(inside);
    }

    /// `"name":[…]`
    pub(super) fn array(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        self.name(name);
        self.out.push('[');
        inside(self);
        self.out.push(']');
    }

    /// An object as an element of an array.
    pub(super) fn item(&mut self, inside: impl FnOnce(&mut Self)) {
        self.comma();
        self.braces(inside);
    }

    fn braces(&mut self, inside: impl FnOnce(&mut Self)) {
        self.out.push('{');
        inside(self);
        self.out.push('}');
    }

    /// A whole document that is one array, with a line's end.
    pub(super) fn document(inside: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut json = Json {
            out: String::with_capacity(4096),
        };
        json.out.push('[');
        inside(&mut json);
        json.out.push_str("]\n");
        json.out.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_json() {
        let bytes = Json::document(|json| {
            json.item(|json| {
                json.text("name", "a\"b\\c\u{1}\n");
                json.value("mtu", 1500);
                json.array("flags", |json| {
                    json.element("UP");
                    json.element("LOWER_UP");
                });
                json.object("empty", |_| {});
                json.null("router");
            });
            json.item(|_| {});
        });
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "[{\"name\":\"a\\\"b\\\\c\\u0001\\n\",\"mtu\":1500,\"flags\":[\"UP\",\"LOWER_UP\"],\"empty\":{},\"router\":null},{}]\n"
        );
    }
}
