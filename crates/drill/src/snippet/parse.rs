//! From pieces to statements.

use super::token::{Token, tokens};
use super::{Kind, SnippetError, Statement, Term, Value};

/// The most expressions inside of each other.
const DEEPEST: u32 = 64;

/// Binary operators from those that bind least; Python's order.
const LEVELS: [&[&str]; 6] = [
    &["|"],
    &["^"],
    &["&"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "//", "/", "%"],
];

const COMPARISONS: [&str; 7] = ["==", "!=", "<>", "<=", ">=", "<", ">"];

/// Assignments that change what there is, each with its operator.
const CHANGES: [(&str, &str); 8] = [
    ("+=", "+"),
    ("-=", "-"),
    ("*=", "*"),
    ("//=", "//"),
    ("/=", "/"),
    ("%=", "%"),
    ("|=", "|"),
    ("&=", "&"),
];

/// Words that begin statements which are not read here.
const FOREIGN: [&str; 14] = [
    "import", "from", "def", "class", "for", "while", "with", "try", "return", "lambda", "global",
    "raise", "else", "elif",
];

pub(super) fn statements(text: &str) -> Result<Vec<Statement>, SnippetError> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
    };
    let mut statements = Vec::new();
    while parser.at < parser.tokens.len() {
        if parser.next_is(&Token::End) {
            continue;
        }
        statements.push(parser.statement()?);
    }
    Ok(statements)
}

