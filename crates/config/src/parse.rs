//! What every reader returns: what could be read, and what could not.

use std::fmt;

/// The longest piece of a foreign line that a [`ReadProblem`] repeats, in characters.
const FOUND_LIMIT: usize = 120;

/// The most problems one reading reports; the rest is only counted.
const PROBLEM_LIMIT: usize = 64;

/// One place of a text that a reader did not understand. Reading went on behind it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected {expected}, found \"{found}\"")]
pub struct ReadProblem {
    /// Line of the text, from 1. In JSON that is all on one line, the number of the array's element, from 1.
    pub line: usize,
    /// What should have stood there.
    pub expected: String,
    /// What stood there, shortened. Not cleaned of control characters: that is for whoever shows it.
    pub found: String,
}

/// What a tolerant reader made of a text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parsed<T> {
    /// All that was understood.
    pub value: T,
    /// What was not; empty for a text that is wholly as its tool prints it.
    pub problems: Vec<ReadProblem>,
}

impl<T> Parsed<T> {
    /// The same problems with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Parsed<U> {
        Parsed {
            value: change(self.value),
            problems: self.problems,
        }
    }

    /// Notes a problem; beyond a bound only the last place of the list is rewritten, to say that there are more.
    pub fn problem(&mut self, line: usize, expected: impl fmt::Display, found: &str) {
        if self.problems.len() < PROBLEM_LIMIT {
            self.problems.push(ReadProblem {
                line,
                expected: expected.to_string(),
                found: found.chars().take(FOUND_LIMIT).collect(),
            });
        } else if let Some(last) = self.problems.last_mut() {
            last.expected = "no further problems (there are more than are listed)".to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_bounded_and_say_so() {
        let mut parsed = Parsed::<()>::default();
        for line in 0..1000 {
            parsed.problem(line, "a number", &"x".repeat(500));
        }
        assert_eq!(parsed.problems.len(), PROBLEM_LIMIT);
        assert_eq!(parsed.problems[0].found.len(), FOUND_LIMIT);
        assert!(parsed.problems[PROBLEM_LIMIT - 1].expected.contains("more"));
        assert_eq!(
            ReadProblem {
                line: 3,
                expected: "a state".into(),
                found: "FOO".into()
            }
            .to_string(),
            "line 3: expected a state, found \"FOO\""
        );
    }
}
