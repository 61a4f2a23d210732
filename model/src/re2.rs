//! RE2's syntax, which Prometheus, Loki and Tempo have, in the syntax of the regex crate.
//!
//! The two differ where RE2 takes literally what the crate gives a meaning (`{` that repeats
//! nothing, `[`, `&&`, `--` and `~~` in classes, `\<`), where Perl's classes are ASCII in RE2 and
//! Unicode in the crate, and in `\Q…\E`, octal escapes and `\p{^Greek}`, which the crate lacks.
//! Invariant: what is wrong in RE2 is left as it is, so that the crate refuses it too where it can.

/// Classes by name.
const NAMED: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Rewrites an expression.
pub fn translate(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 8);
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '\\' => escape(rest, false, &mut out),
            '[' => class(rest, &mut out),
            '{' if !repeats(rest) => literal('{', &rest[1..], &mut out),
            c => {
                out.push(c);
                &rest[c.len_utf8()..]
            }
        };
    }
    out
}

/// Appends a character that stands for itself; gives `after`.
fn literal<'t>(c: char, after: &'t str, out: &mut String) -> &'t str {
    if regex_syntax::is_meta_character(c) {
        out.push('\\');
    }
    out.push(c);
    after
}

/// Whether a text begins with `{n}`, `{n,}` or `{n,m}`.
fn repeats(text: &str) -> bool {
    let Some((inside, _)) = text[1..].split_once('}') else {
        return false;
    };
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match inside.split_once(',') {
        Some((from, to)) => number(from) && (to.is_empty() || number(to)),
        None => number(inside),
    }
}

/// What Perl's classes have in RE2, for the inside of a class.
fn perl(c: char) -> Option<(&'static str, bool)> {
    let members = match c.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => "\\t\\n\\f\\r ",
        _ => return None,
    };
    Some((members, c.is_ascii_uppercase()))
}

/// Rewrites an escape; gives what follows it.
fn escape<'t>(text: &'t str, in_class: bool, out: &mut String) -> &'t str {
    let Some(c) = text[1..].chars().next() else {
        out.push('\\');
        return "";
    };
    let after = &text[1 + c.len_utf8()..];
    if let Some((members, negated)) = perl(c) {
        match (in_class, negated) {
            (true, false) => out.push_str(members),
            (_, negated) => {
                out.push_str(if negated { "[^" } else { "[" });
                out.push_str(members);
                out.push(']');
            }
        }
        return after;
    }
    match c {
        'Q' if !in_class => {
            let (quoted, after) = after.split_once("\\E").unwrap_or((after, ""));
            quoted.chars().for_each(|c| {
                literal(c, "", out);
            });
            after
        }
        'b' | 'B' if !in_class => {
            out.push_str(if c == 'b' { "(?-u:\\b)" } else { "(?-u:\\B)" });
            after
        }
        '<' | '>' => {
            out.push(c);
            after
        }
        'p' | 'P' | 'x' if after.starts_with('{') => {
            let end = after.find('}').map_or(after.len(), |at| at + 1);
            let (name, after) = after.split_at(end);
            let (sign, name) = match (c, name.strip_prefix("{^")) {
                ('p', Some(name)) => ("\\P{", name),
                ('P', Some(name)) => ("\\p{", name),
                ('p', None) => ("\\p", name),
                ('P', None) => ("\\P", name),
                (_, _) => ("\\x", name),
            };
            out.push_str(sign);
            out.push_str(name);
            after
        }
        'x' => {
            let digits = after.bytes().take(2).take_while(u8::is_ascii_hexdigit);
            let (digits, after) = after.split_at(digits.count());
            out.push_str("\\x");
            out.push_str(digits);
            after
        }
        // One digit alone would be a back reference.
        '1'..='7' if !after.starts_with(|c: char| matches!(c, '0'..='7')) => {
            out.push('\\');
            out.push(c);
            after
        }
        '0'..='7' => octal(&text[1..], out),
        c => {
            out.push('\\');
            out.push(c);
            after
        }
    }
}

/// Up to three octal digits.
fn octal<'t>(text: &'t str, out: &mut String) -> &'t str {
    let digits = text
        .bytes()
        .take(3)
        .take_while(|b| matches!(b, b'0'..=b'7'));
    let (mut value, mut length) = (0, 0);
    for digit in digits {
        value = value * 8 + u32::from(digit - b'0');
        length += 1;
    }
    out.push_str(&format!("\\x{{{value:x}}}"));
    &text[length..]
}

/// Rewrites a class in brackets; gives what follows it.
fn class<'t>(text: &'t str, out: &mut String) -> &'t str {
    out.push('[');
    let mut rest = &text[1..];
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    loop {
        let Some(c) = rest.chars().next() else {
            // It does not end: the crate says so.
            return "";
        };
        if c == ']' && !first {
            out.push(']');
            return &rest[1..];
        }
        first = false;
        if let Some(name) = named(rest) {
            let known = NAMED.contains(&name[2..name.len() - 2].trim_start_matches('^'));
            // No such class is a fault in RE2, not a class in a class.
            let shown = if known {
                name.to_owned()
            } else {
                format!("\\p{{{name}}}")
            };
            out.push_str(&shown);
            rest = &rest[name.len()..];
            continue;
        }
        let many = rest.starts_with('\\')
            && rest[1..].starts_with(|c| perl(c).is_some() || matches!(c, 'p' | 'P'));
        if many {
            rest = escape(rest, true, out);
            continue;
        }
        rest = member(rest, out);
        // A hyphen makes a range unless it is the last of the class.
        let range = rest.strip_prefix('-');
        if let Some(end) = range.filter(|end| !end.is_empty() && !end.starts_with(']')) {
            out.push('-');
            rest = member(end, out);
        }
    }
}

