//! Text and actions into tokens, with Go's trimming of space beside `{{-` and `-}}`.

use crate::promql::strings::code_point;

/// A token and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: Kind,
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text outside actions.
    Text,
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// Space inside an action; it ends an operand.
    Space,
    /// A name: function, keyword, `true`.
    Name,
    /// `.name`
    Field,
    /// `.`
    Dot,
    /// `$name`
    Variable,
    /// A number or a character in quotes.
    Number,
    /// A text in quotes, as it stands there.
    Quoted,
    /// `:=`, `=`, `|`, `(`, `)`, `,`
    Sign,
    End,
}

/// A fault, where, and in which words.
pub(super) type Fault = (usize, String);

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];

/// All tokens of a template; the last is [`Kind::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Fault> {
    let mut lexer = Lexer {
        text,
        at: 0,
        out: Vec::new(),
    };
    let mut trim = false;
    loop {
        let rest = &text[lexer.at..];
        let Some(open) = rest.find("{{") else {
            lexer.text_until(text.len(), trim, false);
            lexer.push(Kind::End, text.len(), text.len());
            return Ok(lexer.out);
        };
        let open = lexer.at + open;
        let trims = is_trim_start(&text[open + 2..]);
        lexer.text_until(open, trim, trims);
        trim = lexer.action(open, trims)?;
    }
}

/// Whether an action begins with `-` and space.
fn is_trim_start(inside: &str) -> bool {
    inside.starts_with('-') && inside[1..].starts_with(SPACE)
}

/// The bytes of ` -}}` or `}}` if the action ends here, and whether it trims.
fn end_of_action(rest: &str) -> Option<(usize, bool)> {
    if rest.starts_with("}}") {
        return Some((2, false));
    }
    (rest.starts_with(SPACE) && rest[1..].starts_with("-}}")).then_some((4, true))
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    out: Vec<Token>,
}

