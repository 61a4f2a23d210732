//! Go's `fmt`: `Sprintf`, `Sprint` and `Sprintln` over template values.

use super::value::Value;
use crate::promql::strings::quote;

/// Widths and precisions above this are faults, as in Go.
const WIDTH_MAX: usize = 1_000_000;
/// What a width may add to the output; wider is cut to it.
const PADDING_MAX: usize = 1 << 16;

/// `fmt.Sprint`: space between neighbours of which neither is a text.
pub(super) fn print(values: &[Value]) -> String {
    let mut out = String::new();
    let mut text_before = true;
    for (at, value) in values.iter().enumerate() {
        let text = matches!(value, Value::Text(_));
        if at > 0 && !text && !text_before {
            out.push(' ');
        }
        value.print("<nil>", &mut out);
        text_before = text;
    }
    out
}

/// `fmt.Sprintln`: space between all, and a new line.
pub(super) fn println(values: &[Value]) -> String {
    let all: Vec<String> = values.iter().map(Value::printed).collect();
    all.join(" ") + "\n"
}

/// A float as `%v` has it: the shortest digits that read back as the same.
pub(super) fn shortest(value: f64) -> String {
    general(value, None, false)
}

/// The flags, width and precision of a verb.
#[derive(Clone, Copy, Debug, Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `fmt.Sprintf`.
pub(super) fn format(format: &str, values: &[Value]) -> String {
    let mut state = State {
        out: String::with_capacity(format.len()),
        values,
        next: 0,
        reordered: false,
    };
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        state.out.push_str(&rest[..at]);
        rest = state.verb(&rest[at + 1..]);
    }
    state.out.push_str(rest);
    state.extra();
    state.out
}

struct State<'v> {
    out: String,
    values: &'v [Value],
    next: usize,
    /// An index like `%[1]d` was used; then nothing is left over.
    reordered: bool,
}

