//! The resource-metrics APIs of Kubernetes: `metrics.k8s.io`, `custom.metrics.k8s.io` and
//! `external.metrics.k8s.io`, answered from the store, behind the API server's aggregation layer.
//!
//! How: `kubectl top` and autoscalers ask the API server, which sends the request on with a
//! certificate of its front proxy and the user in headers. [`identity`] says who asks, [`access`]
//! asks the API server whether they may, [`discovery`] tells what there is, and [`resource`],
//! [`custom`] and [`external`] answer.
//!
//! Invariants: headers that name a user are believed only beside a certificate of the front proxy;
//! without an answer of the API server nobody is let in; every fault is a `Status`.

mod access;
mod config;
mod custom;
mod discovery;
mod external;
mod identity;
mod objects;
mod quantity;
mod read;
mod resource;
mod rules;
mod status;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use obs_kubernetes::Client;
use obs_model::Tenant;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::config::Config;
use crate::connections::Guarded;
use crate::tls::{Certificate, Peer, TlsListener};
use access::{Access, Asked};
use identity::Identities;
use objects::Objects;
use rules::{Adapter, External, Known};
use status::Status;

pub use config::ResourceMetricsConfig;

/// Pause before the API server is asked again who its front proxy is.
const PAUSE: Duration = Duration::from_secs(5);

/// What the handlers share.
#[derive(Debug)]
struct Served {
    app: Arc<App>,
    tenant: Tenant,
    settings: ResourceMetricsConfig,
    identities: Identities,
    access: Access,
    objects: Objects,
    custom: Known<Adapter>,
    external: Known<External>,
}

/// The listener, bound before anything else.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) listener: TcpListener,
    pub(crate) settings: ResourceMetricsConfig,
}

impl Bound {
    /// Serves until `stop` is cancelled; `cut` ends the connections. Without the API server's word
    /// on its front proxy nothing is served yet, and it is asked again.
    pub(crate) async fn start(
        self,
        app: &Arc<App>,
        (config, folder): (&Config, &Path),
        tasks: &TaskTracker,
        (stop, cut): (&CancellationToken, &CancellationToken),
    ) -> anyhow::Result<()> {
        let settings = self.settings;
        let client = match config.obs.kubernetes.kubeconfig_file.is_some() || in_cluster() {
            false => None,
            true => {
                let cluster = config.cluster(folder).map_err(anyhow::Error::msg)?;
                Some(Client::new(&cluster.access()).await?)
            }
        };
        let (custom, external) = settings.adapter(folder).await?;
        let certificate = Certificate::read(settings.tls.below(folder)).await;
        let certificate = certificate.context("obs.resource_metrics.tls")?;
        let tls = certificate.server()?;
        let identities = Identities::configured(&settings, folder, client.clone()).await;
        let mut identities = identities.context("obs.resource_metrics")?;
        let guarded = Guarded::new(self.listener, cut.clone()).encrypted();
        let listener = TlsListener::start(
            guarded,
            move || Some(Arc::clone(&tls)),
            (tasks, stop.clone()),
        )?;
        tasks.spawn(certificate.follow(stop.clone()));
        let objects = Objects::start(app, client.clone(), (tasks, stop));
        let (app, stop) = (Arc::clone(app), stop.clone());
        tasks.spawn(async move {
            while let Err(error) = identities.complete().await {
                tracing::warn!("the resource-metrics APIs wait: {error:#}");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
            let served = Arc::new(Served {
                app,
                tenant: settings.tenant.clone().unwrap_or_else(Tenant::anonymous),
                settings,
                identities,
                access: Access::new(client),
                objects,
                custom: Known::new(custom),
                external: Known::new(external),
            });
            let routes = routes(&served).into_make_service_with_connect_info::<Peer>();
            drop(served);
            let stopped = stop.cancelled_owned();
            let served = axum::serve(listener, routes).with_graceful_shutdown(stopped);
            if let Err(error) = served.await {
                tracing::error!(%error, "the resource-metrics APIs failed");
            }
        });
        Ok(())
    }
}

/// Whether this runs in a pod that has an account.
fn in_cluster() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

fn routes(served: &Arc<Served>) -> Router {
    let apis = Router::new()
        .merge(discovery::routes())
        .merge(resource::routes())
        .merge(custom::routes())
        .merge(external::routes())
        .fallback(nothing)
        .layer(from_fn_with_state(Arc::clone(served), admitted))
        .with_state(Arc::clone(served));
    // Probes of a kubelet have no name.
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready).with_state(Arc::clone(served)))
        .merge(apis)
}

async fn ready(State(served): State<Arc<Served>>) -> Result<&'static str, Status> {
    match served.app.stores() {
        Ok(_) => Ok("ok"),
        Err(error) => Err(Status::of(&error)),
    }
}

async fn nothing() -> Status {
    Status::not_found("the server could not find the requested resource")
}

/// Lets those in whom the API server knows and allows.
async fn admitted(
    State(served): State<Arc<Served>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Result<Response, Status> {
    let user = served.identities.of(&peer, request.headers()).await?;
    let asked = Asked::of(request.method(), request.uri())?;
    served.access.check(&user, &asked).await?;
    Ok(next.run(request).await)
}
