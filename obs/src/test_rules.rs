//! `obs test rules`: runs unit tests of rules in promtool's format, with its output and exit codes.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use obs_alerting::rules::{Group, Parsing, RuleFile};
use obs_alerting::unit::{self, Case, TestFile};
use obs_model::limits::Limits;
use regex::Regex;

use crate::Ended;
use crate::rule_arguments::TestRulesOptions;

/// What became of a file.
struct Suite {
    name: String,
    /// Why no test was run.
    fault: Option<String>,
    cases: Vec<Case>,
}

impl Suite {
    fn failures(&self) -> impl Iterator<Item = &String> {
        let cases = self.cases.iter().flat_map(|case| &case.failures);
        self.fault.iter().chain(cases)
    }
}

pub(crate) async fn run(options: &TestRulesOptions) -> anyhow::Result<()> {
    if let Some(against) = &options.against {
        return crate::rules::try_out(options, against).await;
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.context("start the query pool")?;
    let wanted = match options.run.is_empty() {
        true => None,
        false => Some(Regex::new(&options.run.join("|")).context("--run")?),
    };
    let delayed = |name: &String| name == "promql-delayed-name-removal";
    let running = unit::Options {
        wanted: wanted.as_ref(),
        difference: options.diff,
        dump: options.debug,
        delayed_names: options.enable_feature.iter().any(delayed),
        limits: &Limits::default(),
        pool: &pool,
    };
    let mut suites = Vec::new();
    for file in &options.files {
        let name = file.display().to_string();
        writeln!(std::io::stdout(), "Unit Testing:  {name}")?;
        let began = now();
        let suite = match tests(file, options.ignore_unknown_fields).await {
            Ok((tests, groups)) => Suite {
                name,
                fault: None,
                cases: unit::run(&tests, &groups, &running),
            },
            Err(fault) => Suite {
                name,
                fault: Some(fault),
                cases: Vec::new(),
            },
        };
        told(&suite)?;
        if options.debug {
            debug(&suite, began)?;
        }
        suites.push(suite);
    }
    if let Some(file) = &options.junit {
        write(file, &junit(&suites)).with_context(|| format!("write {}", file.display()))?;
    }
    match suites.iter().all(|suite| suite.failures().next().is_none()) {
        true => Ok(()),
        false => Err(Ended(1).into()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command says how long tests took"
)]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command writes the file that it is given"
)]
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    std::fs::write(file, text)
}

/// Reads tests and the rules that they name.
async fn tests(file: &Path, lenient: bool) -> Result<(TestFile, Vec<Group>), String> {
    let read = |file: &Path| {
        let text = crate::check_rules::read(file);
        text.map_err(|error| format!("{}: {error}", file.display()))
    };
    let text = read(file)?;
    let tests = TestFile::parse(&text).map_err(|e| format!("{}:{e}", file.display()))?;
    let parsing = Parsing {
        lenient,
        ..Parsing::default()
    };
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut groups = Vec::new();
    for pattern in &tests.rule_files {
        let (found, faults) = obs_server::glob::expand(&folder.join(pattern)).await;
        if let Some(fault) = faults.first() {
            return Err(format!("rule_files: {fault}"));
        }
        if found.is_empty() {
            let pattern = folder.join(pattern);
            // Where standard error is gone, there is nobody to warn.
            drop(writeln!(
                std::io::stderr(),
                "  WARNING: no file match pattern {}",
                pattern.display()
            ));
        }
        for file in found {
            let parsed = RuleFile::parse(&read(&file)?, &parsing);
            groups.extend(
                parsed
                    .map_err(|e| format!("{}:{e}", file.display()))?
                    .groups,
            );
        }
    }
    Ok((tests, groups))
}

fn told(suite: &Suite) -> anyhow::Result<()> {
    let mut failures = suite.failures().peekable();
    if failures.peek().is_none() {
        writeln!(std::io::stdout(), "  SUCCESS\n")?;
        return Ok(());
    }
    writeln!(std::io::stderr(), "  FAILED:")?;
    for failure in failures {
        writeln!(std::io::stderr(), "{failure}\n")?;
    }
    Ok(writeln!(std::io::stdout())?)
}

fn debug(suite: &Suite, began: Instant) -> anyhow::Result<()> {
    let mut out = std::io::stderr().lock();
    let took = began.elapsed();
    writeln!(out, "DEBUG: {} took {took:?}", suite.name)?;
    for case in &suite.cases {
        let dump = case.dump.as_deref().unwrap_or_default();
        writeln!(
            out,
            "DEBUG: Dump of all data (input_series and rules) of test {}:\n{dump}",
            case.name
        )?;
    }
    Ok(())
}

/// The results as JUnit has them.
fn junit(suites: &[Suite]) -> String {
    let mut text = "<testsuites>".to_owned();
    for suite in suites {
        let faulty = |case: &&Case| !case.failures.is_empty();
        let failures = suite.cases.iter().filter(faulty).count();
        let errors = usize::from(suite.fault.is_some());
        text.push_str(&format!(
            "<testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" \
             skipped=\"0\" timestamp=\"{}\">",
            escaped(&suite.name),
            suite.cases.len().max(errors),
            crate::client::now(),
        ));
        if let Some(fault) = &suite.fault {
            let fault = escaped(fault);
            text.push_str(&format!(
                "<testcase name=\"unknown\"><error>{fault}</error></testcase>"
            ));
        }
        for case in &suite.cases {
            text.push_str(&format!("<testcase name=\"{}\">", escaped(&case.name)));
            for failure in &case.failures {
                text.push_str(&format!("<failure>{}</failure>", escaped(failure)));
            }
            text.push_str("</testcase>");
        }
        text.push_str("</testsuite>");
    }
    text + "</testsuites>\n"
}

/// A text in XML; what XML cannot have becomes a replacement character.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\n' => out.push_str("&#xA;"),
            '\t' => out.push_str("&#x9;"),
            '\r' => out.push_str("&#xD;"),
            c if c < ' ' || c == '\u{fffe}' || c == '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_as_xml() {
        let suite = |fault: Option<&str>, failures: &[&str]| Suite {
            name: "a\"b".to_owned(),
            fault: fault.map(str::to_owned),
            cases: failures
                .iter()
                .map(|failure| Case {
                    name: "t".to_owned(),
                    failures: vec![(*failure).to_owned()],
                    dump: None,
                })
                .collect(),
        };
        let text = junit(&[suite(None, &["x < 1\n"]), suite(Some("no\u{1}"), &[])]);
        assert!(text.contains("name=\"a&#34;b\" tests=\"1\" failures=\"1\" errors=\"0\""));
        assert!(text.contains("<failure>x &lt; 1&#xA;</failure>"), "{text}");
        assert!(text.contains("<error>no\u{fffd}</error>"), "{text}");
    }
}