struct Parser {
    tokens: Vec<(u32, Token)>,
    at: usize,
    depth: u32,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens
            .get(self.at)
            .map_or(&Token::End, |(_, token)| token)
    }

    fn line(&self) -> u32 {
        let last = self.tokens.last().map_or(0, |(line, _)| *line);
        self.tokens.get(self.at).map_or(last, |(line, _)| *line)
    }

    fn next_is(&mut self, token: &Token) -> bool {
        let is = self.peek() == token;
        self.at += usize::from(is);
        is
    }

    fn symbol(&mut self, symbol: &'static str) -> bool {
        self.next_is(&Token::Symbol(symbol))
    }

    fn name(&mut self, name: &str) -> bool {
        let is = matches!(self.peek(), Token::Name(here) if here == name);
        self.at += usize::from(is);
        is
    }

    /// The first of these symbols that stands here; goes on behind it.
    fn any(&mut self, symbols: &[&'static str]) -> Option<&'static str> {
        symbols.iter().find(|symbol| self.symbol(symbol)).copied()
    }

    fn error<T>(&self, message: String) -> Result<T, SnippetError> {
        Err(SnippetError {
            line: self.line(),
            message,
        })
    }

    fn expected<T>(&self, what: &str) -> Result<T, SnippetError> {
        let found = match self.peek() {
            Token::Name(name) => format!("`{name}`"),
            Token::Int(value) => format!("`{value}`"),
            Token::Float(value) => format!("`{value}`"),
            Token::Text(_) => "a text".to_owned(),
            Token::Symbol(symbol) => format!("`{symbol}`"),
            Token::End => "the end of the statement".to_owned(),
        };
        self.error(format!("expected {what}; found {found}"))
    }

    fn statement(&mut self) -> Result<Statement, SnippetError> {
        let line = self.line();
        let kind = self.kind()?;
        let ended = matches!(kind, Kind::If(..)) || self.next_is(&Token::End);
        if !ended {
            return self.expected("the end of the statement");
        }
        Ok(Statement { line, kind })
    }

    fn kind(&mut self) -> Result<Kind, SnippetError> {
        let Token::Name(word) = self.peek().clone() else {
            return self.expected("`assert`, `print`, `if`, `pass` or `name = value`");
        };
        if FOREIGN.contains(&word.as_str()) {
            return self.error(format!(
                "`{word}` is Python that this reader of assertions does not know; it knows assert, print, if on one line, \
                 pass and name = value"
            ));
        }
        self.at += 1;
        match word.as_str() {
            "assert" => {
                let condition = self.term()?;
                let message = match self.symbol(",") {
                    true => Some(self.term()?),
                    false => None,
                };
                Ok(Kind::Assert(condition, message))
            }
            "print" => Ok(Kind::Print(self.printed()?)),
            "pass" => Ok(Kind::Pass),
            "if" => {
                let condition = self.term()?;
                if !self.symbol(":") {
                    return self.expected("`:`");
                }
                if self.peek() == &Token::End {
                    return self.expected("a statement on the same line");
                }
                self.deeper()?;
                let body = vec![self.statement()?];
                self.depth -= 1;
                Ok(Kind::If(condition, body))
            }
            _ if self.symbol("=") => Ok(Kind::Assign(word, self.term()?)),
            _ => {
                let Some((_, operator)) = CHANGES
                    .iter()
                    .find(|&&(symbol, _)| self.symbol(symbol))
                    .copied()
                else {
                    return self.expected("`=`");
                };
                let before = Box::new(Term::Name(word.clone()));
                let change = Box::new(self.term()?);
                Ok(Kind::Assign(word, Term::Binary(operator, before, change)))
            }
        }
    }

    fn printed(&mut self) -> Result<Vec<Term>, SnippetError> {
        let mut terms = Vec::new();
        // With Python 3's parentheses it is a list, unless something follows them: `print (1) + 2`.
        while self.peek() != &Token::End {
            terms.push(self.term()?);
            if !self.symbol(",") {
                break;
            }
        }
        if let [Term::List(_)] = terms.as_slice()
            && let Some(Term::List(items)) = terms.pop()
        {
            return Ok(items);
        }
        Ok(terms)
    }

    fn deeper(&mut self) -> Result<(), SnippetError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return self.error(format!("nested more than {DEEPEST} deep"));
        }
        Ok(())
    }

    fn term(&mut self) -> Result<Term, SnippetError> {
        self.deeper()?;
        let yes = self.or()?;
        let term = if self.name("if") {
            let condition = Box::new(self.or()?);
            if !self.name("else") {
                return self.expected("`else`");
            }
            let no = Box::new(self.term()?);
            Term::Conditional {
                condition,
                yes: Box::new(yes),
                no,
            }
        } else {
            yes
        };
        self.depth -= 1;
        Ok(term)
    }

    fn or(&mut self) -> Result<Term, SnippetError> {
        let mut left = self.and()?;
        while self.name("or") {
            left = Term::Binary("or", Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Term, SnippetError> {
        let mut left = self.not()?;
        while self.name("and") {
            left = Term::Binary("and", Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Term, SnippetError> {
        if !self.name("not") {
            return self.comparison();
        }
        self.deeper()?;
        let inner = self.not()?;
        self.depth -= 1;
        Ok(Term::Unary("not", Box::new(inner)))
    }

    fn comparison(&mut self) -> Result<Term, SnippetError> {
        let first = self.binary(0)?;
        let mut others = Vec::new();
        loop {
            let operator = match self.any(&COMPARISONS) {
                Some("<>") => "!=",
                Some(operator) => operator,
                None if self.name("in") => "in",
                None if self.name("is") => match self.name("not") {
                    true => "!=",
                    false => "==",
                },
                None if self.name("not") => match self.name("in") {
                    true => "not in",
                    false => return self.expected("`in`"),
                },
                None => break,
            };
            others.push((operator, self.binary(0)?));
        }
        Ok(match others.is_empty() {
            true => first,
            false => Term::Compare(Box::new(first), others),
        })
    }

    fn binary(&mut self, level: usize) -> Result<Term, SnippetError> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = self.any(operators) {
            let right = self.binary(level + 1)?;
            left = Term::Binary(operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Term, SnippetError> {
        let Some(operator) = self.any(&["-", "+", "~"]) else {
            return self.primary();
        };
        self.deeper()?;
        let inner = self.unary()?;
        self.depth -= 1;
        Ok(Term::Unary(operator, Box::new(inner)))
    }

    fn primary(&mut self) -> Result<Term, SnippetError> {
        let token = self.peek().clone();
        let close = match &token {
            Token::Symbol("(") => ")",
            Token::Symbol("[") => "]",
            _ => "",
        };
        if matches!(token, Token::End) || matches!(token, Token::Symbol(_)) && close.is_empty() {
            return self.expected("a value");
        }
        self.at += 1;
        Ok(match token {
            Token::Int(value) => Term::Value(Value::Int(value)),
            Token::Float(value) => Term::Value(Value::Float(value)),
            Token::Text(text) => self.text(text),
            Token::Name(name) => match name.as_str() {
                "True" => Term::Value(Value::Bool(true)),
                "False" => Term::Value(Value::Bool(false)),
                "None" => Term::Value(Value::None),
                _ if self.symbol("(") => Term::Call(name, self.list(")")?.0),
                _ => Term::Name(name),
            },
            _ => {
                let (mut items, comma) = self.list(close)?;
                // Parentheses around one value are no list.
                match (close, comma, items.pop()) {
                    (")", false, Some(only)) if items.is_empty() => only,
                    (_, _, last) => {
                        items.extend(last);
                        Term::List(items)
                    }
                }
            }
        })
    }

    /// Texts one behind the other are one text.
    fn text(&mut self, mut text: String) -> Term {
        while let Token::Text(more) = self.peek() {
            text.push_str(more);
            self.at += 1;
        }
        Term::Value(Value::Text(text))
    }

    /// Terms up to the closing bracket, and whether there was a comma.
    fn list(&mut self, close: &'static str) -> Result<(Vec<Term>, bool), SnippetError> {
        let mut items = Vec::new();
        let mut comma = false;
        while !self.symbol(close) {
            items.push(self.term()?);
            if self.symbol(",") {
                comma = true;
            } else if self.peek() != &Token::Symbol(close) {
                return self.expected(&format!("`,` or `{close}`"));
            }
        }
        Ok((items, comma))
    }
}
