//! obs watches itself: its own logs and traces are there before anybody has asked for anything.

use crate::process::{Obs, until};

#[test]
fn own_logs_and_traces_are_there() {
    let obs = Obs::with_config("obs:\n  telemetry: {logs: true, traces: true}\n");
    let traces = until("the trace of the start", || {
        let search = [(
            "q",
            r#"{ resource.service.name = "obs" && span:name = "open the stores" }"#,
        )];
        let found = obs.get("/tempo/api/search", &search).json();
        let traces = found["traces"].as_array()?.clone();
        (!traces.is_empty()).then_some(traces)
    });
    assert_eq!(traces.len(), 1, "{traces:?}");
    assert_eq!(traces[0]["rootServiceName"], "obs");
    let lines = until("the line of the start", || {
        let search = [("query", r#"{service_name="obs"} |= "opening the stores""#)];
        let found = obs.get("/loki/api/v1/query_range", &search).json();
        let streams = found["data"]["result"].as_array()?.clone();
        (!streams.is_empty()).then_some(streams)
    });
    assert_eq!(
        lines[0]["values"].as_array().map(Vec::len),
        Some(1),
        "{lines:?}"
    );
}
