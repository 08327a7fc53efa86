//! The kinds of JSON, by the keys of the first object. The text may be cut off anywhere.

use super::Kind;

/// The kind of a JSON text; `None` when its keys are not known.
pub(super) fn recognize(text: &str) -> Option<Kind> {
    let dense: String = text.chars().filter(|char| !char.is_whitespace()).collect();
    if matches!(dense.as_str(), "[]" | "{}" | "[{}]") {
        return Some(Kind::Empty);
    }
    if dense.starts_with("{\"nftables\":") {
        return Some(Kind::NftJson);
    }
    if dense.starts_with("{\"kernel\":{") {
        return Some(Kind::NstatJson);
    }
    if dense.contains("\"format\":\"transect.bundle/") {
        return Some(Kind::Manifest);
    }
    let keys = first_keys(text);
    let has = |key: &str| keys.iter().any(|found| found == key);
    if !dense.starts_with('[') {
        // nstat's daemon names its source otherwise, by a number.
        let counters = dense.contains(":{\"Ip") || dense.contains(":{\"Tcp");
        return counters.then_some(Kind::NstatJson);
    }
    if has("pref") && (has("parent") || has("protocol")) && !has("dst") {
        Some(Kind::TcFilters)
    } else if has("kind") && (has("handle") || has("root") || has("parent")) {
        Some(Kind::Qdiscs)
    } else if has("ifname") || has("dst") || (has("priority") && (has("src") || has("table"))) {
        Some(Kind::Ip)
    } else {
        None
    }
}

/// The keys of the first object that is an element of the outermost array and not empty (`ip -j` prints `{}` for what it
/// filtered out).
fn first_keys(text: &str) -> Vec<String> {
    let mut keys = Vec::new();
    let mut depth = 0_u32;
    let mut chars = text.char_indices();
    while let Some((start, char)) = chars.next() {
        match char {
            '{' | '[' => depth = depth.saturating_add(1),
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if depth == 1 && !keys.is_empty() {
                    break;
                }
            }
            '"' => {
                let mut escaped = false;
                let end = chars.find_map(|(index, char)| {
                    let ends = char == '"' && !escaped;
                    escaped = char == '\\' && !escaped;
                    ends.then_some(index)
                });
                let Some(end) = end else { break };
                let is_key = text
                    .get(end.saturating_add(1)..)
                    .is_some_and(|rest| rest.trim_start().starts_with(':'));
                if depth == 2
                    && is_key
                    && let Some(key) = text.get(start.saturating_add(1)..end)
                {
                    keys.push(key.to_owned());
                }
            }
            _ => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_of_the_first_object_that_has_some() {
        assert_eq!(
            first_keys(r#"[{},{"a":{"b":1},"c\"":[{"d":2}],"e":"f"},{"g":1}]"#),
            ["a", "c\\\"", "e"]
        );
        assert_eq!(first_keys(r#"[{"a": 1, "b"#), ["a"]);
    }

    #[test]
    fn kinds() {
        for (text, expected) in [
            (r#"{"nftables": [{"metainfo": {}}]}"#, Some(Kind::NftJson)),
            (r#"{"kernel":{"IpInReceives":1}}"#, Some(Kind::NstatJson)),
            (r#"{"format": "transect.bundle/1"}"#, Some(Kind::Manifest)),
            (r#"[{"ifindex":1,"ifname":"lo","#, Some(Kind::Ip)),
            (r#"[{},{"ifindex":1,"ifname":"lo"}]"#, Some(Kind::Ip)),
            (
                r#"[{"dst":"default","gateway":"10.0.0.1"}]"#,
                Some(Kind::Ip),
            ),
            (
                r#"[{"priority":0,"src":"all","table":"local"}]"#,
                Some(Kind::Ip),
            ),
            (
                r#"[{"kind":"noqueue","handle":"0:","dev":"lo"}]"#,
                Some(Kind::Qdiscs),
            ),
            (
                r#"[{"dev":"a","parent":"ffff:","protocol":"ip","pref":1}]"#,
                Some(Kind::TcFilters),
            ),
            ("[ ]\n", Some(Kind::Empty)),
            (r#"[{"what":1}]"#, None),
            (r#"{"what":1}"#, None),
        ] {
            assert_eq!(recognize(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\[{].{0,100}") {
            recognize(&text);
        }
    }
}
