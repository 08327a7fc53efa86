//! One line of nft's text, brought into the form of its JSON.
//!
//! A rule is a sequence of statements without separators between them, so that every left-hand side has to be known to tell
//! where it ends. What is not known becomes one unknown statement up to the next word that surely begins another.

use serde_json::{Value as Json, json};

/// The words of a line: what stands between blanks, with quotes and brackets kept together, and commas apart.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut flush = |word: &mut String| {
        if !word.is_empty() {
            words.push(std::mem::take(word));
        }
    };
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.push(c);
            }
            _ if quoted => word.push(c),
            c if c.is_whitespace() => flush(&mut word),
            '{' | '}' | ',' | ';' => {
                flush(&mut word);
                flush(&mut c.to_string());
            }
            c => word.push(c),
        }
    }
    flush(&mut word);
    words
}

/// A rule's words as the list `expr` of nft's JSON; the rule's comment beside it.
pub(super) fn parse_rule(words: &[String]) -> (Vec<Json>, Option<String>) {
    let mut cursor = Cursor { words, next: 0 };
    let mut expressions = Vec::new();
    let mut comment = None;
    while let Some(word) = cursor.peek() {
        let begin = cursor.next;
        if word == "comment" {
            cursor.next += 1;
            comment = cursor.take().map(unquoted);
            continue;
        }
        match cursor.statement() {
            Some(expression) => expressions.push(expression),
            None => {
                cursor.next = begin;
                expressions.push(cursor.unknown());
            }
        }
    }
    (expressions, comment)
}

/// The elements of a set or map: the words between its braces.
pub(super) fn parse_elements(words: &[String], map: bool) -> Vec<Json> {
    let mut cursor = Cursor { words, next: 0 };
    cursor.elements(map)
}

/// A left-hand side, as `typeof` declares a set's key.
pub(super) fn parse_key(words: &[String]) -> Option<Json> {
    let mut cursor = Cursor { words, next: 0 };
    let key = cursor.left()?;
    cursor.peek().is_none().then_some(key)
}

fn unquoted(word: &str) -> String {
    word.trim_matches('"').to_owned()
}

struct Cursor<'a> {
    words: &'a [String],
    next: usize,
}

