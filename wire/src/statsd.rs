//! StatsD's lines `name:value|type[|@rate][|#tag:value,…]`, with the tags of DogStatsD, InfluxDB
//! (`name,tag=value:`), Librato (`name#tag=value:`) and SignalFX (`name[tag=value]:`).
//!
//! Invariant: a line that cannot be read costs itself only. Formats:
//! <https://github.com/statsd/statsd/blob/master/docs/metric_types.md>,
//! <https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/>

/// Longest line; datagrams are not longer.
const LINE_BYTES_MAX: usize = 65_535;

/// What a line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// `c`: the counter grows by so much, the rate applied.
    Count(f64),
    /// `g`: the gauge is so much.
    Set(f64),
    /// `g` with a sign: the gauge changes by so much.
    Add(f64),
    /// `ms`: took so many milliseconds; how many such events the line stands for.
    Time(f64, f64),
    /// `h`, `d`: was so much; how many such events the line stands for.
    Observe(f64, f64),
    /// `s`: this was seen.
    Member(String),
}

/// A line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The name, as it was sent.
    pub name: String,
    /// Names and values of tags, as they were sent.
    pub tags: Vec<(String, String)>,
    /// What it asks for.
    pub change: Change,
}

/// Reads lines; gives how many could not be read. Events and service checks of DogStatsD are no
/// samples and count as such.
pub fn decode(bytes: &[u8], out: &mut Vec<Line>) -> u64 {
    let mut refused = 0;
    for line in bytes.split(|b| *b == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let before = out.len();
        let read = std::str::from_utf8(line)
            .ok()
            .filter(|line| line.len() <= LINE_BYTES_MAX);
        if read.and_then(|line| decode_line(line, out)).is_none() {
            out.truncate(before);
            refused += 1;
        }
    }
    refused
}

fn decode_line(line: &str, out: &mut Vec<Line>) -> Option<()> {
    if line.starts_with("_e{") || line.starts_with("_sc|") {
        return None;
    }
    // The value follows the last colon before the first bar, but DogStatsD has many values.
    let bar = line.find('|')?;
    let head_end = name_end(line.get(..bar)?)?;
    let (head, values) = (line.get(..head_end)?, line.get(head_end + 1..bar)?);
    let mut parts = line.get(bar + 1..)?.split('|');
    let kind = parts.next()?.trim();
    let (name, mut tags) = head_tags(head)?;
    let mut rate = 1.0;
    for part in parts {
        if let Some(text) = part.strip_prefix('@') {
            rate = text.parse().ok().filter(|r| *r > 0.0 && *r <= 1.0)?;
        } else if let Some(text) = part.strip_prefix('#') {
            add_tags(text, ',', ':', &mut tags);
        }
        // Container ids (`c:`), times (`T`) and what else may come are passed by.
    }
    if name.is_empty() {
        return None;
    }
    for value in values.split(':') {
        out.push(Line {
            name: name.to_owned(),
            tags: tags.clone(),
            change: change(kind, value.trim(), rate)?,
        });
    }
    Some(())
}

/// Where the name and its tags end: at the first colon that no bracket holds.
fn name_end(head: &str) -> Option<usize> {
    let from = match (head.find('['), head.find(']')) {
        (Some(open), Some(close)) if open < close => close,
        _ => 0,
    };
    head.get(from..)?.find(':').map(|at| at + from)
}

fn change(kind: &str, value: &str, rate: f64) -> Option<Change> {
    if kind == "s" {
        return (!value.is_empty()).then(|| Change::Member(value.to_owned()));
    }
    let number = value.parse::<f64>().ok().filter(|v| v.is_finite())?;
    Some(match kind {
        "c" | "m" => Change::Count(Some(number / rate).filter(|v| *v >= 0.0)?),
        "g" if value.starts_with(['+', '-']) => Change::Add(number),
        "g" => Change::Set(number),
        "ms" => Change::Time(number, 1.0 / rate),
        "h" | "d" => Change::Observe(number, 1.0 / rate),
        _ => return None,
    })
}

fn head_tags(head: &str) -> Option<(&str, Vec<(String, String)>)> {
    let mut tags = Vec::new();
    if let Some(open) = head.find('[') {
        let close = head.find(']').filter(|close| *close > open)?;
        add_tags(head.get(open + 1..close)?, ',', '=', &mut tags);
        // What follows the bracket is the rest of the name; nobody sends it.
        return Some((head.get(..open)?, tags));
    }
    let Some(at) = head.find(['#', ',']) else {
        return Some((head, tags));
    };
    add_tags(head.get(at + 1..)?, ',', '=', &mut tags);
    Some((head.get(..at)?, tags))
}

/// Tags without a value are passed by: a label has one.
fn add_tags(text: &str, between: char, is: char, out: &mut Vec<(String, String)>) {
    for tag in text.split(between) {
        if let Some((name, value)) = tag.split_once(is)
            && !name.is_empty()
            && !value.is_empty()
        {
            out.push((name.trim().to_owned(), value.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(input: &str, expect: &[(&str, &str, Change)], refused: u64) {
        let mut lines = Vec::new();
        assert_eq!(decode(input.as_bytes(), &mut lines), refused, "{input}");
        let found: Vec<_> = lines
            .iter()
            .map(|line| {
                let tags = line.tags.iter().map(|(n, v)| format!("{n}={v}"));
                let tags = tags.collect::<Vec<_>>().join(",");
                (line.name.as_str(), tags, line.change.clone())
            })
            .collect();
        let expect: Vec<_> = expect
            .iter()
            .map(|(name, tags, change)| (*name, (*tags).to_owned(), change.clone()))
            .collect();
        assert_eq!(found, expect, "{input}");
    }

    #[test]
    fn lines() {
        use Change::{Add, Count, Member, Observe, Set, Time};
        check("a.b:1|c\n", &[("a.b", "", Count(1.0))], 0);
        check("a:2|c|@0.5|#x:y,z", &[("a", "x=y", Count(4.0))], 0);
        check(
            "a:3|g\na:+1|g\na:-2.5|g",
            &[
                ("a", "", Set(3.0)),
                ("a", "", Add(1.0)),
                ("a", "", Add(-2.5)),
            ],
            0,
        );
        check("a:320|ms|@0.1", &[("a", "", Time(320.0, 10.0))], 0);
        check(
            "a:1:2|h|#t:u:v",
            &[
                ("a", "t=u:v", Observe(1.0, 1.0)),
                ("a", "t=u:v", Observe(2.0, 1.0)),
            ],
            0,
        );
        check(
            "a:7|d|c:abc|T1656581400",
            &[("a", "", Observe(7.0, 1.0))],
            0,
        );
        check("u:me|s", &[("u", "", Member("me".into()))], 0);
        check("a,x=y:1|c", &[("a", "x=y", Count(1.0))], 0);
        check("a#x=y,z=1:1|c", &[("a", "x=y,z=1", Count(1.0))], 0);
        check("a[x=y:z]:1|c", &[("a", "x=y:z", Count(1.0))], 0);
        check(
            "_e{1,1}:a|b\na\na:1\na:x|c\na:1|q\na:-1|c\n:1|c\na:1|c|@0\na:1:x|c\nb:1|c",
            &[("b", "", Count(1.0))],
            9,
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes_do_not_panic(text in "[a:|cg@#,=\\[\\]\n0-9.\u{e9}-]{0,40}", bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            for input in [text.as_bytes(), &bytes] {
                let mut lines = Vec::new();
                decode(input, &mut lines);
                prop_assert!(lines.len() <= input.len());
            }
        }
    }
}
