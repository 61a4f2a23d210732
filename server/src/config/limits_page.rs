//! `docs/limits.md` is what `model/src/limits.rs` says.

use std::fmt::Write;

use obs_model::limits::Limits;

const HEAD: &str = "# Limits

Everything that comes in or is asked has a bound with a name; an error names the one that was hit, and `obs.limits`
sets it. This page is made of `model/src/limits.rs` and held against it by a test;
[configuration.md](configuration.md#obslimits) says what happens beyond each.

| limit | default | bounds |
|---|---|---|
";

/// The page.
fn page() -> String {
    let source = include_str!("../../../model/src/limits.rs");
    let defaults = format!("{:?}", Limits::default());
    let mut page = HEAD.to_owned();
    let mut meaning: Vec<&str> = Vec::new();
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            meaning.push(text);
            continue;
        }
        let field = line
            .strip_prefix("pub ")
            .and_then(|rest| rest.split_once(": "));
        if let Some((name, _)) = field {
            let default = defaults
                .split([' ', '{', '}'])
                .skip_while(|w| *w != format!("{name}:"));
            let default = default
                .into_iter()
                .nth(1)
                .unwrap_or_default()
                .trim_end_matches(',');
            let text = meaning.join(" ");
            writeln!(page, "| `{name}` | {default} | {text} |").expect("memory");
        }
        meaning.clear();
    }
    page
}

#[test]
fn the_page_of_limits_is_what_the_table_says() {
    let found = include_str!("../../../docs/limits.md");
    assert_eq!(
        page(),
        found,
        "docs/limits.md is not that of model/src/limits.rs"
    );
}
