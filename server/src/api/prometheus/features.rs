//! `/features`: what this server can do, with Prometheus' names.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use obs_query::promql;
use serde_json::json;

use super::success;
use crate::app::App;

type Names<'a> = &'a [(&'a str, bool)];

const API: Names<'_> = &[
    ("exclude_alerts", true),
    ("label_values_match", true),
    ("lifecycle", false),
    ("openapi_3.1", true),
    ("openapi_3.2", true),
    ("otlp_write_receiver", true),
    ("query_stats", true),
    ("query_warnings", true),
    ("remote_write_receiver", true),
    ("search", true),
    ("search_fuzz_alg_jarowinkler", true),
    ("search_fuzz_alg_subsequence", true),
    ("time_range_labels", true),
    ("time_range_series", true),
];
const PROMQL: Names<'_> = &[
    ("at_modifier", true),
    ("bool", true),
    ("by", true),
    ("duration_expr", true),
    ("group_left", true),
    ("group_right", true),
    ("ignoring", true),
    ("negative_offset", true),
    ("offset", true),
    ("on", true),
    ("per_query_lookback_delta", true),
    ("subqueries", true),
    ("without", true),
];
const OPERATORS: [&str; 34] = [
    "!=",
    "!~",
    "%",
    "*",
    "+",
    "-",
    "/",
    "<",
    "</",
    "<=",
    "==",
    "=~",
    ">",
    ">/",
    ">=",
    "@",
    "^",
    "and",
    "atan2",
    "avg",
    "bottomk",
    "count",
    "count_values",
    "group",
    "limit_ratio",
    "limitk",
    "max",
    "min",
    "or",
    "quantile",
    "stddev",
    "stdvar",
    "sum",
    "topk",
];
const SCRAPE: Names<'_> = &[
    ("extra_scrape_metrics", true),
    ("start_timestamp_zero_ingestion", false),
    ("type_and_unit_labels", false),
];
const TSDB: Names<'_> = &[
    ("delayed_compaction", false),
    ("exemplar_storage", true),
    ("isolation", true),
    ("native_histograms", true),
];

/// `/features`
pub(super) async fn list(State(app): State<Arc<App>>) -> Response {
    let names = |names: Names<'static>| names.iter().copied().collect::<BTreeMap<_, _>>();
    let mut api = names(API);
    api.insert("admin", app.about.admin_api);
    let on = &app.features;
    let experimental = on.promql.experimental_functions;
    let functions: BTreeMap<&str, bool> = promql::signatures()
        .iter()
        .map(|signature| (signature.name, experimental || !signature.experimental))
        .collect();
    let operators = OPERATORS.iter().chain(&["unless"]);
    let mut operators: BTreeMap<&str, bool> = operators.map(|name| (*name, true)).collect();
    operators.extend(["limitk", "limit_ratio"].map(|name| (name, experimental)));
    let mut language = names(PROMQL);
    language.extend([
        ("anchored", on.promql.extended_range_selectors),
        ("smoothed", on.promql.extended_range_selectors),
        ("fill", on.promql.fill_modifiers),
        ("fill_left", on.promql.fill_modifiers),
        ("fill_right", on.promql.fill_modifiers),
        ("delayed_name_removal", on.delayed_names),
        ("per_step_stats", on.per_step_stats),
        ("type_and_unit_labels", on.type_and_unit_labels),
    ]);
    success(&json!({
        "api": api,
        "otlp_receiver": {"delta_conversion": false, "native_delta_ingestion": false},
        "prometheus": {"agent_mode": false, "auto_reload_config": false, "server_mode": true},
        "promql": language,
        "promql_functions": functions,
        "promql_operators": operators,
        "scrape": names(SCRAPE),
        "service_discovery_providers": {"file": true, "kubernetes": true, "static": true},
        "tsdb": names(TSDB),
    }))
}
