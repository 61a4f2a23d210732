//! OpenCost's filters, version 2: `namespace:"shop","pay" + label[app]!:"web"`.
//!
//! Operators are `:`, `!:`, `~:` (contains), `<~:` (begins), `~>:` (ends) and their negations;
//! `+` is and, `|` is or, which do not stand together without parentheses. Several values are
//! alternatives, of a negation all are excluded. Invariant: depth and length of a filter are bounded.

use crate::cluster::Names;
use crate::csv::sanitized;
use crate::error::CostError;
use crate::{Allocation, Asset, UNALLOCATED};

/// Longest filter.
const BYTES_MAX: usize = 16 << 10;
/// Deepest parentheses.
const DEPTH_MAX: usize = 32;

/// A field's value.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// One text; empty where there is none.
    Text(&'a str),
    /// Several texts.
    List(&'a [String]),
    /// Texts by name.
    Map(&'a Names),
}

/// What can be filtered.
pub trait Target {
    /// Names of its fields.
    const FIELDS: &'static [&'static str];
    /// The value of one of them.
    fn field(&self, name: &str) -> Value<'_>;
}

impl Target for Allocation {
    const FIELDS: &'static [&'static str] = &[
        "cluster",
        "node",
        "namespace",
        "controllerKind",
        "controllerName",
        "controller",
        "pod",
        "container",
        "provider",
        "services",
        "label",
        "annotation",
        "department",
        "environment",
        "owner",
        "product",
        "team",
    ];

    fn field(&self, name: &str) -> Value<'_> {
        let p = &self.properties;
        let labelled = |name: &str| {
            let found = p.labels.get(name).or_else(|| p.annotations.get(name));
            Value::Text(found.map_or("", String::as_str))
        };
        match name {
            "cluster" => Value::Text(&p.cluster),
            "node" => Value::Text(&p.node),
            "namespace" => Value::Text(&p.namespace),
            "controllerKind" => Value::Text(&p.controller_kind),
            "controllerName" | "controller" => Value::Text(&p.controller),
            "pod" => Value::Text(&p.pod),
            "container" => Value::Text(&p.container),
            "provider" => Value::Text(&p.provider_id),
            "services" => Value::List(&p.services),
            "label" => Value::Map(&p.labels),
            "annotation" => Value::Map(&p.annotations),
            // OpenCost's names of the labels behind its aliases.
            "environment" => labelled("env"),
            "product" => labelled("app"),
            alias => labelled(alias),
        }
    }
}

impl Target for Asset {
    const FIELDS: &'static [&'static str] = &[
        "name",
        "assetType",
        "category",
        "cluster",
        "project",
        "provider",
        "providerID",
        "account",
        "service",
        "label",
    ];

    fn field(&self, name: &str) -> Value<'_> {
        match name {
            "name" => Value::Text(&self.name),
            "assetType" => Value::Text(self.kind.name()),
            "category" => Value::Text(self.kind.category()),
            "cluster" => Value::Text(&self.cluster),
            "provider" => Value::Text(self.provider()),
            "providerID" => Value::Text(&self.provider_id),
            "service" => Value::Text("Kubernetes"),
            "label" => Value::Map(&self.labels),
            // Nothing is known of accounts and projects.
            _ => Value::Text(""),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Is,
    Contains,
    Begins,
    Ends,
}

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Everything.
    All,
    /// All of them hold.
    And(Vec<Filter>),
    /// One of them holds.
    Or(Vec<Filter>),
    /// A comparison.
    Compare(Comparison),
}

/// A field and what its value has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    field: String,
    key: Option<String>,
    operator: Operator,
    negated: bool,
    values: Vec<String>,
}

impl Filter {
    /// Reads a filter on the fields of a target; an empty one takes everything.
    pub fn parse<T: Target>(text: &str) -> Result<Self, CostError> {
        let mut reader = Reader {
            text,
            at: 0,
            fields: T::FIELDS,
        };
        if text.len() > BYTES_MAX {
            return Err(reader.fault(format!("at most {BYTES_MAX} bytes")));
        }
        reader.blanks();
        if reader.rest().is_empty() {
            return Ok(Self::All);
        }
        let filter = reader.group(0)?;
        if reader.rest().is_empty() {
            return Ok(filter);
        }
        Err(reader.fault("the end, or the same operator as before".to_owned()))
    }