impl Lexer<'_> {
    fn push(&mut self, kind: Kind, from: usize, to: usize) {
        self.out.push(Token {
            at: from,
            kind,
            text: self.text[from..to].to_owned(),
        });
        self.at = to;
    }

    fn text_until(&mut self, end: usize, trim_left: bool, trim_right: bool) {
        let (mut from, mut to) = (self.at, end);
        if trim_left {
            let left = self.text[from..to].trim_start_matches(SPACE);
            from = to - left.len();
        }
        if trim_right {
            to = from + self.text[from..to].trim_end_matches(SPACE).len();
        }
        if from < to {
            self.push(Kind::Text, from, to);
        }
        self.at = end;
    }

    /// Reads an action; tells whether it trims the text after it.
    fn action(&mut self, open: usize, trims: bool) -> Result<bool, Fault> {
        let mut begin = open + 2;
        if trims {
            begin += 1;
        }
        let inside = &self.text[begin..];
        let comment = inside.trim_start_matches(SPACE);
        // A comment must stand alone, and directly after the delimiter but for trimmed space.
        let direct = trims || comment.len() == inside.len();
        if comment.starts_with("/*") && direct {
            return self.comment(begin + inside.len() - comment.len());
        }
        self.push(Kind::Open, open, open + 2);
        self.at = begin;
        let mut depth = 0;
        loop {
            let rest = &self.text[self.at..];
            if let Some((length, trims)) = end_of_action(rest) {
                if depth > 0 {
                    return Err((self.at, "unclosed left paren".to_owned()));
                }
                self.push(Kind::Close, self.at, self.at + length);
                return Ok(trims);
            }
            self.token(&mut depth)?;
        }
    }

    fn comment(&mut self, at: usize) -> Result<bool, Fault> {
        let Some(end) = self.text[at..].find("*/") else {
            return Err((at, "unclosed comment".to_owned()));
        };
        let end = at + end + 2;
        let Some((length, trims)) = end_of_action(&self.text[end..]) else {
            return Err((end, "comment ends before closing delimiter".to_owned()));
        };
        self.at = end + length;
        Ok(trims)
    }

    fn token(&mut self, depth: &mut usize) -> Result<(), Fault> {
        let (from, rest) = (self.at, &self.text[self.at..]);
        let Some(first) = rest.chars().next() else {
            return Err((from, "unclosed action".to_owned()));
        };
        let while_in =
            |accept: fn(char) -> bool| from + rest.find(|c| !accept(c)).unwrap_or(rest.len());
        match first {
            ' ' | '\t' | '\r' | '\n' => {
                let end = while_in(|c| SPACE.contains(&c));
                // The last space may belong to ` -}}`.
                let trimmed = self.text[end..].starts_with("-}}");
                let end = if trimmed { end - 1 } else { end };
                if end > from {
                    self.push(Kind::Space, from, end);
                }
                Ok(())
            }
            ':' if rest.starts_with(":=") => self.sign(2),
            ':' => Err((from, "expected :=".to_owned())),
            '=' | '|' | ',' => self.sign(1),
            '(' => {
                *depth += 1;
                self.sign(1)
            }
            ')' if *depth == 0 => Err((from, "unexpected right paren".to_owned())),
            ')' => {
                *depth -= 1;
                self.sign(1)
            }
            '"' | '`' | '\'' => self.quoted(first),
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                self.field(Kind::Field, Kind::Dot)
            }
            '$' => self.field(Kind::Variable, Kind::Variable),
            '+' | '-' | '.' | '0'..='9' => self.number(),
            c if is_name(c) => {
                let end = while_in(is_name);
                self.ends_word(end)?;
                self.push(Kind::Name, from, end);
                Ok(())
            }
            c => Err((
                from,
                format!("unrecognized character in action: {}", code_point(c)),
            )),
        }
    }

    fn sign(&mut self, length: usize) -> Result<(), Fault> {
        self.push(Kind::Sign, self.at, self.at + length);
        Ok(())
    }

    /// `.name` or `$name`, or the sign alone.
    fn field(&mut self, named: Kind, alone: Kind) -> Result<(), Fault> {
        let (from, rest) = (self.at, &self.text[self.at + 1..]);
        let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let end = from + 1 + length;
        self.ends_word(end)?;
        self.push(if length == 0 { alone } else { named }, from, end);
        Ok(())
    }

    /// A word is followed by what cannot go on with it.
    fn ends_word(&self, end: usize) -> Result<(), Fault> {
        let rest = &self.text[end..];
        match rest.chars().next() {
            None | Some(' ' | '\t' | '\r' | '\n' | '.' | ',' | '|' | ':' | ')' | '(' | '=') => {
                Ok(())
            }
            Some(_) if rest.starts_with("}}") => Ok(()),
            Some(c) => Err((end, format!("bad character {}", code_point(c)))),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<(), Fault> {
        let from = self.at;
        let mut escaped = false;
        for (at, c) in self.text[from + 1..].char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quote != '`' => escaped = true,
                '\n' if quote != '`' => break,
                c if c == quote => {
                    let kind = if quote == '\'' {
                        Kind::Number
                    } else {
                        Kind::Quoted
                    };
                    self.push(kind, from, from + 1 + at + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        let what = match quote {
            '"' => "unterminated quoted string",
            '`' => "unterminated raw quoted string",
            _ => "unterminated character constant",
        };
        Err((from, what.to_owned()))
    }

    fn number(&mut self) -> Result<(), Fault> {
        let (from, rest) = (self.at, &self.text[self.at..]);
        let mut end = usize::from(rest.starts_with(['+', '-']));
        let hexadecimal = rest[end..].starts_with("0x") || rest[end..].starts_with("0X");
        let mut last = ' ';
        for c in rest[end..].chars() {
            let exponent = if hexadecimal { "pP" } else { "eE" };
            let sign = "+-".contains(c) && exponent.contains(last);
            if !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || sign) {
                break;
            }
            end += 1;
            last = c;
        }
        self.push(Kind::Number, from, from + end);
        Ok(())
    }
}

fn is_name(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}
