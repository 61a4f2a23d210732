//! Probes from outside: HTTP, TCP, DNS, ICMP and gRPC, with blackbox_exporter's modules, metrics and
//! its page `/probe?target=…&module=…`.
//!
//! Invariants: there is no page until modules are configured, because whoever reaches it makes this
//! process connect to any address; a probe ends with its timeout; the probes at one time are
//! bounded by [`PROBES_MAX`].

mod dns;
mod grpc;
mod http;
mod icmp;
mod module;
mod net;
mod report;
mod tcp;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, StatusCode, header};
use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use obs_wire::prometheus::text;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::http_error::{Dialect, ErrorKind, HttpError};
use crate::outgoing::Addresses;
use crate::scrape::memory::Memory;
use module::{ModulesFile, OWN, Prober};
use report::Report;

pub use module::{Module, ProbesConfig};

/// Probes at one time.
const PROBES_MAX: usize = 512;
/// How long a probe may take when neither module nor scraper says so.
const TIMEOUT: f64 = 120.0;
/// The answer must be there before the scraper gives up.
const HEAD_START: f64 = 0.5;

/// The modules, and what bounds probes. Clones share it.
#[derive(Clone, Debug)]
pub struct Probes {
    modules: Arc<BTreeMap<String, Module>>,
    places: Arc<Semaphore>,
    /// Bodies of answers.
    memory: Memory,
    /// Where probes may go.
    addresses: Addresses,
}

impl Probes {
    /// Reads the modules; `folder` is what relative paths start from.
    pub async fn open(
        config: &ProbesConfig,
        folder: &Path,
        addresses: Addresses,
    ) -> Result<Self, String> {
        let mut modules = config.modules.clone();
        if let Some(file) = &config.modules_file {
            let path = folder.join(file);
            let fault = |e: String| format!("{}: {e}", path.display());
            let bytes = tokio::fs::read(&path).await;
            let bytes = bytes.map_err(|e| fault(e.to_string()))?;
            let read: ModulesFile =
                serde_yaml_ng::from_slice(&bytes).map_err(|e| fault(e.to_string()))?;
            modules.extend(read.modules);
        }
        if modules.is_empty() {
            let own: ModulesFile = serde_yaml_ng::from_str(OWN).map_err(|e| e.to_string())?;
            modules = own.modules;
        }
        for (name, module) in &mut modules {
            let checked = module.check(folder);
            checked.map_err(|fault| format!("module {name:?}: {fault}"))?;
        }
        Ok(Self {
            modules: Arc::new(modules),
            places: Arc::new(Semaphore::new(PROBES_MAX)),
            memory: Memory::new(),
            addresses,
        })
    }

    /// The page.
    pub fn routes(self) -> Router {
        Router::new()
            .route("/probe", get(page).post(page))
            .with_state(self)
    }

    /// Probes a target; true where it is as the module wants it.
    async fn run(
        &self,
        (target, host): (&str, Option<&str>),
        module: &Module,
        limit: Duration,
    ) -> (bool, Report) {
        let begin = Instant::now();
        let mut report = Report::new(&self.addresses);
        let probe = async {
            match module.prober {
                Prober::Http => {
                    let memory = &self.memory;
                    http::probe((target, host), &module.http, memory, &mut report).await
                }
                Prober::Tcp => tcp::probe(target, &module.tcp, &mut report).await,
                Prober::Icmp => icmp::probe(target, &module.icmp, &mut report).await,
                Prober::Grpc => grpc::probe(target, &module.grpc, &mut report).await,
                Prober::Dns => match &module.dns {
                    Some(dns) => dns::probe(target, dns, &mut report).await,
                    None => Err("query name must be set for DNS module".to_owned()),
                },
            }
        };
        let outcome = match tokio::time::timeout(limit, probe).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("timed out after {} s", limit.as_secs_f64())),
        };
        let success = match outcome {
            Ok(success) => success,
            Err(fault) => {
                report.note(fault);
                false
            }
        };
        report.set(
            "probe_duration_seconds",
            "Returns how long the probe took to complete in seconds",
            begin.elapsed().as_secs_f64(),
        );
        report.set(
            "probe_success",
            "Displays whether or not the probe was a success",
            f64::from(u8::from(success)),
        );
        (success, report)
    }
}

async fn page(
    State(probes): State<Probes>,
    Query(params): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let get = |name: &str| {
        params
            .get(name)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    };
    let bad = |text: String| HttpError::bad_data(text).render(Dialect::Plain);
    let name = get("module").unwrap_or("http_2xx");
    let Some(module) = probes.modules.get(name) else {
        return bad(format!("Unknown module {name:?}"));
    };
    let Some(target) = get("target") else {
        return bad("Target parameter is missing".to_owned());
    };
    let limit = match timeout(&headers, module) {
        Ok(limit) => limit,
        Err(fault) => return bad(fault),
    };
    let Ok(_place) = probes.places.try_acquire() else {
        let text = format!("{PROBES_MAX} probes have not ended");
        return HttpError::new(ErrorKind::Unavailable, text)
            .retry_after(1)
            .render(Dialect::Plain);
    };
    let (success, report) = probes.run((target, get("hostname")), module, limit).await;
    if params.get("debug").is_some_and(|debug| debug == "true") {
        return debugged(name, success, report).into_response();
    }
    let mut body = Vec::new();
    text::encode(&report.into_families(), &mut body);
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    (StatusCode::OK, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

fn debugged(module: &str, success: bool, mut report: Report) -> String {
    let log = std::mem::take(&mut report.log).join("\n");
    let mut metrics = Vec::new();
    text::encode(&report.into_families(), &mut metrics);
    let metrics = String::from_utf8_lossy(&metrics);
    let outcome = if success { "succeeded" } else { "failed" };
    format!(
        "Logs for the probe:\n{log}\nProbe {outcome}\n\n\nMetrics that would have been returned:\n\
         {metrics}\n\n\nModule: {module}\n"
    )
}

/// What the scraper leaves, and at most what the module allows.
fn timeout(headers: &HeaderMap, module: &Module) -> Result<Duration, String> {
    const NAME: &str = "x-prometheus-scrape-timeout-seconds";
    let mut seconds = TIMEOUT;
    if let Some(value) = headers.get(NAME) {
        let value = value.to_str().unwrap_or("");
        let told = value
            .parse::<f64>()
            .ok()
            .filter(|v| v.is_finite() && *v > 0.0);
        let told = told
            .ok_or_else(|| format!("Failed to parse timeout from Prometheus header: {value:?}"))?;
        seconds = if told > HEAD_START {
            told - HEAD_START
        } else {
            told
        };
    }
    if let Some(own) = module.timeout.filter(|own| !own.0.is_zero()) {
        seconds = seconds.min(own.0.as_secs_f64());
    }
    Ok(Duration::from_secs_f64(seconds.min(3600.0)))
}

#[cfg(test)]
mod tests;
