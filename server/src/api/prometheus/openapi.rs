//! `/openapi.yaml`: the routes of Prometheus' API as a document, made from one table.
//!
//! Invariant: every route of [`super::routes`] is in the table and every entry is a route (a test
//! compares them).

use std::fmt::Write;

use axum::response::{IntoResponse, Response};
use http::header;

use super::{PROMETHEUS_VERSION, Result};
use crate::params::{Params, invalid};

/// A parameter: its name, whether it must be there, what it says.
type Parameter = (&'static str, bool, &'static str);

/// One path.
struct Operation {
    path: &'static str,
    methods: &'static [&'static str],
    summary: &'static str,
    parameters: &'static [Parameter],
    /// The media type of the answer.
    answer: &'static str,
}

const READ: &[&str] = &["get", "post"];
const GET: &[&str] = &["get"];
const CHANGE: &[&str] = &["post", "put"];
const JSON: &str = "application/json";

const QUERY: Parameter = ("query", true, "The query.");
const START: Parameter = ("start", false, "Begin: RFC 3339 or seconds since 1970.");
const END: Parameter = ("end", false, "End: RFC 3339 or seconds since 1970.");
const TIMEOUT: Parameter = ("timeout", false, "How long it may take.");
const LIMIT: Parameter = ("limit", false, "Most entries of the answer; 0 is no bound.");
const LOOKBACK: Parameter = ("lookback_delta", false, "How far back a sample counts.");
const STATS: Parameter = ("stats", false, "Any value adds statistics.");
const MATCH: Parameter = ("match[]", false, "A series selector; may repeat.");
const MATCH_NEEDED: Parameter = ("match[]", true, "A series selector; may repeat.");
const POOL_NEEDED: Parameter = ("scrapePool", true, "The name of a scrape job.");
const METRIC: Parameter = ("metric", false, "Only the metadata of this metric.");

const SEARCH: &[Parameter] = &[
    MATCH,
    (
        "search[]",
        false,
        "What names should look like; may repeat, one is enough.",
    ),
    ("fuzz_threshold", false, "Least score, from 0 to 100."),
    ("fuzz_alg", false, "subsequence or jarowinkler."),
    ("case_sensitive", false, "true (default) or false."),
    ("sort_by", false, "alpha or score."),
    ("sort_dir", false, "asc or dsc."),
    (
        "include_score",
        false,
        "true adds the score to each result.",
    ),
    START,
    END,
    ("limit", false, "Most results; 100."),
    ("batch_size", false, "Results in one line; 100."),
    (
        "include_metadata",
        false,
        "Of metric_names: true adds type, help and unit.",
    ),
    (
        "label",
        false,
        "Of label_values, where it must be there: the label.",
    ),
];

const fn of(
    path: &'static str,
    methods: &'static [&'static str],
    summary: &'static str,
    parameters: &'static [Parameter],
) -> Operation {
    Operation {
        path,
        methods,
        summary,
        parameters,
        answer: JSON,
    }
}

