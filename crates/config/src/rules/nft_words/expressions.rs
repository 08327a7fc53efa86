//! nft's comparisons: left-hand side, operator, right-hand side.

use std::net::IpAddr;

use serde_json::{Value as Json, json};

use super::{Cursor, unquoted};

/// Headers whose fields are one word each.
const HEADERS: &[&str] = &[
    "ip", "ip6", "tcp", "udp", "udplite", "sctp", "dccp", "th", "icmp", "icmpv6", "ether", "arp",
    "vlan", "ah", "esp", "comp", "igmp",
];

/// Words of `meta` that stand without it.
const UNQUALIFIED: &[&str] = &[
    "iif",
    "oif",
    "iifname",
    "oifname",
    "iifgroup",
    "oifgroup",
    "iiftype",
    "oiftype",
    "mark",
    "pkttype",
    "skuid",
    "skgid",
    "rtclassid",
    "nfproto",
    "l4proto",
];

impl Cursor<'_> {
    /// A match, a verdict map, or `KEY set VALUE`.
    pub(super) fn comparison(&mut self) -> Option<Json> {
        let left = self.left()?;
        if self.accept("vmap") {
            let data = self.right(true)?;
            return Some(json!({"vmap": { "key": left, "data": data }}));
        }
        if self.accept("set") {
            let value = self.assigned()?;
            return Some(json!({"mangle": { "key": left, "value": value }}));
        }
        let explicit = match self.peek()? {
            operator @ ("==" | "!=" | "<" | ">" | "<=" | ">=" | "!") => {
                self.next += 1;
                Some(operator)
            }
            _ => None,
        };
        match self.peek() {
            Some("missing") => {
                self.next += 1;
                return Some(json!({"match": { "op": "==", "left": left, "right": false }}));
            }
            Some("exists") => {
                self.next += 1;
                return Some(json!({"match": { "op": "==", "left": left, "right": true }}));
            }
            _ => {}
        }
        let right = self.right(false)?;
        if self.accept("/") {
            // `tcp flags syn / fin,syn`: the bits behind the slash are the mask.
            let mask = self.right(false)?;
            let left = json!({ "&": [left, mask] });
            return Some(
                json!({"match": { "op": explicit.unwrap_or("=="), "left": left, "right": right }}),
            );
        }
        let operator = explicit.unwrap_or(implicit(&left, &right));
        Some(json!({"match": { "op": operator, "left": left, "right": right }}))
    }

    /// What a left-hand side is, with `.` between the parts of a concatenation, and `& MASK`.
    pub(super) fn left(&mut self) -> Option<Json> {
        let mut parts = vec![self.part()?];
        while self.accept(".") {
            parts.push(self.part()?);
        }
        let whole = match parts.len() {
            1 => parts.swap_remove(0),
            _ => json!({ "concat": parts }),
        };
        if self.accept("&") {
            let mask = self.right(false)?;
            return Some(json!({ "&": [whole, mask] }));
        }
        Some(whole)
    }

    fn part(&mut self) -> Option<Json> {
        let word = self.take()?;
        if let Some(raw) = word.strip_prefix('@') {
            let mut numbers = vec![raw.to_owned()];
            while self.accept(",") {
                numbers.push(self.take()?.to_owned());
            }
            let [base, offset, length] = numbers.as_slice() else {
                return None;
            };
            return Some(json!({"payload": { "base": base, "offset": offset, "len": length }}));
        }
        match word {
            "meta" => {
                let key = self.take()?;
                Some(json!({"meta": { "key": key }}))
            }
            "ct" => self.connection(),
            "fib" => self.fib(),
            "tcp" if self.accept("option") => {
                let (name, field) = (self.take()?, self.take()?);
                Some(json!({"tcp option": { "name": name, "field": field }}))
            }
            "exthdr" => {
                let name = self.take()?;
                Some(json!({"exthdr": { "name": name }}))
            }
            "socket" | "rt" | "osf" => {
                let key = self.take()?;
                Some(json!({ word: { "key": key } }))
            }
            "numgen" => {
                let mode = self.take()?;
                self.generator("numgen", json!({ "mode": mode }))
            }
            // nft does not nest hashes either.
            "jhash" if self.peek() != Some("jhash") => {
                let of = self.left()?;
                self.generator("jhash", json!({ "expr": of }))
            }
            "symhash" => self.generator("symhash", json!({})),
            "frag" | "hbh" | "dst" | "mh" | "srh" => {
                let field = self.take()?;
                Some(json!({"exthdr": { "name": word, "field": field }}))
            }
            _ if UNQUALIFIED.contains(&word) => Some(json!({"meta": { "key": word }})),
            _ if HEADERS.contains(&word) => {
                let field = self.take()?;
                Some(json!({"payload": { "protocol": word, "field": field }}))
            }
            _ => None,
        }
    }

    /// `ct state`, `ct mark`, `ct original ip saddr`, `ct reply packets`.
    fn connection(&mut self) -> Option<Json> {
        let key = self.take()?;
        if !matches!(key, "original" | "reply") {
            return Some(json!({"ct": { "key": key }}));
        }
        let mut name = self.take()?.to_owned();
        if matches!(name.as_str(), "ip" | "ip6") {
            name = format!("{name} {}", self.take()?);
        }
        Some(json!({"ct": { "key": name, "dir": key }}))
    }

    /// `fib saddr . iif oif`, `fib daddr type`.
    fn fib(&mut self) -> Option<Json> {
        let mut flags = vec![self.take()?];
        while self.accept(".") {
            flags.push(self.take()?);
        }
        let result = self.take()?;
        Some(json!({"fib": { "flags": flags, "result": result }}))
    }

    /// `mod 2 [seed 0x1] [offset 3]` behind a generator of numbers.
    fn generator(&mut self, name: &str, mut body: Json) -> Option<Json> {
        while let Some(option @ ("mod" | "seed" | "offset" | "inc" | "random")) = self.peek() {
            self.next += 1;
            body[option] = match option {
                "inc" | "random" => Json::Null,
                _ => atom(self.take()?),
            };
        }
        Some(json!({ name: body }))
    }

    /// A right-hand side: `{ … }`, `@set`, `a,b`, `a | b`, `a . b`, one value.
    pub(super) fn right(&mut self, map: bool) -> Option<Json> {
        if self.accept("{") {
            let elements = self.elements(map);
            return Some(json!({ "set": elements }));
        }
        if self.peek()?.starts_with('@') {
            return Some(json!(self.take()?));
        }
        let first = self.value()?;
        let mut list = vec![first];
        let separator = match self.peek() {
            Some(separator @ ("," | "|" | ".")) => separator,
            _ => return list.pop(),
        };
        while self.accept(separator) {
            list.push(self.value()?);
        }
        Some(match separator {
            "," => Json::Array(list),
            "|" => json!({ "|": list }),
            _ => json!({ "concat": list }),
        })
    }

    /// Words joined by commas.
    pub(super) fn list(&mut self) -> Option<Vec<Json>> {
        let mut list = vec![self.value()?];
        while self.accept(",") {
            list.push(self.value()?);
        }
        Some(list)
    }

    /// One value: an atom, in brackets or not, a range, a prefix.
    pub(super) fn value(&mut self) -> Option<Json> {
        let word = self.take()?;
        if matches!(word, "{" | "}" | "," | ";" | "/" | "." | "|" | "&") {
            return None;
        }
        if self.peek() == Some("-") {
            self.next += 1;
            let last = self.take()?;
            return Some(json!({ "range": [atom(word), atom(last)] }));
        }
        Some(value(word))
    }

    /// What is assigned: `0x9`, `ct mark`, `meta mark & 0xff | 0x1`, `tcp dport map @marks`.
    fn assigned(&mut self) -> Option<Json> {
        let begin = self.next;
        let mut value = match self.part() {
            Some(mut left) => {
                while self.accept(".") {
                    left = json!({ "concat": [left, self.part()?] });
                }
                left
            }
            None => {
                self.next = begin;
                self.value()?
            }
        };
        if self.accept("map") {
            let data = self.right(true)?;
            return Some(json!({"map": { "key": value, "data": data }}));
        }
        while let Some(operator @ ("&" | "|" | "^")) = self.peek() {
            self.next += 1;
            let operand = self.value()?;
            value = json!({ operator: [value, operand] });
        }
        Some(value)
    }

    /// Elements up to the closing brace: `a, b`, `a : drop, b . c : 0x1`.
    pub(super) fn elements(&mut self, map: bool) -> Vec<Json> {
        let mut elements = Vec::new();
        while let Some(word) = self.peek() {
            match word {
                "}" => {
                    self.next += 1;
                    break;
                }
                "," => self.next += 1,
                _ => {
                    let begin = self.next;
                    if let Some(element) = self.element(map) {
                        elements.push(element);
                    } else {
                        self.next = begin;
                        elements.push(json!({ "unknown": word }));
                    }
                    // A counter, a time-out, a comment: the element is known without them.
                    while self.peek().is_some_and(|word| !matches!(word, "," | "}")) {
                        self.next += 1;
                    }
                }
            }
        }
        elements
    }

    fn element(&mut self, map: bool) -> Option<Json> {
        let mut parts = vec![self.value()?];
        while self.accept(".") {
            parts.push(self.value()?);
        }
        let key = match parts.len() {
            1 => parts.swap_remove(0),
            _ => json!({ "concat": parts }),
        };
        if !map {
            return Some(key);
        }
        while self.peek()? != ":" {
            self.next += 1;
        }
        self.next += 1;
        let data = match self.verdict() {
            Some(verdict) => verdict,
            None => self.value()?,
        };
        Some(json!([key, data]))
    }
}

