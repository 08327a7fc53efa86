//! nft's JSON expressions in nft's own words, for dumps that hold the JSON alone.

use serde_json::{Map, Value as Json};

/// A rule's `expr` as one line, counters without their values.
pub(super) fn render_rule(expressions: &[Json], comment: Option<&str>) -> String {
    let mut words: Vec<String> = expressions.iter().map(render).collect();
    if let Some(comment) = comment {
        words.push(format!("comment \"{comment}\""));
    }
    words.join(" ")
}

/// One expression or statement.
pub(super) fn render(json: &Json) -> String {
    render_to(json, 0)
}

/// How deep expressions are followed; nft itself nests three or four.
const DEPTH: usize = 16;

fn render_to(json: &Json, depth: usize) -> String {
    if depth > DEPTH {
        return "…".to_owned();
    }
    let inner = |json: &Json| render_to(json, depth + 1);
    match json {
        Json::String(text) => text.clone(),
        Json::Array(list) => joined(list, ",", depth),
        Json::Object(object) => match object.iter().next() {
            Some((name, body)) if object.len() == 1 => statement(name, body, &inner, depth),
            _ => members(object, &inner),
        },
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

fn joined(list: &[Json], separator: &str, depth: usize) -> String {
    let parts: Vec<String> = list.iter().map(|part| render_to(part, depth + 1)).collect();
    parts.join(separator)
}

fn members(object: &Map<String, Json>, inner: &dyn Fn(&Json) -> String) -> String {
    let parts: Vec<String> = object
        .iter()
        .map(|(name, value)| format!("{name} {}", inner(value)).trim_end().to_owned())
        .collect();
    parts.join(" ")
}

/// The words of one member of `body`, with a word before them; nothing when it is not there.
fn part(body: &Json, name: &str, before: &str, inner: &dyn Fn(&Json) -> String) -> String {
    match body.get(name) {
        Some(value) => format!(" {before}{}", inner(value)),
        None => String::new(),
    }
}

fn statement(name: &str, body: &Json, inner: &dyn Fn(&Json) -> String, depth: usize) -> String {
    let text = |field: &str| body.get(field).map(inner).unwrap_or_default();
    match name {
        "match" => comparison(body, inner),
        "counter" if body.is_string() => format!("counter name \"{}\"", inner(body)),
        "counter" => "counter".to_owned(),
        "meta" => match text("key").as_str() {
            key @ ("iif" | "oif" | "iifname" | "oifname") => key.to_owned(),
            key => format!("meta {key}"),
        },
        "ct" => format!("ct{} {}", part(body, "dir", "", inner), text("key")),
        "payload" if body.get("base").is_some() => {
            format!("@{},{},{}", text("base"), text("offset"), text("len"))
        }
        "payload" => format!("{} {}", text("protocol"), text("field")),
        "fib" => {
            let flags = match body.get("flags") {
                Some(Json::Array(flags)) => joined(flags, " . ", depth),
                Some(flag) => inner(flag),
                None => String::new(),
            };
            format!("fib {flags} {}", text("result"))
        }
        "prefix" => format!("{}/{}", text("addr"), text("len")),
        "range" => list(body, "-", depth),
        "concat" => list(body, " . ", depth),
        "set" if body.is_array() => format!("{{ {} }}", elements(body, depth)),
        "set" => format!(
            "{} {} {{ {}{} }}",
            text("op"),
            text("set"),
            text("elem"),
            part(body, "stmt", "", inner)
        ),
        "elem" => text("val"),
        "map" => format!("{} map {}", text("key"), text("data")),
        "vmap" => format!("{} vmap {}", text("key"), text("data")),
        "&" | "|" | "^" | "<<" | ">>" => list(body, &format!(" {name} "), depth),
        "mangle" => {
            let key = body.get("key").unwrap_or(&Json::Null);
            let value = body.get("value").unwrap_or(&Json::Null);
            format!("{} set {}", inner(key), operand(key, value, inner))
        }
        "jump" | "goto" => format!("{name} {}", text("target")),
        "reject" => match (body.get("type"), body.get("expr")) {
            (Some(kind), Some(code)) => format!("reject with {} {}", inner(kind), inner(code)),
            (Some(kind), None) => format!("reject with {}", inner(kind)),
            _ => "reject".to_owned(),
        },
        "dnat" | "snat" | "masquerade" | "redirect" | "tproxy" => translation(name, body, inner),
        "queue" => format!(
            "queue{}{}",
            part(body, "flags", "flags ", inner),
            part(body, "num", "to ", inner)
        ),
        "ct count" => {
            let over = match body.get("inv").and_then(Json::as_bool) {
                Some(true) => "over ",
                _ => "",
            };
            format!("ct count {over}{}", text("val"))
        }
        "limit" => {
            let over = match body.get("inv").and_then(Json::as_bool) {
                Some(true) => "over ",
                _ => "",
            };
            let (unit, burst_unit) = match body.get("rate_unit") {
                Some(unit) => (format!(" {}", inner(unit)), text("burst_unit")),
                None => (String::new(), "packets".to_owned()),
            };
            // What nft leaves out: a burst of 5 packets, or of no bytes.
            let burst = match (body.get("burst").and_then(Json::as_u64), unit.is_empty()) {
                (None | Some(0), _) | (Some(5), true) => String::new(),
                (Some(burst), _) => format!(" burst {burst} {burst_unit}"),
            };
            format!(
                "limit rate {over}{}{unit}/{}{burst}",
                text("rate"),
                text("per")
            )
        }
        "log" => format!(
            "log{}{}{}",
            body.get("prefix")
                .and_then(Json::as_str)
                .map(|prefix| format!(" prefix \"{prefix}\""))
                .unwrap_or_default(),
            part(body, "group", "group ", inner),
            part(body, "level", "level ", inner)
        ),
        "unknown" => inner(body),
        "socket" | "rt" => format!("{name} {}", text("key")),
        "numgen" => format!("numgen {} mod {}", text("mode"), text("mod")),
        "jhash" => format!("jhash {} mod {}", text("expr"), text("mod")),
        "exthdr" if body.get("field").is_some() => format!("{} {}", text("name"), text("field")),
        "exthdr" => format!("exthdr {}", text("name")),
        "quota" if body.is_string() => format!("quota name \"{}\"", inner(body)),
        "xt" => format!("xt {} {}", text("type"), text("name")),
        "fwd" | "dup" => format!(
            "{name} to{}{}",
            part(body, "addr", "", inner),
            part(body, "dev", "", inner)
        ),
        "tcp option" => format!("tcp option {} {}", text("name"), text("field"))
            .trim_end()
            .to_owned(),
        _ => format!("{name} {}", inner(body)).trim_end().to_owned(),
    }
}

fn list(body: &Json, separator: &str, depth: usize) -> String {
    match body {
        Json::Array(parts) => joined(parts, separator, depth),
        other => render_to(other, depth + 1),
    }
}

/// The elements of a set, or of a map: `a, b`, `a : drop, b : accept`.
fn elements(body: &Json, depth: usize) -> String {
    let Some(list) = body.as_array() else {
        return String::new();
    };
    let parts: Vec<String> = list
        .iter()
        .map(|element| match element {
            Json::Array(pair) => joined(pair, " : ", depth),
            other => render_to(other, depth + 1),
        })
        .collect();
    parts.join(", ")
}

fn comparison(body: &Json, inner: &dyn Fn(&Json) -> String) -> String {
    let operator = match body.get("op").and_then(Json::as_str) {
        None | Some("==" | "in") => String::new(),
        Some(operator) => format!("{operator} "),
    };
    let left = body.get("left").unwrap_or(&Json::Null);
    let right = body.get("right").unwrap_or(&Json::Null);
    // nft writes `flags & (syn|ack) == syn` as `flags syn / syn,ack`.
    if let Some([Json::Object(field), mask]) =
        left.get("&").and_then(Json::as_array).map(Vec::as_slice)
    {
        let field = Json::Object(field.clone());
        let flags = field.pointer("/payload/field").and_then(Json::as_str) == Some("flags");
        return match flags {
            true => format!(
                "{} {operator}{} / {}",
                inner(&field),
                inner(right),
                inner(mask)
            ),
            false => {
                let operator = if operator.is_empty() {
                    "== "
                } else {
                    &operator
                };
                let (mask, right) = (operand(&field, mask, inner), operand(&field, right, inner));
                format!("{} & {mask} {operator}{right}", inner(&field))
            }
        };
    }
    let right = match right {
        Json::Bool(true) => "exists".to_owned(),
        Json::Bool(false) => "missing".to_owned(),
        other => operand(left, other, inner),
    };
    format!("{} {operator}{right}", inner(left))
}

/// What a key is compared with or set to: interfaces stand in quotes, marks are hexadecimal.
fn operand(key: &Json, value: &Json, inner: &dyn Fn(&Json) -> String) -> String {
    let of = |pointer| key.pointer(pointer).and_then(Json::as_str);
    let interface = matches!(of("/meta/key"), Some("iif" | "oif" | "iifname" | "oifname"));
    let mark = of("/meta/key") == Some("mark") || of("/ct/key") == Some("mark");
    match value {
        Json::String(name) if interface && !name.starts_with('@') => format!("\"{name}\""),
        Json::Number(number) if mark => number
            .as_u64()
            .map_or_else(|| inner(value), |number| format!("0x{number:08x}")),
        Json::Object(object) => match (
            object.get("set").and_then(Json::as_array),
            object.iter().next().map(|(k, v)| (k.as_str(), v)),
        ) {
            (Some(list), _) if interface => {
                let names: Vec<String> =
                    list.iter().map(|name| operand(key, name, inner)).collect();
                format!("{{ {} }}", names.join(", "))
            }
            (None, Some((operator @ ("&" | "|" | "^"), Json::Array(parts)))) if mark => {
                let parts: Vec<String> =
                    parts.iter().map(|part| operand(key, part, inner)).collect();
                parts.join(&format!(" {operator} "))
            }
            _ => inner(value),
        },
        _ => inner(value),
    }
}

/// `dnat to 10.0.0.2:80`, `dnat ip6 to [fd00::2]:80`, `masquerade to :1024-2000 random`.
fn translation(name: &str, body: &Json, inner: &dyn Fn(&Json) -> String) -> String {
    let mut text = name.to_owned();
    text.push_str(&part(body, "family", "", inner));
    let address = body.get("addr").map(inner);
    let port = body.get("port").map(inner);
    match (address, port) {
        (Some(address), Some(port)) if address.contains(':') => {
            text.push_str(&format!(" to [{address}]:{port}"));
        }
        (Some(address), Some(port)) => text.push_str(&format!(" to {address}:{port}")),
        (Some(address), None) => text.push_str(&format!(" to {address}")),
        (None, Some(port)) => text.push_str(&format!(" to :{port}")),
        (None, None) => {}
    }
    text.push_str(&part(body, "flags", "", inner));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_like_nft() {
        for (expression, text) in [
            (
                json!({"match": {"op": "!=", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}),
                "iifname != \"lo\"",
            ),
            (
                json!({"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}},
                    "right": {"set": [22, {"range": [80, 90]}]}}}),
                "tcp dport { 22, 80-90 }",
            ),
            (
                json!({"match": {"op": "==", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}},
                    ["fin", "syn"]]}, "right": "syn"}}),
                "tcp flags syn / fin,syn",
            ),
            (
                json!({"vmap": {"key": {"ct": {"key": "state"}},
                    "data": {"set": [["invalid", {"drop": null}], ["new", {"jump": {"target": "a"}}]]}}}),
                "ct state vmap { invalid : drop, new : jump a }",
            ),
            (
                json!({"dnat": {"family": "ip6", "addr": "fd00::2", "port": 80}}),
                "dnat ip6 to [fd00::2]:80",
            ),
            (
                json!({"match": {"op": "==", "left": {"fib": {"result": "oif", "flags": ["saddr", "iif"]}}, "right": false}}),
                "fib saddr . iif oif missing",
            ),
            (
                json!({"match": {"op": "==", "left": {"&": [{"meta": {"key": "mark"}}, 255]}, "right": 5}}),
                "meta mark & 0x000000ff == 0x00000005",
            ),
        ] {
            assert_eq!(render(&expression), text);
        }
    }

    #[test]
    fn endless_nesting_ends() {
        let mut json = json!(1);
        for _ in 0..100 {
            json = json!({ "|": [json, 2] });
        }
        assert!(render(&json).contains('…'));
    }
}