const OPERATIONS: &[Operation] = &[
    of(
        "/query",
        READ,
        "Evaluate a query at one time",
        &[
            QUERY,
            ("time", false, "When; now."),
            TIMEOUT,
            LIMIT,
            LOOKBACK,
            STATS,
        ],
    ),
    of(
        "/query_range",
        READ,
        "Evaluate a query over a range of time",
        &[
            QUERY,
            ("start", true, "The first step."),
            ("end", true, "No step is later."),
            ("step", true, "Between two steps: a duration or seconds."),
            TIMEOUT,
            LIMIT,
            LOOKBACK,
            STATS,
        ],
    ),
    of(
        "/query_exemplars",
        READ,
        "Exemplars of the series that a query selects",
        &[QUERY, START, END],
    ),
    of(
        "/format_query",
        READ,
        "A query in the usual layout",
        &[QUERY],
    ),
    of("/parse_query", READ, "The tree of a query", &[QUERY]),
    of(
        "/labels",
        READ,
        "Names of labels",
        &[START, END, MATCH, LIMIT],
    ),
    of(
        "/label/{name}/values",
        GET,
        "Values of a label",
        &[START, END, MATCH, LIMIT],
    ),
    of(
        "/series",
        READ,
        "Series by selectors",
        &[MATCH_NEEDED, START, END, LIMIT],
    ),
    of(
        "/metadata",
        GET,
        "Type, unit and help of metrics",
        &[
            METRIC,
            ("limit", false, "Most metrics."),
            ("limit_per_metric", false, "Most entries of a metric."),
        ],
    ),
    Operation {
        answer: "application/x-ndjson",
        ..of(
            "/search/{what}",
            READ,
            "Names that look like a text: metric_names, label_names or label_values",
            SEARCH,
        )
    },
    of(
        "/targets",
        GET,
        "Targets of scraping",
        &[
            ("state", false, "active, dropped or any."),
            ("scrapePool", false, "The name of a scrape job."),
            (
                "reasons",
                false,
                "true: says why targets were dropped; not in Prometheus.",
            ),
        ],
    ),
    of(
        "/targets/metadata",
        GET,
        "Metadata by target",
        &[
            (
                "match_target",
                false,
                "A selector over the labels of targets.",
            ),
            METRIC,
            ("limit", false, "Most entries."),
        ],
    ),
    of(
        "/targets/relabel_steps",
        GET,
        "What each relabelling rule of a job makes of labels",
        &[POOL_NEEDED, ("labels", true, "A JSON object of labels.")],
    ),
    of("/scrape_pools", GET, "Names of scrape jobs", &[]),
    of(
        "/scrape_pools/config",
        GET,
        "The configuration of a scrape job",
        &[POOL_NEEDED],
    ),
    of(
        "/rules",
        GET,
        "Rules",
        &[
            ("type", false, "alert or record."),
            ("rule_name[]", false, "Only these rules."),
            ("rule_group[]", false, "Only these groups."),
            ("file[]", false, "Only these files."),
            ("exclude_alerts", false, "true leaves alerts out."),
            MATCH,
            ("group_limit", false, "Most groups."),
            ("group_next_token", false, "Where to go on."),
        ],
    ),
    of("/alerts", GET, "Active alerts", &[]),
    of("/alertmanagers", GET, "Alertmanagers", &[]),
    of("/features", GET, "What this server can do", &[]),
    of("/notifications", GET, "What is to be known now", &[]),
    Operation {
        answer: "text/event-stream",
        ..of(
            "/notifications/live",
            GET,
            "What is to be known now, as events",
            &[],
        )
    },
    of("/status/config", GET, "The configuration, redacted", &[]),
    of("/status/flags", GET, "Flags", &[]),
    of("/status/runtimeinfo", GET, "The process", &[]),
    of("/status/buildinfo", GET, "The version", &[]),
    of(
        "/status/tsdb",
        GET,
        "Where series come from",
        &[("limit", false, "Entries of each list; 10, at most 10000.")],
    ),
    of("/status/tsdb/blocks", GET, "Parts on disk", &[]),
    of("/status/walreplay", GET, "How far the start is", &[]),
    of(
        "/status/self_metrics",
        GET,
        "The server's own metrics",
        &[(
            "metric_name_pattern",
            false,
            "A regular expression of names.",
        )],
    ),
    of(
        "/admin/tsdb/delete_series",
        CHANGE,
        "Delete series (--enable-admin-api)",
        &[MATCH_NEEDED, START, END],
    ),
    of(
        "/admin/tsdb/clean_tombstones",
        CHANGE,
        "Remove what is deleted from the disk (--enable-admin-api)",
        &[],
    ),
    of(
        "/admin/tsdb/snapshot",
        CHANGE,
        "Take a snapshot (--enable-admin-api)",
        &[("skip_head", false, "true leaves out what is not in parts.")],
    ),
    Operation {
        answer: "application/yaml",
        ..of(
            "/openapi.yaml",
            GET,
            "This document",
            &[("openapi_version", false, "3.1 or 3.2.")],
        )
    },
];

/// `/openapi.yaml`
pub(super) async fn document(params: Params) -> Result<Response> {
    let version = match params.get("openapi_version") {
        None | Some("3.1" | "3.1.0") => "3.1.0",
        Some("3.2" | "3.2.0") => "3.2.0",
        Some(other) => {
            let why = format!("{other:?}, expected 3.1 or 3.2");
            return Err(invalid("openapi_version", why));
        }
    };
    let kind = [(header::CONTENT_TYPE, "application/yaml; charset=utf-8")];
    Ok((kind, text(version)).into_response())
}

fn text(version: &str) -> String {
    let mut out = format!(
        "openapi: {version}\ninfo:\n  title: obs, Prometheus HTTP API\n  \
         version: {PROMETHEUS_VERSION}\nservers:\n- url: /api/v1\npaths:\n"
    );
    for operation in OPERATIONS {
        let written = path(operation, &mut out);
        written.expect("writing to a string does not fail");
    }
    out.push_str(SCHEMAS);
    out
}

