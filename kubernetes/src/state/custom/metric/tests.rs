//! The metrics of the documentation's example object, and the odd cases.

use super::super::super::rows::Rows;
use super::super::CustomConfig;

const OBJECT: &str = "
kind: Foo
metadata:
  annotations: {bar: baz, qux: quxx}
  labels: {foo: bar}
  name: foo
spec:
  version: v1.2.3
  order: [{id: 1, value: true}, {id: 3, value: false}]
  replicas: 1
  refs: [my_other_foo, foo_2]
status:
  phase: Pending
  active: {type-a: 1, type-b: 3}
  conditions: [{name: a, value: 45}, {name: b, value: 66}]
  sub:
    type-a: {active: 1, ready: 2}
    type-b: {active: 3, ready: 4}
  uptime: 43.21
  empty: null
";

const GVK: &str =
    "customresource_group=\"myteam.io\",customresource_kind=\"Foo\",customresource_version=\"v1\"";

/// The lines that a resource's part of the configuration makes, with the labels of the kind as `…`.
#[track_caller]
fn check(config: &str, expect: &[&str]) {
    let text = format!(
        "spec:\n  resources:\n  - groupVersionKind: {{group: myteam.io, kind: Foo, version: v1}}\n    metricNamePrefix: x\n{config}"
    );
    let config = CustomConfig::parse(&text).expect("a configuration");
    let resource = &config.resources[0];
    let families = resource.families(&resource.group_version_kind).unwrap();
    let object = serde_yaml_ng::from_str(OBJECT).unwrap();
    let mut rows = Rows::default();
    rows.begin(std::iter::empty());
    for (number, family) in families.iter().enumerate() {
        rows.family(number);
        family.write(&object, &mut rows);
    }
    let mut out = Vec::new();
    if let Some(object) = rows.end() {
        let mut cursor = object.start();
        for (number, family) in families.iter().enumerate() {
            object.print(&mut cursor, number, &family.name, &mut out);
        }
    }
    let out = String::from_utf8(out).unwrap().replace(GVK, "…");
    assert_eq!(out.lines().collect::<Vec<_>>(), expect);
}

/// A metric of one line of configuration.
fn metric(each: &str) -> String {
    format!("    metrics: [{{name: m, help: h, each: {{{each}}}}}]\n")
}

#[test]
fn gauges() {
    check(
        &metric("type: Gauge, gauge: {path: [status, uptime]}"),
        &["x_m{…} 43.21"],
    );
    check(
        &metric("type: gauge, gauge: {path: [status, active], labelFromKey: type}"),
        &["x_m{…,type=\"type-a\"} 1", "x_m{…,type=\"type-b\"} 3"],
    );
    check(
        &metric(
            "type: Gauge, gauge: {path: [status, conditions], labelsFromPath: {name: [name]}, valueFrom: [value]}",
        ),
        &["x_m{…,name=\"a\"} 45", "x_m{…,name=\"b\"} 66"],
    );
    check(
        &metric("type: Gauge, gauge: {path: [status], valueFrom: [uptime]}"),
        &["x_m{…} 43.21"],
    );
    check(&metric("type: Gauge, gauge: {path: [status, none]}"), &[]);
    check(
        &metric("type: Gauge, gauge: {path: [status, empty], nilIsZero: true}"),
        &["x_m{…} 0"],
    );
    check(&metric("type: Gauge, gauge: {path: [spec, refs]}"), &[]);
}

