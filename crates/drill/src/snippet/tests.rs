use std::collections::BTreeMap;

use super::*;

/// Runs a snippet where `tcpi_a` is 5, `tcpi_b` is 20000 and LIMIT is 7.
fn run(text: &str) -> Result<Vec<String>, String> {
    let snippet =
        Snippet::parse(text).map_err(|error| format!("{}: {}", error.line, error.message))?;
    let mut own = BTreeMap::new();
    let look_up = |name: &str| match name {
        "tcpi_a" => Ok(5),
        "tcpi_b" => Ok(20_000),
        "LIMIT" => Ok(7),
        _ => Err(format!("{name} is not known")),
    };
    let mut names = Names {
        own: &mut own,
        look_up: &look_up,
    };
    snippet
        .run(&mut names)
        .map_err(|failure| format!("{}: {}", failure.line, failure.message))
}

fn value(term: &str) -> String {
    run(&format!("print({term})")).unwrap().concat()
}

#[test]
fn assertions_hold_or_say_why_not() {
    assert_eq!(run("assert tcpi_a == 5, tcpi_a"), Ok(vec![]));
    assert_eq!(
        run("\nassert tcpi_a == LIMIT, tcpi_a\n"),
        Err("1: the assertion does not hold; 5; tcpi_a is 5".to_owned())
    );
    assert_eq!(
        run("assert tcpi_a == 5; assert 5000 <= tcpi_b < 20000, 'srtt=%d us' % tcpi_b"),
        Err("0: the assertion does not hold; srtt=20000 us; tcpi_b is 20000".to_owned())
    );
    assert_eq!(run("assert foo"), Err("0: foo is not known".to_owned()));
    assert_eq!(
        run("assert tcpi_a == 5, tcpi_a; \\\n  assert tcpi_b > 1"),
        Ok(vec![])
    );
}

#[test]
fn arithmetic_is_pythons() {
    assert_eq!(value("1 + 2 * 3 - -4"), "11");
    assert_eq!(value("-7 // 2"), "-4");
    assert_eq!(value("-7 % 3"), "2");
    assert_eq!(value("7 / 2"), "3.5");
    assert_eq!(value("1 | 6 & 3 ^ 1, ~0, 1 << 4 >> 1"), "3 -1 8");
    assert_eq!(value("0x10 == 16 and not 0 or False"), "True");
    assert_eq!(value("1 < 2 < 3, 1 < 3 < 2"), "True False");
    assert_eq!(
        value("3 in (1, 2, 3), 4 not in [1], 'a' in 'abc'"),
        "True True True"
    );
    assert_eq!(value("'yes' if tcpi_a > 1 else 'no'"), "yes");
    assert_eq!(
        value("min(3, 1, 2), max([1, 5]), abs(-3), int(2.9), len('ab')"),
        "1 5 3 2 2"
    );
    assert_eq!(
        value("'%d of %s, %.2f, %x%%' % (1, 'a', 1.5, 255)"),
        "1 of a, 1.50, ff%"
    );
    assert_eq!(value("'a' 'b' + 'c'"), "abc");
}

#[test]
fn names_keep_their_values_and_conditions_choose() {
    assert_eq!(
        run(
            "x = tcpi_a * 2 # twice\nif x == 10: print 'ten', x\nif x == 11: print('eleven')\npass"
        ),
        Ok(vec!["ten 10".to_owned()])
    );
    assert_eq!(
        run("x = 7; x += 3; x //= 2; x -= 1; x |= 8; x %= 7;\nprint(x)"),
        Ok(vec!["5".to_owned()])
    );
}

#[test]
fn what_has_no_value_says_so() {
    assert_eq!(
        run("assert 1 // 0"),
        Err("0: 1 // 0 has no value".to_owned())
    );
    assert_eq!(
        run("assert 9223372036854775807 + 1"),
        Err("0: 9223372036854775807 + 1 has no value".to_owned())
    );
    assert_eq!(
        run("assert 'a' < 1"),
        Err("0: a text and a whole number have no order".to_owned())
    );
    assert!(
        run("assert open('x')")
            .unwrap_err()
            .contains("open() is not known")
    );
    assert!(
        run("assert (1, 2")
            .unwrap_err()
            .contains("expected `,` or `)`")
    );
    assert!(
        run("assert 1 2")
            .unwrap_err()
            .contains("expected the end of the statement; found `2`")
    );
    assert!(
        run("for x in y: pass")
            .unwrap_err()
            .contains("`for` is Python")
    );
    assert!(
        run("assert 99999999999999999999x")
            .unwrap_err()
            .contains("is no number")
    );
}