fn path(operation: &Operation, out: &mut String) -> std::fmt::Result {
    writeln!(out, "  {}:", operation.path)?;
    for method in operation.methods {
        let id = operation.path.replace(['/', '{', '}', '.', '_'], "-");
        writeln!(out, "    {method}:")?;
        writeln!(out, "      operationId: {method}{id}")?;
        writeln!(out, "      summary: {:?}", operation.summary)?;
        let form = *method == "post" && operation.methods.contains(&"get");
        let in_path = operation.path.split_once('{').and_then(|(_, rest)| {
            let (name, _) = rest.split_once('}')?;
            Some(name)
        });
        let listed = if form { &[] } else { operation.parameters };
        if in_path.is_some() || !listed.is_empty() {
            writeln!(out, "      parameters:")?;
        }
        if let Some(name) = in_path {
            writeln!(out, "      - name: {name}\n        in: path")?;
            writeln!(
                out,
                "        required: true\n        schema: {{type: string}}"
            )?;
        }
        for (name, required, says) in listed {
            writeln!(out, "      - name: {name:?}\n        in: query")?;
            writeln!(
                out,
                "        required: {required}\n        description: {says:?}"
            )?;
            writeln!(out, "        schema: {{{}}}", schema(name))?;
        }
        if form {
            form_body(operation.parameters, out)?;
        }
        answers(operation, out)?;
    }
    Ok(())
}

/// What repeats is a list.
fn schema(name: &str) -> &'static str {
    if name.ends_with("[]") {
        "type: array, items: {type: string}"
    } else {
        "type: string"
    }
}

fn form_body(parameters: &[Parameter], out: &mut String) -> std::fmt::Result {
    out.push_str("      requestBody:\n        content:\n");
    out.push_str("          application/x-www-form-urlencoded:\n");
    out.push_str("            schema:\n              type: object\n              properties:\n");
    for (name, _, says) in parameters {
        let schema = schema(name);
        writeln!(
            out,
            "                {name:?}: {{{schema}, description: {says:?}}}"
        )?;
    }
    Ok(())
}

fn answers(operation: &Operation, out: &mut String) -> std::fmt::Result {
    out.push_str("      responses:\n        \"200\":\n          description: Success\n");
    let schema = match operation.answer {
        JSON => "$ref: \"#/components/schemas/Success\"",
        _ => "type: string",
    };
    writeln!(
        out,
        "          content: {{{:?}: {{schema: {{{schema}}}}}}}",
        operation.answer
    )?;
    out.push_str("        default:\n          description: Error\n");
    writeln!(
        out,
        "          content: {{{JSON:?}: {{schema: {{$ref: \"#/components/schemas/Error\"}}}}}}"
    )
}

const SCHEMAS: &str = r#"components:
  schemas:
    Success:
      type: object
      required: [status]
      properties:
        status: {type: string, const: success}
        data: {}
        warnings: {type: array, items: {type: string}}
        infos: {type: array, items: {type: string}}
    Error:
      type: object
      required: [status, errorType, error]
      properties:
        status: {type: string, const: error}
        errorType: {type: string}
        error: {type: string}
"#;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_is_yaml_with_every_path() {
        for version in ["3.1.0", "3.2.0"] {
            let document: serde_yaml_ng::Value =
                serde_yaml_ng::from_str(&text(version)).expect("it is YAML");
            assert_eq!(document["openapi"].as_str(), Some(version));
            let paths = document["paths"].as_mapping().expect("a map");
            assert_eq!(paths.len(), OPERATIONS.len());
            let query = &document["paths"]["/query"];
            assert_eq!(
                query["get"]["parameters"][0]["name"].as_str(),
                Some("query")
            );
            assert!(!query["post"]["requestBody"].is_null());
            let ids: BTreeSet<&str> = paths
                .values()
                .filter_map(serde_yaml_ng::Value::as_mapping)
                .flat_map(serde_yaml_ng::Mapping::values)
                .filter_map(|operation| operation["operationId"].as_str())
                .collect();
            let methods: usize = OPERATIONS.iter().map(|o| o.methods.len()).sum();
            assert_eq!(ids.len(), methods);
        }
    }

    #[test]
    fn every_entry_is_a_route_and_every_route_an_entry() {
        let source = [include_str!("targets.rs"), include_str!("../prometheus.rs")];
        let nested = [
            ("/status", "fn status_routes"),
            ("/admin/tsdb", "fn admin_routes"),
        ];
        let mut routes = BTreeSet::new();
        let mut prefix = "";
        for line in source.into_iter().flat_map(str::lines) {
            if let Some((path, _)) = nested.iter().find(|(_, place)| line.starts_with(place)) {
                prefix = path;
            }
            let line = line.trim();
            let path = line.strip_prefix(".route(").unwrap_or(line);
            if let Some((path, _)) = path.strip_prefix('"').and_then(|p| p.split_once('"'))
                && path.starts_with('/')
            {
                routes.insert(format!("{prefix}{path}"));
            }
        }
        let listed: BTreeSet<String> = OPERATIONS.iter().map(|o| o.path.to_owned()).collect();
        assert_eq!(routes, listed);
    }
}