impl State<'_> {
    fn extra(&mut self) {
        if self.reordered || self.next >= self.values.len() {
            return;
        }
        self.out.push_str("%!(EXTRA ");
        for (at, value) in self.values[self.next..].iter().enumerate() {
            if at > 0 {
                self.out.push_str(", ");
            }
            match value {
                Value::Nil => self.out.push_str("<nil>"),
                value => {
                    self.out.push_str(value.type_name());
                    self.out.push('=');
                    value.print("<nil>", &mut self.out);
                }
            }
        }
        self.out.push(')');
    }

    /// Reads a verb after its `%` and prints its value; gives what follows.
    fn verb<'f>(&mut self, mut rest: &'f str) -> &'f str {
        let mut spec = Spec::default();
        while let Some(flag) = rest.chars().next() {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        rest = self.place(rest);
        if let Some(after) = rest.strip_prefix('*') {
            rest = after;
            match self.star() {
                Some(width) => {
                    spec.minus |= width < 0;
                    spec.width = usize::try_from(width.unsigned_abs()).ok();
                }
                None => self.out.push_str("%!(BADWIDTH)"),
            }
        } else {
            (spec.width, rest) = digits(rest);
            if spec.width.is_some_and(|width| width > WIDTH_MAX) {
                self.out.push_str("%!(BADWIDTH)");
                spec.width = None;
            }
        }
        if let Some(after) = rest.strip_prefix('.') {
            rest = self.place(after);
            if let Some(after) = rest.strip_prefix('*') {
                rest = after;
                match self.star() {
                    Some(precision) => spec.precision = usize::try_from(precision).ok(),
                    None => self.out.push_str("%!(BADPREC)"),
                }
            } else {
                let (precision, after) = digits(rest);
                spec.precision = Some(precision.unwrap_or(0));
                rest = after;
            }
        }
        rest = self.place(rest);
        let Some(verb) = rest.chars().next() else {
            self.out.push_str("%!(NOVERB)");
            return rest;
        };
        let after = &rest[verb.len_utf8()..];
        if verb == '%' {
            self.out.push('%');
            return after;
        }
        match self.values.get(self.next) {
            Some(value) => {
                self.next += 1;
                let value = value.clone();
                self.value(&value, verb, spec);
            }
            None => {
                let what = if self.reordered {
                    "BADINDEX"
                } else {
                    "MISSING"
                };
                let text = format!("%!{verb}({what})");
                self.out.push_str(&text);
            }
        }
        after
    }

    /// `[n]`: the next value is the n-th.
    fn place<'f>(&mut self, rest: &'f str) -> &'f str {
        let inside = rest.strip_prefix('[').and_then(|r| r.split_once(']'));
        let Some((number, after)) = inside else {
            return rest;
        };
        self.reordered = true;
        // One beyond the values is a bad index.
        let number = number.parse::<usize>().ok().filter(|n| *n > 0);
        self.next = number.map_or(self.values.len(), |n| n - 1);
        after
    }

    fn star(&mut self) -> Option<i64> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        match value {
            Value::Int(number) if number.unsigned_abs() <= WIDTH_MAX as u64 => Some(*number),
            _ => None,
        }
    }

    fn value(&mut self, value: &Value, verb: char, spec: Spec) {
        match verb {
            'T' => return pad(value.type_name(), spec, &mut self.out),
            'v' if spec.sharp => return pad(&source(value), spec, &mut self.out),
            _ => {}
        }
        match value {
            Value::Nil if verb == 'v' => pad("<nil>", spec, &mut self.out),
            Value::Nil => self.out.push_str(&format!("%!{verb}(<nil>)")),
            Value::Bool(value) if matches!(verb, 't' | 'v') => {
                pad(if *value { "true" } else { "false" }, spec, &mut self.out);
            }
            Value::Int(number) => self.int(*number, verb, spec),
            Value::Float(number) => self.float(*number, verb, spec),
            Value::Text(text) | Value::Html(text) => self.text(text, verb, spec),
            Value::List(values) => {
                self.out.push('[');
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        self.out.push(' ');
                    }
                    self.value(value, verb, spec);
                }
                self.out.push(']');
            }
            Value::Map(map) => {
                self.out.push_str("map[");
                for (at, (key, value)) in map.entries.iter().enumerate() {
                    if at > 0 {
                        self.out.push(' ');
                    }
                    self.text(key, verb, spec);
                    self.out.push(':');
                    self.value(value, verb, spec);
                }
                self.out.push(']');
            }
            Value::Time(time) => self.text(&time.printed(), verb, spec),
            Value::Bool(_) => self.bad(value, verb),
        }
    }

    fn bad(&mut self, value: &Value, verb: char) {
        let text = format!("%!{verb}({}={})", value.type_name(), value.printed());
        self.out.push_str(&text);
    }

    fn text(&mut self, text: &str, verb: char, spec: Spec) {
        let cut = || match spec.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text.to_owned(),
        };
        match verb {
            's' | 'v' => pad(&cut(), spec, &mut self.out),
            'q' if spec.sharp && !text.contains(['`', '\n']) => {
                pad(&format!("`{}`", cut()), spec, &mut self.out);
            }
            'q' => pad(&quote(&cut()), spec, &mut self.out),
            'x' | 'X' => {
                let digits: Vec<String> = text
                    .bytes()
                    .take(spec.precision.unwrap_or(usize::MAX))
                    .map(|byte| match verb {
                        'x' => format!("{byte:02x}"),
                        _ => format!("{byte:02X}"),
                    })
                    .collect();
                let digits = digits.join(if spec.space { " " } else { "" });
                let prefix = if spec.sharp {
                    format!("0{verb}")
                } else {
                    String::new()
                };
                pad(&(prefix + &digits), spec, &mut self.out);
            }
            _ => self.bad(&Value::from(text), verb),
        }
    }

    fn int(&mut self, number: i64, verb: char, spec: Spec) {
        let size = number.unsigned_abs();
        let (digits, prefix) = match verb {
            'd' | 'v' => (size.to_string(), ""),
            'b' => (format!("{size:b}"), if spec.sharp { "0b" } else { "" }),
            'o' => (format!("{size:o}"), if spec.sharp { "0" } else { "" }),
            'O' => (format!("{size:o}"), "0o"),
            'x' => (format!("{size:x}"), if spec.sharp { "0x" } else { "" }),
            'X' => (format!("{size:X}"), if spec.sharp { "0X" } else { "" }),
            'c' | 'q' | 'U' => return self.character(number, verb, spec),
            _ => return self.bad(&Value::Int(number), verb),
        };
        let digits = match spec.precision {
            Some(0) if number == 0 => String::new(),
            Some(precision) => format!("{digits:0>width$}", width = precision.min(PADDING_MAX)),
            None => digits,
        };
        let sign = sign(number < 0, spec);
        // Zeros go between sign and digits, unless the precision says how many there are.
        let zero = spec.zero && !spec.minus && spec.precision.is_none();
        number_text(
            &(sign.to_owned() + prefix),
            &digits,
            zero,
            spec,
            &mut self.out,
        );
    }

    fn character(&mut self, number: i64, verb: char, spec: Spec) {
        let c = u32::try_from(number).ok().and_then(char::from_u32);
        let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
        let text = match verb {
            'c' => c.to_string(),
            'q' => format!("'{}'", c.escape_debug()),
            _ if spec.sharp => format!("U+{number:04X} '{c}'"),
            _ => format!("U+{number:04X}"),
        };
        pad(&text, spec, &mut self.out);
    }

    fn float(&mut self, number: f64, verb: char, spec: Spec) {
        let size = number.abs();
        let precision = spec.precision.map(|precision| precision.min(PADDING_MAX));
        let digits = match verb {
            _ if number.is_nan() => "NaN".to_owned(),
            _ if number.is_infinite() => "Inf".to_owned(),
            'v' | 'g' => general(size, precision, false),
            'G' => general(size, precision, true),
            'f' | 'F' => format!("{size:.*}", precision.unwrap_or(6)),
            'e' => exponential(size, Some(precision.unwrap_or(6)), 'e'),
            'E' => exponential(size, Some(precision.unwrap_or(6)), 'E'),
            _ => return self.bad(&Value::Float(number), verb),
        };
        let finite = number.is_finite();
        // Infinity always has a sign where one is asked for, NaN too.
        let sign = match number.is_infinite() && !spec.plus && number > 0.0 {
            true => "+",
            false => sign(number.is_sign_negative() && !number.is_nan(), spec),
        };
        let zero = spec.zero && !spec.minus && finite;
        number_text(sign, &digits, zero, spec, &mut self.out);
    }
}

