//! Configurations and what becomes of them; faults with their places.

use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    global: GlobalConfig,
    #[serde(default)]
    scrape_configs: Vec<ScrapeConfig>,
}

fn parse(text: &str) -> Result<Vec<Job>, ConfigError> {
    let file: File = serde_yaml_ng::from_str(text)?;
    jobs(
        &file.global,
        file.scrape_configs,
        text,
        Path::new("/etc/obs"),
    )
}

/// The fault must start with `expect`.
fn check(text: &str, expect: &str) {
    let error = parse(text).expect_err(text).to_string();
    assert!(
        error.starts_with(expect),
        "{text}\n  gave {error}\n  not {expect}"
    );
}

#[test]
fn defaults_are_those_of_prometheus() {
    let jobs = parse("scrape_configs:\n- job_name: a\n  static_configs: [{targets: ['x:1']}]\n");
    let job = &jobs.expect("valid")[0];
    assert_eq!((job.interval.as_secs(), job.timeout.as_secs()), (60, 10));
    assert_eq!(
        (job.scheme.as_str(), job.metrics_path.as_str()),
        ("http", "/metrics")
    );
    assert!(job.honor_timestamps && job.compression && !job.honor_labels);
    assert!(job.client.follow_redirects && job.client.auth == Auth::None);
    assert_eq!(job.limits, ScrapeLimits::default());
}

#[test]
fn global_values_are_inherited_and_overridden() {
    let text = "
global: {scrape_interval: 5s, sample_limit: 7, body_size_limit: 1MB, scrape_protocols: [PrometheusProto, PrometheusText0.0.4]}
scrape_configs:
- job_name: a
  scrape_interval: 1h30m
- job_name: b
  sample_limit: 9
  scrape_timeout: 250ms
  file_sd_configs: [{files: ['t/*.json', /abs/b.yml]}]
  bearer_token_file: token
";
    let jobs = parse(text).expect("valid");
    assert_eq!(
        (jobs[0].interval.as_secs(), jobs[0].timeout.as_secs()),
        (5400, 10)
    );
    assert_eq!(
        (jobs[1].interval.as_secs(), jobs[1].timeout.as_millis()),
        (5, 250)
    );
    assert_eq!((jobs[0].limits.samples, jobs[1].limits.samples), (7, 9));
    assert_eq!(jobs[1].limits.body_bytes, 1 << 20);
    assert_eq!(jobs[0].protocols[1], Protocol::Text0);
    let files = vec!["/etc/obs/t/*.json".into(), "/abs/b.yml".into()];
    let refresh = DEFAULT_REFRESH;
    assert_eq!(jobs[1].discovery, [Discovery::Files { files, refresh }]);
    let file = Credential::File("/etc/obs/token".into());
    assert!(
        matches!(&jobs[1].client.auth, Auth::Header { kind, credential } if kind == "Bearer" && *credential == file)
    );
}

#[test]
fn unknown_and_unsupported_keys_have_places() {
    check(
        "scrape_configs:\n- job_name: a\n  bogus: 1\n",
        "3:3: scrape_configs[0]: unknown field `bogus`",
    );
    check(
        "global:\n  scrape_intervall: 1s\n",
        "2:3: global: unknown field `scrape_intervall`",
    );
    check(
        "scrape_configs:\n- job_name: a\n  triton_sd_configs: [{server: x}]\n",
        "3:22: scrape_configs[0].triton_sd_configs: this key of Prometheus is not supported yet",
    );
    check(
        "scrape_configs: [{job_name: a, oauth2: {client_id: x}}]",
        "1:19: scrape_configs[0] (job_name \"a\"): oauth2 token_url must be configured",
    );
    let off =
        "scrape_configs:\n- job_name: a\n  scrape_native_histograms: false\n  triton_sd_configs:\n";
    assert!(parse(off).is_ok());
}

#[test]
fn values_have_places() {
    check(
        "scrape_configs:\n- job_name: a\n  scrape_interval: 5x\n",
        "3:20: scrape_configs[0].scrape_interval: not a valid duration: \"5x\"",
    );
    check(
        "global:\n  body_size_limit: 5 pounds\n",
        "2:20: global.body_size_limit: not a valid size",
    );
    check(
        "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - action: keep\n    regex: '('\n",
        "5:12: scrape_configs[0].relabel_configs[0].regex: invalid regular expression",
    );
    check(
        "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - action: kep\n",
        "4:13: scrape_configs[0].relabel_configs[0].action: unknown relabel action \"kep\"",
    );
    check(
        "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - action: hashmod\n    target_label: b\n",
        "4:5: scrape_configs[0].relabel_configs[0]: relabel configuration for hashmod requires non-zero modulus",
    );
    check(
        "scrape_configs:\n- job_name: a\n  scrape_protocols: [Smoke]\n",
        "3:22: scrape_configs[0].scrape_protocols[0]: unknown variant `Smoke`",
    );
    check("scrape_configs: [", "2:1: ");
}

