//! What stands between `%{` and `}%`: assertions about a connection's `tcp_info`, printing, and names for values.
//!
//! Scripts write it in Python. This reads the part of Python that they use for it: expressions with arithmetic, comparisons in
//! chains, `and`, `or`, `not`, `in`, `a if b else c`, texts with `%`, and the statements `assert`, `print`, `name = value`,
//! `pass` and a one-line `if`. Everything else is an error that says so.

mod evaluate;
mod parse;
mod token;
mod value;

pub(crate) use evaluate::{Names, SnippetFailure};
pub(crate) use value::Value;

/// A snippet, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Snippet {
    text: String,
    statements: Vec<Statement>,
}

/// What is wrong with a snippet, and in which of its lines (from 0 on).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SnippetError {
    pub(crate) line: u32,
    pub(crate) message: String,
}

/// A statement and its line.
#[derive(Debug, Clone, PartialEq)]
struct Statement {
    line: u32,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// What must hold, and what is said where it does not.
    Assert(Term, Option<Term>),
    Print(Vec<Term>),
    Assign(String, Term),
    /// What is done when it holds.
    If(Term, Vec<Statement>),
    Pass,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
enum Term {
    Value(Value),
    Name(String),
    List(Vec<Term>),
    Unary(&'static str, Box<Term>),
    Binary(&'static str, Box<Term>, Box<Term>),
    /// `a < b <= c`: the first, and each operator with what follows.
    Compare(Box<Term>, Vec<(&'static str, Term)>),
    /// `yes if condition else no`.
    Conditional {
        condition: Box<Term>,
        yes: Box<Term>,
        no: Box<Term>,
    },
    Call(String, Vec<Term>),
}

impl Snippet {
    /// Reads a snippet.
    pub(crate) fn parse(text: &str) -> Result<Snippet, SnippetError> {
        Ok(Snippet {
            text: text.to_owned(),
            statements: parse::statements(text)?,
        })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Runs it; what it printed. Names that it gives to values stay in `names`.
    pub(crate) fn run(&self, names: &mut Names<'_>) -> Result<Vec<String>, SnippetFailure> {
        let mut printed = Vec::new();
        evaluate::run(&self.statements, names, &mut printed)?;
        Ok(printed)
    }
}

#[cfg(test)]
mod tests;