fn sign(negative: bool, spec: Spec) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    }
}

fn digits(text: &str) -> (Option<usize>, &str) {
    let length = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number = text[..length].parse().ok();
    // What overflows is too large as well.
    let number = number.or((length > 0).then_some(usize::MAX));
    (number, &text[length..])
}

fn number_text(sign: &str, digits: &str, zero: bool, spec: Spec, out: &mut String) {
    if zero {
        let width = spec.width.unwrap_or(0).min(PADDING_MAX);
        let width = width.saturating_sub(sign.len());
        out.push_str(&format!("{sign}{digits:0>width$}"));
    } else {
        pad(&format!("{sign}{digits}"), spec, out);
    }
}

/// Appends a text with as much space as the width asks for.
fn pad(text: &str, spec: Spec, out: &mut String) {
    let width = spec.width.unwrap_or(0).min(PADDING_MAX);
    let missing = width.saturating_sub(text.chars().count());
    let fill = if spec.zero && !spec.minus { "0" } else { " " };
    if spec.minus {
        out.push_str(text);
        out.push_str(&" ".repeat(missing));
    } else {
        out.push_str(&fill.repeat(missing));
        out.push_str(text);
    }
}

/// `%g`: an exponent where it is below -4 or not below the precision; 6 where there is none.
pub(super) fn general(value: f64, precision: Option<usize>, upper: bool) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let mark = if upper { 'E' } else { 'e' };
    let significant = precision.map(|precision| precision.max(1));
    let text = exponential(value, significant.map(|digits| digits - 1), mark);
    let (mantissa, exponent) = text.split_once(mark).unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let bound = significant.map_or(6, |digits| {
        let shown = mantissa.trim_end_matches('0').trim_end_matches('.');
        let shown = shown.bytes().filter(u8::is_ascii_digit).count();
        if digits > shown && shown as i32 > exponent {
            shown as i32
        } else {
            digits as i32
        }
    });
    if exponent < -4 || exponent >= bound.max(1) {
        let shown = match mantissa.contains('.') {
            true => mantissa.trim_end_matches('0').trim_end_matches('.'),
            false => mantissa,
        };
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{shown}{mark}{sign}{:02}", exponent.abs());
    }
    match significant {
        None => format!("{value}"),
        Some(digits) => {
            let places = usize::try_from(digits as i32 - 1 - exponent).unwrap_or(0);
            let text = format!("{value:.places$}");
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text,
            }
        }
    }
}

/// `%e`: at least two digits of exponent. Without a precision as few digits as read back the same.
fn exponential(value: f64, precision: Option<usize>, mark: char) -> String {
    let text = match precision {
        Some(precision) => format!("{value:.precision$e}"),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}{mark}{sign}{digits:0>2}")
}

/// `%#v`: as Go's source has it.
fn source(value: &Value) -> String {
    match value {
        Value::Text(text) => quote(text),
        Value::Nil => "<nil>".to_owned(),
        Value::List(values) => {
            let all: Vec<String> = values.iter().map(source).collect();
            format!("{}{{{}}}", value.type_name(), all.join(", "))
        }
        Value::Map(map) => {
            let pair =
                |(key, value): (&String, &Value)| format!("{}:{}", quote(key), source(value));
            let all: Vec<String> = map.entries.iter().map(pair).collect();
            format!("{}{{{}}}", value.type_name(), all.join(", "))
        }
        other => other.printed(),
    }
}
