//! Tenants see nothing of each other.

use obs_model::MetricBatch;

use super::{list, texts, vector};
use crate::process::{Obs, Stop, now};
use crate::send::{Otlp, SECOND, loki_json, otlp, remote_write, series};

/// Writes one sample, line and span that carry the tenant's name.
fn write(obs: &Obs, tenant: &str, trace: &str) {
    let time = now() - SECOND;
    let one = series(&[("__name__", "whose"), ("tenant", tenant)], [(time, 1.0)]);
    let batch = MetricBatch {
        series: vec![one],
        metadata: Vec::new(),
        ..Default::default()
    };
    assert_eq!(remote_write(obs, &batch).status, 204);
    assert_eq!(
        loki_json(obs, &[("app", tenant)], &[(time, "line", &[])]).status,
        204
    );
    let span = serde_json::json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": tenant}}]},
        "scopeSpans": [{"spans": [{
            "traceId": trace, "spanId": "00000000000000a1", "name": "span",
            "startTimeUnixNano": time.to_string(), "endTimeUnixNano": time.to_string(),
        }]}],
    }]});
    let answer = otlp(obs, "traces", Otlp::Json, span.to_string().into_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn sees(obs: &Obs, trace: &str) -> (Vec<String>, Vec<String>, Vec<String>, u16) {
    let whose = vector(&obs.get("/api/v1/query", &[("query", "whose")]).json());
    let apps = obs.get("/loki/api/v1/label/app/values", &[]).json();
    let found = obs
        .get("/tempo/api/search", &[("q", "{ name = \"span\" }")])
        .json();
    let services = list(&found["traces"])
        .iter()
        .filter_map(|t| t["rootServiceName"].as_str());
    (
        whose.into_iter().map(|(name, _)| name).collect(),
        texts(&apps["data"])
            .into_iter()
            .map(str::to_owned)
            .collect(),
        services.map(str::to_owned).collect(),
        obs.get(&format!("/tempo/api/traces/{trace}"), &[]).status,
    )
}

#[test]
fn tenants_are_apart() {
    let mut obs = Obs::start();
    let traces = ["0".repeat(31) + "1", "0".repeat(31) + "2"];
    let tenants = [Some("red"), Some("blue")];
    for (tenant, trace) in tenants.iter().zip(&traces) {
        obs.set_tenant(*tenant);
        write(&obs, tenant.unwrap_or_default(), trace);
    }
    for round in ["memory", "parts", "restart"] {
        for (tenant, trace) in tenants.iter().zip(&traces) {
            obs.set_tenant(*tenant);
            let name = tenant.unwrap_or_default();
            let own = name.to_owned();
            let expect = (
                vec![format!("whose{{tenant={name:?}}}")],
                vec![own.clone()],
                vec![own],
                200,
            );
            assert_eq!(sees(&obs, trace), expect, "{round}");
        }
        obs.set_tenant(Some("red"));
        assert_eq!(
            sees(&obs, &traces[1]).3,
            404,
            "{round}: a trace of another tenant"
        );
        obs.set_tenant(None);
        assert_eq!(
            sees(&obs, &traces[0]),
            (vec![], vec![], vec![], 404),
            "{round}"
        );
        match round {
            "memory" => obs.force("flush"),
            _ => obs.restart(Stop::Kill),
        }
    }
}

#[test]
fn a_bad_name_of_a_tenant_is_refused() {
    let mut obs = Obs::start();
    for name in ["../etc", "a/b", "..", &"x".repeat(300)] {
        obs.set_tenant(Some(name));
        let answer = obs.get("/api/v1/query", &[("query", "1")]);
        assert_eq!(answer.status, 400, "{name:?}: {}", answer.text());
    }
}