#[test]
fn rules_of_prometheus() {
    check(
        "scrape_configs:\n- job_name: a\n# job_name: x\n- scheme: http\n  job_name: a\n",
        "5:3: scrape_configs[1] (job_name \"a\"): found multiple scrape configs with this job name",
    );
    check(
        "scrape_configs:\n- job_name: a\n  scrape_interval: 5s\n  scrape_timeout: 6s\n",
        "2:3: scrape_configs[0] (job_name \"a\"): scrape timeout greater than scrape interval",
    );
    check(
        "# x\nglobal:\n  scrape_timeout: 2m\n",
        "2:1: global scrape timeout greater than scrape interval",
    );
    check(
        "scrape_configs: [{job_name: ''}]",
        "1:19: scrape_configs[0] (job_name \"\"): job_name is empty",
    );
    check(
        "scrape_configs: [{scheme: http}]",
        "1:18: scrape_configs[0]: missing field `job_name`",
    );
    check(
        "scrape_configs: [{job_name: a, scheme: ftp}]",
        "1:19: scrape_configs[0] (job_name \"a\"): unknown scheme",
    );
    check(
        "scrape_configs: [{job_name: a, file_sd_configs: [{files: [a*/b.json]}]}]",
        "1:19: scrape_configs[0] (job_name \"a\"): file_sd_configs[0]: path name \"a*/b.json\" is not valid",
    );
    check(
        "scrape_configs: [{job_name: a, bearer_token: x, basic_auth: {username: u}}]",
        "1:19: scrape_configs[0] (job_name \"a\"): at most one of basic_auth",
    );
    check(
        "scrape_configs: [{job_name: a, native_histogram_min_bucket_factor: -1}]",
        "1:19: scrape_configs[0] (job_name \"a\"): native_histogram_min_bucket_factor is -1",
    );
    check(
        "scrape_configs: [{job_name: a, dns_sd_configs: [{names: [b], type: A}]}]",
        "1:19: scrape_configs[0] (job_name \"a\"): dns_sd_configs[0]: a port is required",
    );
    check(
        "scrape_configs: [{job_name: a, http_sd_configs: [{url: 'ftp://x'}]}]",
        "1:19: scrape_configs[0] (job_name \"a\"): http_sd_configs[0]: url \"ftp://x\"",
    );
    check(
        "scrape_configs: [{job_name: a, docker_sd_configs: [{host: 'x'}]}]",
        "1:19: scrape_configs[0] (job_name \"a\"): docker_sd_configs[0]: host \"x\"",
    );
    check(
        "scrape_configs: [{job_name: a, nomad_sd_configs: [{}]}]",
        "1:19: scrape_configs[0] (job_name \"a\"): nomad_sd_configs[0]: nomad SD",
    );
}

#[test]
fn relabel_actions_refuse_fields_they_ignore() {
    let entry =
        |rule: &str| format!("scrape_configs: [{{job_name: a, relabel_configs: [{rule}]}}]");
    for rule in [
        "{action: replace}",
        "{action: keepequal, source_labels: [a], target_label: b, regex: x}",
        "{action: labeldrop, regex: x, source_labels: [a]}",
        "{action: lowercase, source_labels: [a], target_label: b, replacement: x}",
        "{action: labelmap, regex: x, replacement: ''}",
        "{action: keep, bogus: 1}",
    ] {
        assert!(parse(&entry(rule)).is_err(), "{rule}");
    }
    assert!(parse(&entry("{action: keep, source_labels: [a], regex: x}")).is_ok());
}

#[test]
fn secrets_are_not_printed() {
    let text = "scrape_configs: [{job_name: a, basic_auth: {username: u, password: hunter2}}]";
    let printed = format!("{:?}", parse(text).expect("valid"));
    assert!(!printed.contains("hunter2") && printed.contains("<secret>"));
}

#[test]
fn histograms_of_a_job() {
    let text = "
global: {scrape_native_histograms: true, scrape_failure_log_file: all.log}
scrape_configs:
- job_name: a
- job_name: b
  scrape_native_histograms: false
  convert_classic_histograms_to_nhcb: true
  always_scrape_classic_histograms: true
  native_histogram_bucket_limit: 160
  native_histogram_min_bucket_factor: 1.1
  scrape_failure_log_file: /own.log
";
    let jobs = parse(text).expect("valid");
    let [a, b] = &jobs[..] else {
        panic!("{jobs:?}");
    };
    assert!(a.histograms.native && a.protocols[0] == Protocol::PrometheusProto);
    assert_eq!(a.failure_log, Some(PathBuf::from("/etc/obs/all.log")));
    let own = HistogramSettings {
        native: false,
        classic: true,
        convert: true,
        bucket_limit: 160,
        min_bucket_factor: 1.1,
    };
    assert_eq!(
        (b.histograms, b.protocols[0]),
        (own, Protocol::OpenMetrics1)
    );
    assert_eq!(b.failure_log, Some(PathBuf::from("/own.log")));
}