    /// Whether it lets something pass.
    pub fn matches<T: Target>(&self, target: &T) -> bool {
        match self {
            Self::All => true,
            Self::And(all) => all.iter().all(|one| one.matches(target)),
            Self::Or(any) => any.iter().any(|one| one.matches(target)),
            Self::Compare(comparison) => comparison.matches(target),
        }
    }
}

impl Comparison {
    fn matches<T: Target>(&self, target: &T) -> bool {
        let found = target.field(&self.field);
        let any = self.values.iter().any(|wanted| self.fits(found, wanted));
        any != self.negated
    }

    fn fits(&self, found: Value<'_>, wanted: &str) -> bool {
        match (found, &self.key) {
            (Value::Text(text), _) => self.compare(text, wanted),
            (Value::List([]), _) => wanted == UNALLOCATED,
            (Value::List(texts), _) => texts.iter().any(|text| self.compare(text, wanted)),
            (Value::Map(names), Some(key)) => {
                let value = names.get(key).map_or("", String::as_str);
                self.compare(value, wanted)
            }
            (Value::Map(names), None) => {
                let wanted = sanitized(wanted);
                names.keys().any(|name| self.compare(name, &wanted))
            }
        }
    }

    fn compare(&self, text: &str, wanted: &str) -> bool {
        if wanted == UNALLOCATED && self.operator == Operator::Is {
            return text.is_empty();
        }
        match self.operator {
            Operator::Is => text == wanted,
            Operator::Contains => text.contains(wanted),
            Operator::Begins => text.starts_with(wanted),
            Operator::Ends => text.ends_with(wanted),
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    fields: &'static [&'static str],
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn fault(&self, expected: String) -> CostError {
        CostError::Filter {
            at: self.at + 1,
            expected,
        }
    }

    /// Steps over a text, and the blanks behind it, where it stands here.
    fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
            self.blanks();
        }
        found
    }

    fn group(&mut self, depth: usize) -> Result<Filter, CostError> {
        let mut all = vec![self.operand(depth)?];
        let and = self.rest().starts_with('+');
        let sign = if and { "+" } else { "|" };
        while self.take(sign) {
            all.push(self.operand(depth)?);
        }
        Ok(match (all.len(), and) {
            (1, _) => all.remove(0),
            (_, true) => Filter::And(all),
            (_, false) => Filter::Or(all),
        })
    }

    fn operand(&mut self, depth: usize) -> Result<Filter, CostError> {
        if !self.take("(") {
            return self.comparison().map(Filter::Compare);
        }
        if depth == DEPTH_MAX {
            return Err(self.fault(format!("at most {DEPTH_MAX} parentheses in each other")));
        }
        let inner = self.group(depth + 1)?;
        match self.take(")") {
            true => Ok(inner),
            false => Err(self.fault("\")\"".to_owned())),
        }
    }

    fn comparison(&mut self) -> Result<Comparison, CostError> {
        let before = self.at;
        let field = self.word();
        if !self.fields.contains(&field) {
            self.at = before;
            return Err(self.fault(format!("one of {}", self.fields.join(", "))));
        }
        let mapped = matches!(field, "label" | "annotation");
        let key = if mapped && self.rest().starts_with('[') {
            let rest = &self.rest()[1..];
            let Some(end) = rest.find(']') else {
                return Err(self.fault("\"]\"".to_owned()));
            };
            self.at += end + 2;
            self.blanks();
            Some(sanitized(&rest[..end]))
        } else {
            None
        };
        let negated = self.take("!");
        let (sign, operator) = [
            ("<~:", Operator::Begins),
            ("~>:", Operator::Ends),
            ("~:", Operator::Contains),
            (":", Operator::Is),
        ]
        .into_iter()
        .find(|(sign, _)| self.rest().starts_with(sign))
        .ok_or_else(|| self.fault("one of : !: ~: !~: <~: !<~: ~>: !~>:".to_owned()))?;
        self.take(sign);
        let mut values = vec![self.value()?];
        while self.take(",") {
            values.push(self.value()?);
        }
        Ok(Comparison {
            field: field.to_owned(),
            key,
            operator,
            negated,
            values,
        })
    }

    /// Letters, digits, `-` and `_`.
    fn word(&mut self) -> &'t str {
        let rest = self.rest();
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += end;
        self.blanks();
        &rest[..end]
    }

    fn value(&mut self) -> Result<String, CostError> {
        let rest = self.rest();
        let Some(quoted) = rest.strip_prefix('"') else {
            let word = self.word();
            return match word.is_empty() {
                true => Err(self.fault("a value in quotes".to_owned())),
                false => Ok(word.to_owned()),
            };
        };
        let Some(end) = quoted.find('"') else {
            return Err(self.fault("a closing quote".to_owned()));
        };
        self.at += end + 2;
        self.blanks();
        Ok(quoted[..end].to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn allocation() -> Allocation {
        let mut one = Allocation::default();
        one.properties.namespace = "shop".to_owned();
        one.properties.pod = "web-0".to_owned();
        one.properties.services = vec!["web".to_owned()];
        let labels = [("app_kubernetes_io_name".to_owned(), "web".to_owned())];
        one.properties.labels = labels.into();
        one
    }

    #[test]
    fn comparisons() {
        let check = |text: &str, expect: bool| {
            let filter = Filter::parse::<Allocation>(text);
            let found = filter.map(|filter| filter.matches(&allocation()));
            assert_eq!(found, Ok(expect), "{text}");
        };
        check("", true);
        check(r#"namespace:"shop""#, true);
        check(r#"namespace:"pay","shop""#, true);
        check(r#"namespace!:"pay","shop""#, false);
        check(r#"namespace!:"pay","bank""#, true);
        check(r#"pod<~:"web" + pod~>:"-0""#, true);
        check(r#"pod!<~:"web" | pod~:"eb-""#, true);
        check(r#"pod!~>:"0""#, false);
        check(r#"label[app.kubernetes.io/name]:"web""#, true);
        check(r#"label[team]:"__unallocated__""#, true);
        check(r#"label[team]!:"a""#, true);
        check(r#"label:"app_kubernetes_io_name""#, true);
        check(r#"label!:"app""#, true);
        check(r#"services:"web""#, true);
        check(r#"controllerKind:"__unallocated__""#, true);
        check(r#"(namespace:"a" | namespace:"shop") + pod:"web-0""#, true);
    }

    #[test]
    fn faults_name_place_and_expectation() {
        let check = |text: &str, expect: &str| {
            let fault = Filter::parse::<Allocation>(text).unwrap_err().to_string();
            assert!(fault.contains(expect), "{text}: {fault}");
        };
        check("boat:\"a\"", "at byte 1: expected one of cluster, node");
        check("pod=\"a\"", "at byte 4: expected one of : !:");
        check("pod:", "at byte 5: expected a value");
        check("pod:\"a", "closing quote");
        check("(pod:\"a\"", "\")\"");
        check("pod:\"a\" + node:\"b\" | node:\"c\"", "same operator");
        check(&"(".repeat(99), "at most 32 parentheses");
    }

    #[test]
    fn assets_have_other_fields() {
        let span = crate::Span::new(0, 1);
        let asset = Asset::new(crate::AssetKind::Disk, "c", "disk", span);
        let fits = |text: &str| Filter::parse::<Asset>(text).map(|f| f.matches(&asset));
        assert_eq!(fits(r#"assetType:"Disk" + category:"Storage""#), Ok(true));
        assert_eq!(fits(r#"name!:"disk""#), Ok(false));
        assert!(fits(r#"pod:"a""#).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_text_is_a_filter_or_an_error(text in "[a-z:!~<>\"()+|,\\[\\]ä ]{0,60}") {
            if let Ok(filter) = Filter::parse::<Allocation>(&text) {
                // Whatever it says, it says the same twice.
                prop_assert_eq!(filter.matches(&allocation()), filter.matches(&allocation()));
            }
        }
    }
}