#[test]
fn labels_of_all_sorts() {
    check(
        "    commonLabels: {crd_type: foo, flag: true}
    labelsFromPath: {name: [metadata, name]}
    metrics:
    - name: ready_count
      help: Foos that are ready
      commonLabels: {custom_metric: \"yes\"}
      labelsFromPath:
        \"*\": [metadata, labels]
        \"lorem_*\": [metadata, annotations]
        \"**\": [metadata, annotations]
        foo: [metadata, labels, foo]
      each:
        type: Gauge
        gauge: {path: [status, sub], labelFromKey: type, labelsFromPath: {active: [active]}, valueFrom: [ready]}
",
        &[
            "x_ready_count{_bar=\"baz\",_qux=\"quxx\",active=\"1\",crd_type=\"foo\",custom_metric=\"yes\",…,flag=\"true\",foo=\"bar\",lorem_bar=\"baz\",lorem_qux=\"quxx\",name=\"foo\",type=\"type-a\"} 2",
            "x_ready_count{_bar=\"baz\",_qux=\"quxx\",active=\"3\",crd_type=\"foo\",custom_metric=\"yes\",…,flag=\"true\",foo=\"bar\",lorem_bar=\"baz\",lorem_qux=\"quxx\",name=\"foo\",type=\"type-b\"} 4",
        ],
    );
}

#[test]
fn infos() {
    check(
        &metric("type: Info, info: {labelsFromPath: {version: [spec, version]}}"),
        &["x_m{…,version=\"v1.2.3\"} 1"],
    );
    check(
        &metric("type: Info, info: {path: [spec, refs], labelsFromPath: {ref: []}}"),
        &["x_m{…,ref=\"foo_2\"} 1", "x_m{…,ref=\"my_other_foo\"} 1"],
    );
    check(
        &metric(
            "type: Info, info: {path: [status, sub], labelFromKey: type, labelsFromPath: {active: [active]}}",
        ),
        &[
            "x_m{active=\"1\",…,type=\"type-a\"} 1",
            "x_m{active=\"3\",…,type=\"type-b\"} 1",
        ],
    );
    check(
        &metric("type: Info, info: {path: [none], labelsFromPath: {a: []}}"),
        &[],
    );
}

#[test]
fn state_sets() {
    check(
        &metric(
            "type: StateSet, stateSet: {labelName: phase, path: [status, phase], list: [Pending, Bar]}",
        ),
        &["x_m{…,phase=\"Bar\"} 0", "x_m{…,phase=\"Pending\"} 1"],
    );
    check(
        &metric("type: StateSet, stateSet: {labelName: phase, path: [status, none], list: [Bar]}"),
        &[],
    );
    check(
        &metric(
            "type: StateSet, stateSet: {labelName: n, path: [status, conditions], valueFrom: [name], labelsFromPath: {value: [value]}, list: [a]}",
        ),
        &[
            "x_m{…,n=\"a\",value=\"45\"} 1",
            "x_m{…,n=\"a\",value=\"66\"} 0",
        ],
    );
}

#[test]
fn metrics_of_one_name_stand_together() {
    check(
        "    metrics:
    - {name: a, help: h, commonLabels: {n: 1}, each: {type: Gauge, gauge: {path: [spec, replicas]}}}
    - {name: b, help: h, each: {type: Gauge, gauge: {path: [spec, replicas]}}}
    - {name: a, help: h, commonLabels: {n: 2}, each: {type: Gauge, gauge: {path: [spec, replicas]}}}
",
        &["x_a{…,n=\"1\"} 1", "x_a{…,n=\"2\"} 1", "x_b{…} 1"],
    );
}

#[test]
fn odd_configurations() {
    for (text, expect) in [
        ("spec: {resources: [{metrics: []}]}", "groupVersionKind"),
        ("spec: 3", "custom resource state"),
        (
            "spec: {resources: [{groupVersionKind: {version: v1, kind: A}, metrics: [{name: m, each: {type: Sum}}]}]}",
            "m: each.type `sum`",
        ),
        (
            "spec: {resources: [{groupVersionKind: {version: v1, kind: A}, metrics: [{name: m, each: {type: Info}}]}]}",
            "m: expected each.info",
        ),
        (
            "spec: {resources: [{groupVersionKind: {version: v1, kind: A}, metrics: [{name: m, each: {type: Gauge, gauge: {path: ['[x]']}}}]}]}",
            "list lookup `[x]`",
        ),
    ] {
        let error = CustomConfig::parse(text).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }
    assert!(CustomConfig::parse("").unwrap().is_empty());
}