/// Words that begin a statement, wherever they stand: an unknown statement ends before them.
const BEGINNINGS: &[&str] = &[
    "accept",
    "drop",
    "reject",
    "queue",
    "return",
    "continue",
    "jump",
    "goto",
    "counter",
    "log",
    "limit",
    "dnat",
    "snat",
    "masquerade",
    "redirect",
    "comment",
    "notrack",
];

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).map(String::as_str)
    }

    fn peek_at(&self, ahead: usize) -> Option<&'a str> {
        self.words.get(self.next + ahead).map(String::as_str)
    }

    fn take(&mut self) -> Option<&'a str> {
        let word = self.peek()?;
        self.next += 1;
        Some(word)
    }

    fn accept(&mut self, word: &str) -> bool {
        let is = self.peek() == Some(word);
        if is {
            self.next += 1;
        }
        is
    }

    /// Everything up to the next word that begins a statement, as a statement that nobody knows.
    fn unknown(&mut self) -> Json {
        let begin = self.next;
        self.next += 1;
        let mut depth = usize::from(self.words.get(begin).is_some_and(|word| word == "{"));
        while let Some(word) = self.peek() {
            match word {
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                word if depth == 0 && BEGINNINGS.contains(&word) => break,
                _ => {}
            }
            self.next += 1;
        }
        json!({ "unknown": self.words[begin..self.next].join(" ") })
    }

    fn statement(&mut self) -> Option<Json> {
        if let Some(verdict) = self.verdict() {
            return Some(verdict);
        }
        let word = self.peek()?;
        match word {
            "counter" => {
                self.next += 1;
                self.counter()
            }
            "notrack" => {
                self.next += 1;
                Some(json!({ "notrack": null }))
            }
            "log" => {
                self.next += 1;
                Some(self.log())
            }
            "limit" => {
                self.next += 1;
                self.limit()
            }
            "reject" => {
                self.next += 1;
                self.reject()
            }
            "queue" => {
                self.next += 1;
                self.queue()
            }
            "dnat" | "snat" | "masquerade" | "redirect" | "tproxy" => {
                self.next += 1;
                self.translation(word)
            }
            "fwd" | "dup" => {
                self.next += 1;
                self.accept("to");
                let target = unquoted(self.take()?);
                Some(json!({ word: { "dev": target } }))
            }
            "xt" => {
                self.next += 1;
                let kind = self.take()?;
                let name = unquoted(self.take()?);
                Some(json!({"xt": { "type": kind, "name": name }}))
            }
            "add" | "update" | "delete" if self.peek_at(1)?.starts_with('@') => {
                self.set_statement()
            }
            "ct" if self.peek_at(1) == Some("count") => {
                self.next += 2;
                let over = self.accept("over");
                let number: u64 = self.take()?.parse().ok()?;
                Some(json!({"ct count": { "val": number, "inv": over }}))
            }
            "ct" if matches!(self.peek_at(1), Some("helper" | "timeout" | "expectation"))
                && self.peek_at(2) == Some("set") =>
            {
                let name = format!("ct {}", self.peek_at(1)?);
                self.next += 3;
                let helper = unquoted(self.take()?);
                Some(json!({ name: helper }))
            }
            _ => self.comparison(),
        }
    }

    fn verdict(&mut self) -> Option<Json> {
        let word = self.peek()?;
        match word {
            "accept" | "drop" | "return" | "continue" => {
                self.next += 1;
                Some(json!({ word: null }))
            }
            "jump" | "goto" => {
                self.next += 1;
                let target = self.take()?;
                Some(json!({ word: { "target": target } }))
            }
            _ => None,
        }
    }

    /// `counter`, `counter packets 5 bytes 300`, `counter name "x"`.
    fn counter(&mut self) -> Option<Json> {
        if self.accept("name") {
            let name = unquoted(self.take()?);
            return Some(json!({ "counter": name }));
        }
        if self.peek() != Some("packets") {
            return Some(json!({ "counter": null }));
        }
        self.next += 1;
        let packets: u64 = self.take()?.parse().ok()?;
        if !self.accept("bytes") {
            return None;
        }
        let bytes: u64 = self.take()?.parse().ok()?;
        Some(json!({"counter": { "packets": packets, "bytes": bytes }}))
    }

    fn log(&mut self) -> Json {
        let mut body = serde_json::Map::new();
        while let Some(
            option @ ("prefix" | "level" | "group" | "snaplen" | "queue-threshold" | "flags"),
        ) = self.peek()
        {
            self.next += 1;
            if option == "flags" {
                // `flags all`, `flags tcp sequence,options`, `flags skuid`.
                let _ = self.take();
                if matches!(self.peek(), Some("sequence" | "options")) {
                    let _ = self.list();
                }
                continue;
            }
            if let Some(value) = self.take() {
                body.insert(option.to_owned(), Json::String(unquoted(value)));
            }
        }
        json!({ "log": body })
    }

    /// `limit rate over 5/second burst 9 packets`, `limit name "x"`.
    fn limit(&mut self) -> Option<Json> {
        if self.accept("name") {
            let name = unquoted(self.take()?);
            return Some(json!({ "limit": name }));
        }
        if !self.accept("rate") {
            return None;
        }
        let over = self.accept("over");
        let mut rate = self.take()?.to_owned();
        if !rate.contains('/') {
            // Bytes have their unit apart: `10 mbytes/second`.
            rate = format!("{rate} {}", self.take()?);
        }
        let burst = match self.accept("burst") {
            true => Some((self.take()?, self.take()?)),
            false => None,
        };
        let (rate, per) = rate.split_once('/')?;
        let mut body = match rate.split_once(' ') {
            Some((rate, unit)) => {
                json!({ "rate": atom(rate), "per": per, "rate_unit": unit, "burst": 0, "burst_unit": "bytes" })
            }
            None => json!({ "rate": atom(rate), "per": per, "burst": 5 }),
        };
        if let Some((burst, unit)) = burst {
            body["burst"] = atom(burst);
            if body.get("rate_unit").is_some() {
                body["burst_unit"] = json!(unit);
            }
        }
        if over {
            body["inv"] = Json::Bool(true);
        }
        Some(json!({ "limit": body }))
    }

    /// `reject`, `reject with tcp reset`, `reject with icmpx [type] admin-prohibited`.
    fn reject(&mut self) -> Option<Json> {
        if !self.accept("with") {
            return Some(json!({ "reject": null }));
        }
        let kind = self.take()?;
        if kind == "tcp" {
            self.accept("reset");
            return Some(json!({"reject": { "type": "tcp reset" }}));
        }
        self.accept("type");
        let code = self.take()?;
        Some(json!({"reject": { "type": kind, "expr": code }}))
    }

    /// `queue`, `queue num 3 bypass`, `queue flags bypass,fanout to 1-3`.
    fn queue(&mut self) -> Option<Json> {
        let mut body = serde_json::Map::new();
        let mut flags = Vec::new();
        loop {
            match self.peek() {
                Some("flags") => {
                    self.next += 1;
                    flags.extend(self.list()?);
                }
                Some("bypass" | "fanout") => flags.extend(self.list()?),
                Some("num" | "to") => {
                    self.next += 1;
                    let number = self.value()?;
                    body.insert("num".to_owned(), number);
                }
                _ => break,
            }
        }
        if !flags.is_empty() {
            body.insert("flags".to_owned(), Json::Array(flags));
        }
        Some(json!({ "queue": body }))
    }

    /// `dnat [ip|ip6] [to] ADDRESS[:PORT] [random,persistent]`, `redirect to :8081`, `dnat to KEY map { … }`.
    fn translation(&mut self, name: &str) -> Option<Json> {
        let mut body = serde_json::Map::new();
        if let Some(family @ ("ip" | "ip6")) = self.peek()
            && matches!(self.peek_at(1), Some("to" | "prefix"))
        {
            body.insert("family".to_owned(), json!(family));
            self.next += 1;
        }
        let prefix = self.accept("prefix");
        if self.accept("to") {
            match self.peek()? {
                word if !prefix && is_address_and_port(word) => {
                    self.next += 1;
                    address_and_port(word, &mut body)?;
                }
                _ => {
                    let key = self.left()?;
                    if !self.accept("map") {
                        return None;
                    }
                    let data = self.right(true)?;
                    body.insert(
                        "addr".to_owned(),
                        json!({"map": { "key": key, "data": data }}),
                    );
                    if self.peek().is_some_and(|word| word.starts_with(':')) {
                        address_and_port(self.take()?, &mut body)?;
                    }
                }
            }
        }
        if matches!(self.peek(), Some("random" | "fully-random" | "persistent")) {
            body.insert("flags".to_owned(), Json::Array(self.list()?));
        }
        Some(json!({ name: body }))
    }

    /// `add @dyn { ip saddr limit rate 10/second }`.
    fn set_statement(&mut self) -> Option<Json> {
        let operation = self.take()?;
        let set = self.take()?;
        if !self.accept("{") {
            return None;
        }
        let element = self.left()?;
        let mut body = json!({ "op": operation, "elem": element, "set": set });
        let begin = self.next;
        while self.peek()? != "}" {
            self.next += 1;
        }
        let rest = &self.words[begin..self.next];
        self.next += 1;
        let mut inner = Cursor {
            words: rest,
            next: 0,
        };
        if inner.accept("timeout") {
            inner.next += 1;
        }
        if inner.peek().is_some() {
            body["stmt"] = json!([{ "unknown": rest.join(" ") }]);
        }
        Some(json!({ "set": body }))
    }
}