/// The operator that is meant where none is written: for a bit field without braces, "any of these bits".
fn implicit(left: &Json, right: &Json) -> &'static str {
    let of = |pointer| left.pointer(pointer).and_then(Json::as_str);
    let bits = of("/payload/field") == Some("flags") && of("/payload/protocol") == Some("tcp")
        || matches!(of("/ct/key"), Some("state" | "status" | "event" | "label"));
    let set =
        right.get("set").is_some() || right.as_str().is_some_and(|name| name.starts_with('@'));
    if bits && !set { "in" } else { "==" }
}

/// One word as a value: range and prefix are within the word.
fn value(word: &str) -> Json {
    if word.starts_with('"') {
        return Json::String(unquoted(word));
    }
    if let Some((address, length)) = word.split_once('/')
        && address.parse::<IpAddr>().is_ok()
        && let Ok(length) = length.parse::<u8>()
    {
        return json!({"prefix": { "addr": address, "len": length }});
    }
    if let Some((first, last)) = word.split_once('-')
        && is_end(first)
        && is_end(last)
    {
        return json!({ "range": [atom(first), atom(last)] });
    }
    atom(word)
}

/// Whether a word can be the end of a range; names hold hyphens too.
fn is_end(word: &str) -> bool {
    word.parse::<IpAddr>().is_ok() || word.starts_with(|c: char| c.is_ascii_digit())
}

/// A number as a number, anything else as a string.
pub(super) fn atom(word: &str) -> Json {
    if word.starts_with('"') {
        return Json::String(unquoted(word));
    }
    match super::super::names::number(word) {
        Some(number) => json!(number),
        None => json!(word),
    }
}