/// `[:alpha:]` or `[:^alpha:]` at the start of a text.
fn named(text: &str) -> Option<&str> {
    let inside = text.strip_prefix("[:")?;
    let (name, _) = inside.split_once(":]")?;
    let letters = name.strip_prefix('^').unwrap_or(name);
    letters
        .bytes()
        .all(|b| b.is_ascii_lowercase())
        .then(|| &text[..name.len() + 4])
}

/// One character of a class.
fn member<'t>(text: &'t str, out: &mut String) -> &'t str {
    match text.chars().next() {
        Some('\\') => escape(text, true, out),
        Some(c) => literal(c, &text[c.len_utf8()..], out),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;

    #[test]
    fn what_is_the_same_stays() {
        for text in [
            "",
            "abc.*|(a|b)+?c{2,3}d{4}e{5,}",
            "^(?i:x)$(?P<n>y)",
            "\\.\\pL\\p{Greek}\\x41\\x{1F600}\\n\\A\\z",
            "[a-z0-9_]é",
            "}",
        ] {
            assert_eq!(translate(text), text);
        }
    }

    #[test]
    fn texts_match_as_in_re2() {
        let check = |source: &str, matching: &[&str], other: &[&str]| {
            let pattern = Pattern::anchored(source).unwrap_or_else(|e| panic!("{source}: {e}"));
            for text in matching {
                assert!(pattern.is_match(text.as_bytes()), "{source} on {text}");
            }
            for text in other {
                assert!(!pattern.is_match(text.as_bytes()), "{source} on {text}");
            }
        };
        check(
            "/users/{id}|/orders",
            &["/users/{id}", "/orders"],
            &["/users/id"],
        );
        check("x{", &["x{"], &["x"]);
        check("a{,2}", &["a{,2}"], &["aa"]);
        check("a{2,}b{1}", &["aab", "aaab"], &["ab"]);
        check("[[]", &["["], &["]"]);
        check("[a[b]", &["a", "[", "b"], &["c"]);
        check("[]a]", &["]", "a"], &["b"]);
        check("[^]a]", &["b"], &["]", "a"]);
        check("[\\w-z]", &["q", "-", "z"], &["é"]);
        check("[&&]", &["&"], &["a"]);
        check("[+--]", &["+", ",", "-"], &["."]);
        check("[~~]", &["~"], &["a"]);
        check("[a-z&&[i]", &["b", "&", "[", "i"], &["1"]);
        check("[a^]", &["a", "^"], &["b"]);
        check("[a-]", &["a", "-"], &["b"]);
        check("[-a]", &["a", "-"], &["b"]);
        check("[[:alpha:]_]+", &["ab_"], &["1"]);
        check("[[:^alpha:]]", &["1"], &["a"]);
        check("\\w+", &["az_9"], &["é"]);
        check("\\W", &["é", "-"], &["a"]);
        check("\\d", &["7"], &["\u{663}"]);
        check("[\\D]", &["a", "\u{663}"], &["7"]);
        check("\\s", &[" ", "\t"], &["\u{b}", "\u{a0}"]);
        check("a\\b-", &["a-"], &[]);
        check("é\\bb", &["éb"], &[]);
        check("\\<a\\>", &["<a>"], &["a"]);
        check("\\Qa.b\\E.", &["a.bc"], &["axbc"]);
        check("\\Qa|", &["a|"], &["a"]);
        check(
            "\\101\\x42[\\x43\\x{44}\\105]",
            &["ABC", "ABD", "ABE"],
            &["ABF"],
        );
        check("\\p{^Greek}[\\p{^Greek}\\P{Latin}]", &["ab", "aα"], &["αa"]);
        check("[\\pN\\p{Greek}-]", &["1", "α", "-"], &["a"]);
    }

    #[test]
    fn faults_stay_faults() {
        for source in [
            "[a",
            "(",
            "*a",
            "\\1",
            "a\\",
            "[\\",
            "[[:nosuch:]]",
            "[b-a]",
            "\\p{Nosuch}",
        ] {
            assert!(Pattern::anchored(source).is_err(), "{source}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,30}") {
            let _translated = translate(&text);
        }

        #[test]
        fn no_class_panics(text in "[\\\\\\[\\]\\^a-c\\-{}pPxQdD0-9:&~é]{0,20}") {
            let _pattern = Pattern::anchored(&text);
        }

        #[test]
        fn quoted_texts_match_themselves(text in "\\PC{0,12}") {
            let pattern = Pattern::anchored(&format!("\\Q{}\\E", text.replace('\\', "")));
            proptest::prop_assert!(pattern.unwrap().is_match(text.replace('\\', "").as_bytes()));
        }
    }
}
