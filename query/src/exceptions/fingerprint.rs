//! The fingerprint of an exception: its type, and where it was thrown, or what it says.
//!
//! Numbers, addresses and names of instances differ from one time to the next and from one version
//! to the next, so they do not count. Invariant: a pure function of the three texts, the same for
//! ever; a change here is a change of everyone's groups.

use xxhash_rust::xxh3::xxh3_64;

/// Frames that count, from the one that threw.
const FRAMES_MAX: usize = 5;
/// Lines of a stack trace that are looked at.
const LINES_MAX: usize = 1000;
/// Bytes of `6f9619ff-8b86-d011-b42d-00cf4fc964ff`.
const UUID_BYTES: usize = 36;
/// Bytes of a message that count.
const MESSAGE_BYTES_MAX: usize = 256;

/// The fingerprint of an exception.
pub fn fingerprint(kind: &str, message: &str, stacktrace: &str) -> u64 {
    let mut text = String::from(kind);
    let frames = frames(stacktrace);
    if frames.is_empty() {
        text.push('\n');
        text.push_str(&normalised(message));
    }
    for frame in frames {
        text.push('\n');
        text.push_str(&frame);
    }
    xxh3_64(text.as_bytes())
}

/// The frames of a stack trace that count, the one that threw first: functions or files without
/// numbers.
pub fn frames(stacktrace: &str) -> Vec<String> {
    let lines: Vec<&str> = stacktrace.lines().take(LINES_MAX).collect();
    // Python tells the innermost last.
    if lines
        .iter()
        .any(|l| l.starts_with("Traceback (most recent call last)"))
    {
        let found = lines.iter().rev().filter_map(|line| python(line));
        return found.take(FRAMES_MAX).collect();
    }
    let found = lines.iter().filter_map(|line| frame(line));
    found.take(FRAMES_MAX).collect()
}

/// `  File "/srv/app/views.py", line 12, in get`
fn python(line: &str) -> Option<String> {
    let rest = line.trim_start().strip_prefix("File \"")?;
    let (file, rest) = rest.split_once('"')?;
    let function = rest.split_once(", in ").map_or("", |(_, f)| f.trim());
    Some(format!("{}:{function}", file_name(file)))
}

/// One frame of what other languages write.
fn frame(line: &str) -> Option<String> {
    let line = line.trim();
    // Java, JavaScript, .NET: `at com.shop.Cart.add(Cart.java:12)`, `at add (/srv/cart.js:1:2)`,
    // `at Shop.Cart.Add(String s) in /srv/Cart.cs:line 12`
    if let Some(rest) = line.strip_prefix("at ") {
        let place = rest.split(" in ").next().unwrap_or(rest);
        let function = place.split('(').next().unwrap_or(place).trim();
        // A frame without a function is a place in a file.
        let text = if function.is_empty() { place } else { function };
        let text = if text.contains('/') {
            file_name(text)
        } else {
            text
        };
        return Some(normalised(text));
    }
    // Ruby: `/srv/cart.rb:12:in 'add'`
    if let Some((file, function)) = line.split_once(":in ") {
        let function = function.trim_matches(['\'', '`', '"']);
        let file = file_name(file).split(':').next().unwrap_or_default();
        return Some(format!("{file}:{}", normalised(function)));
    }
    // Rust: `3: shop::cart::add`
    if let Some((number, function)) = line.split_once(": ")
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
    {
        // The hash of the build follows the last `::`.
        let function = function.split("::h").next().unwrap_or(function);
        return Some(normalised(function));
    }
    // PHP: `#0 /srv/cart.php(12): Cart->add()`
    if let Some(rest) = line.strip_prefix('#') {
        let (_, place) = rest.split_once(' ')?;
        let function = place.split_once(": ").map_or(place, |(_, f)| f);
        return Some(normalised(function.split('(').next().unwrap_or(function)));
    }
    // Go: `main.(*Cart).Add(0xc000…)`, with its file in the next line.
    let (function, arguments) = line.rsplit_once('(')?;
    let is_go = arguments.ends_with(')') && function.contains('.') && !function.contains(' ');
    is_go.then(|| normalised(function))
}

