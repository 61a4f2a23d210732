//! What `/federate` prints: the last samples of series in the text format, with their times.
//!
//! Invariant: series come in order of name, so that each name has one `# TYPE` line; names that a
//! reader does not take are escaped in the way that it asked for.
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/> and
//! <https://prometheus.io/docs/instrumenting/escaping_schemes/>

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;

use obs_model::labels::is_legacy_name;
use obs_model::{Labels, Timestamp};

use super::text::{escape, is_metric_name};
use crate::number;

/// How names beyond the old alphabet are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escaping {
    /// As they are, in quotes.
    AllowUtf8,
    /// Every other character becomes `_`.
    #[default]
    Underscores,
    /// `.` becomes `_dot_`, `_` is doubled, every other character becomes `__`.
    Dots,
    /// `U__` and the code of every other character.
    Values,
}

impl Escaping {
    /// As in `Accept` and `Content-Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// What a reader asks for with the parameter `escaping` of `Accept`; the last one counts.
    pub fn of_accept(accept: &str) -> Self {
        let mut parameters = accept.split([';', ',']).filter_map(|part| {
            let value = part.trim().strip_prefix("escaping=")?.trim();
            [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values]
                .into_iter()
                .find(|known| known.as_str() == value)
        });
        parameters.next_back().unwrap_or_default()
    }

    /// The media type of what [`encode`] prints.
    pub fn content_type(self) -> String {
        format!(
            "text/plain; version=0.0.4; charset=utf-8; escaping={}",
            self.as_str()
        )
    }

    /// A name as it is printed. Colons are legal in names of metrics only, and old names stay as
    /// they are but for the dots' scheme.
    fn name(self, name: &str, metric: bool) -> Cow<'_, str> {
        let legal = if metric {
            is_metric_name(name)
        } else {
            is_legacy_name(name)
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || metric && c == ':';
        let each = |character: &dyn Fn(char) -> String| {
            let first = name.chars().next().is_some_and(|c| c.is_ascii_digit());
            let characters = name.chars().enumerate();
            let escaped = characters.map(|(at, c)| match c {
                c if at == 0 && first => character(c),
                '_' if self != Self::Underscores => "__".to_owned(),
                c if fits(c) => c.to_string(),
                c => character(c),
            });
            Cow::Owned(escaped.collect::<String>())
        };
        match self {
            Self::AllowUtf8 => Cow::Borrowed(name),
            Self::Underscores | Self::Values if legal => Cow::Borrowed(name),
            Self::Underscores => each(&|_| "_".to_owned()),
            Self::Dots => each(&|c| if c == '.' { "_dot_" } else { "__" }.to_owned()),
            Self::Values => {
                let escaped = each(&|c| format!("_{:x}_", u32::from(c)));
                Cow::Owned(format!("U__{escaped}"))
            }
        }
    }
}

/// Prints samples, sorted by the metric's name. Labels of `external` (a value may be empty) are
/// added where the series has none of that name; series without a name are left out.
pub fn encode(
    samples: &[(Labels, Timestamp, f64)],
    external: &BTreeMap<String, String>,
    escaping: Escaping,
    out: &mut Vec<u8>,
) {
    let mut last = None;
    for (labels, time, value) in samples {
        let Some(name) = labels.metric_name().filter(|name| !name.is_empty()) else {
            continue;
        };
        let printed = escaping.name(name, true);
        let plain = is_metric_name(&printed);
        if last != Some(name) {
            out.extend_from_slice(b"# TYPE ");
            quoted_unless(plain, &printed, out);
            out.extend_from_slice(b" untyped\n");
            last = Some(name);
        }
        if plain {
            out.extend_from_slice(printed.as_bytes());
            out.push(b'{');
        } else {
            out.push(b'{');
            quoted_unless(false, &printed, out);
            out.push(b',');
        }
        let own = labels.iter().filter(|(name, _)| *name != "__name__");
        let added = external
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let added = added.filter(|(name, _)| labels.get(name).is_none());
        pairs(own.chain(added), escaping, out);
        out.extend_from_slice(b"} ");
        number::general(out, *value);
        writeln!(out, " {}", time.millis()).expect("writing to a vector does not fail");
    }
}

fn pairs<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
    escaping: Escaping,
    out: &mut Vec<u8>,
) {
    for (index, (name, value)) in pairs.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let name = escaping.name(name, false);
        quoted_unless(is_legacy_name(&name), &name, out);
        out.extend_from_slice(b"=\"");
        escape(out, value, true);
        out.push(b'"');
    }
}

fn quoted_unless(plain: bool, name: &str, out: &mut Vec<u8>) {
    if plain {
        out.extend_from_slice(name.as_bytes());
        return;
    }
    out.push(b'"');
    escape(out, name, true);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(labels: &[(&str, &str)], escaping: Escaping, expect: &str) {
        let labels = Labels::from_pairs(labels.iter().copied());
        let external = [("instance", ""), ("region", "eu")];
        let external = external.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut out = Vec::new();
        let samples = [(labels, Timestamp::from_millis(1500), 0.5)];
        encode(&samples, &external.into(), escaping, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    #[test]
    fn external_labels_fill_gaps() {
        check(
            &[("__name__", "up"), ("instance", "a\"b")],
            Escaping::Underscores,
            "# TYPE up untyped\nup{instance=\"a\\\"b\",region=\"eu\"} 0.5 1500\n",
        );
        check(
            &[("__name__", "up"), ("region", "us")],
            Escaping::AllowUtf8,
            "# TYPE up untyped\nup{region=\"us\",instance=\"\"} 0.5 1500\n",
        );
        check(&[("a", "b")], Escaping::AllowUtf8, "");
    }

    #[test]
    fn names_beyond_the_old_alphabet() {
        let labels = [("__name__", "a.b_c"), ("é", "x")];
        let check = |escaping, expect: &str| check(&labels, escaping, expect);
        check(
            Escaping::AllowUtf8,
            "# TYPE \"a.b_c\" untyped\n{\"a.b_c\",\"é\"=\"x\",instance=\"\",region=\"eu\"} 0.5 1500\n",
        );
        check(
            Escaping::Underscores,
            "# TYPE a_b_c untyped\na_b_c{_=\"x\",instance=\"\",region=\"eu\"} 0.5 1500\n",
        );
        check(
            Escaping::Dots,
            "# TYPE a_dot_b__c untyped\na_dot_b__c{__=\"x\",instance=\"\",region=\"eu\"} 0.5 1500\n",
        );
        check(
            Escaping::Values,
            "# TYPE U__a_2e_b__c untyped\nU__a_2e_b__c{U___e9_=\"x\",instance=\"\",region=\"eu\"} 0.5 1500\n",
        );
    }

    #[test]
    fn what_readers_ask_for() {
        let check = |accept: &str, expect| assert_eq!(Escaping::of_accept(accept), expect);
        check("*/*", Escaping::Underscores);
        check(
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.2",
            Escaping::AllowUtf8,
        );
        check("text/plain; escaping=values", Escaping::Values);
        check("text/plain; escaping=other", Escaping::Underscores);
    }
}