/// Whether the word begins with an address, or with the colon before a port.
fn is_address_and_port(word: &str) -> bool {
    word.starts_with([':', '['])
        || word.starts_with(|c: char| c.is_ascii_digit())
        || word.contains("::")
        || word
            .split('-')
            .next()
            .is_some_and(|first| first.parse::<std::net::IpAddr>().is_ok())
}

/// `10.0.0.2:80`, `1.2.3.4-1.2.3.9`, `[fd00::2]:80-90`, `:8081`.
fn address_and_port(word: &str, body: &mut serde_json::Map<String, Json>) -> Option<()> {
    let (address, port) = if let Some(inner) = word.strip_prefix('[') {
        let (address, rest) = inner.rsplit_once(']')?;
        (address, rest.strip_prefix(':'))
    } else if word.matches(':').count() > 1 {
        (word, None)
    } else {
        match word.split_once(':') {
            Some((address, port)) => (address, Some(port)),
            None => (word, None),
        }
    };
    let range = |text: &str| match text.split_once('-') {
        Some((first, last)) => {
            let strip = |part: &str| atom(part.trim_matches(['[', ']']));
            json!({ "range": [strip(first), strip(last)] })
        }
        None => atom(text),
    };
    if !address.is_empty() {
        body.insert("addr".to_owned(), range(address));
    }
    if let Some(port) = port {
        body.insert("port".to_owned(), range(port));
    }
    Some(())
}

mod expressions;

use expressions::atom;