/// The last part of a path.
fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// A text without what differs from one time to the next: numbers, hexadecimal ids and what stands
/// in quotes become `?`, blanks become one.
fn normalised(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_whitespace() {
        if out.len() >= MESSAGE_BYTES_MAX {
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        words(word, &mut out);
    }
    unquoted(&out)
}

/// Runs of letters and digits that have a digit are values.
fn words(word: &str, out: &mut String) {
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        if is_uuid(rest) {
            out.push('?');
            rest = &rest[UUID_BYTES..];
            continue;
        }
        let inside = |c: char| c.is_alphanumeric() || c == '_';
        let end = if inside(first) {
            rest.find(|c| !inside(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (piece, tail) = rest.split_at(end);
        let digits = piece.bytes().filter(u8::is_ascii_digit).count();
        let hexadecimal = piece.len() >= 8 && piece.bytes().all(|b| b.is_ascii_hexdigit());
        // `utf8` and `Vec2` are names; `12ms`, `0x1f` and `7f3a…` are values.
        let value = piece.starts_with(|c: char| c.is_ascii_digit())
            || hexadecimal
            || digits * 2 > piece.len();
        if value {
            if !out.ends_with('?') {
                out.push('?');
            }
        } else {
            out.push_str(piece);
        }
        rest = tail;
    }
}

/// Whether a text begins with a UUID.
fn is_uuid(text: &str) -> bool {
    let Some(begin) = text.as_bytes().get(..UUID_BYTES) else {
        return false;
    };
    let fits = |(place, byte): (usize, &u8)| match place {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    begin.iter().enumerate().all(fits)
}

/// What stands between quotes of one kind becomes `?`.
fn unquoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = rest.find(['"', '\'', '`']) {
        let quote = rest.as_bytes()[place] as char;
        // An apostrophe inside a word opens nothing.
        let opens = !rest[..place].ends_with(char::is_alphanumeric);
        let tail = &rest[place + 1..];
        match tail.find(quote).filter(|_| opens) {
            Some(end) => {
                out.push_str(&rest[..place]);
                out.push('?');
                rest = &tail[end + 1..];
            }
            None => {
                out.push_str(&rest[..=place]);
                rest = tail;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_without_what_differs() {
        let check = |text: &str, expect: &str| assert_eq!(normalised(text), expect);
        check(
            "timeout after 30s at 10.0.0.1:5432",
            "timeout after ? at ?.?.?.?:?",
        );
        check(
            "order 6f9619ff-8b86-d011-b42d-00cf4fc964ff gone",
            "order ? gone",
        );
        check("no  key 'abc' in \"x y\"", "no key ? in ?");
        check("can't open it's file", "can't open it's file");
        check("utf8 in Vec2<T>", "utf8 in Vec2<T>");
        check("pointer 0xc000123", "pointer ?");
    }

    #[test]
    fn frames_of_languages() {
        let check = |stack: &str, expect: &[&str]| assert_eq!(frames(stack), expect, "{stack}");
        check(
            "Traceback (most recent call last):\n  File \"/a/main.py\", line 9, in run\n    go()\n  \
             File \"/a/b/cart.py\", line 12, in add\n    raise X\nX: no",
            &["cart.py:add", "main.py:run"],
        );
        check(
            "java.lang.IllegalStateException: no 12\n\tat com.shop.Cart.add(Cart.java:12)\n\tat \
             com.shop.Main.main(Main.java:3)\n\t... 5 more",
            &["com.shop.Cart.add", "com.shop.Main.main"],
        );
        check(
            "TypeError: x is undefined\n    at Cart.add (/srv/cart.js:10:5)\n    at /srv/index.js:3:1",
            &["Cart.add", "index.js:?:?"],
        );
        check(
            "goroutine 7 [running]:\nmain.(*Cart).Add(0xc00010, 0x3)\n\t/srv/cart.go:12 +0x1d\n\
             main.main()\n\t/srv/main.go:3",
            &["main.(*Cart).Add", "main.main"],
        );
        check(
            "   0: shop::cart::add::h0123456789abcdef\n             at cart.rs:1",
            &["shop::cart::add", "cart.rs:?"],
        );
        check("/srv/cart.rb:12:in 'add'", &["cart.rb:add"]);
        check("#0 /srv/cart.php(12): Cart->add(Object)", &["Cart->add"]);
        check("no frames here", &[]);
    }

    #[test]
    fn lines_and_values_do_not_count_but_places_do() {
        let java = |line: u32, function: &str| {
            format!("X: no\n\tat com.shop.Cart.{function}(Cart.java:{line})")
        };
        let own = fingerprint("X", "no 1", &java(12, "add"));
        assert_eq!(own, fingerprint("X", "no 2", &java(13, "add")));
        assert_ne!(own, fingerprint("X", "no 1", &java(12, "remove")));
        assert_ne!(own, fingerprint("Y", "no 1", &java(12, "add")));
        assert_eq!(fingerprint("X", "id 7", ""), fingerprint("X", "id 8", ""));
        assert_ne!(fingerprint("X", "id 7", ""), fingerprint("X", "name 7", ""));
        // Groups outlive versions of obs: these numbers must not change.
        assert_eq!(format!("{:016x}", fingerprint("X", "id 7", "")), GOLDEN);
    }

    const GOLDEN: &str = "b2fbcc28edc91a36";

    proptest! {
        #[test]
        fn any_text_has_one(kind in ".{0,20}", message in ".{0,400}", stack in "(.{0,60}\n){0,20}") {
            let first = fingerprint(&kind, &message, &stack);
            prop_assert_eq!(first, fingerprint(&kind, &message, &stack));
            prop_assert!(frames(&stack).len() <= FRAMES_MAX);
        }
    }
}
