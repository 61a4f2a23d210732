//! The start of the ruler.

use std::net::SocketAddr;
use std::sync::Arc;

use obs_alerting::rules::Group;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Options;
use crate::alertmanager::Outgoing;
use crate::app::App;
use crate::auth::Auth;
use crate::config::Config;
use crate::ruler::{GroupKey, Kept, Ruler, Setting};

/// Where users reach the server: as told, or by the name of the machine as Prometheus does.
pub(super) fn external_url(
    options: &Options,
    (http, auth): (SocketAddr, Option<&Arc<Auth>>),
    host: &str,
) -> String {
    let (scheme, port) = (scheme(auth), http.port());
    let own = || format!("{scheme}://{host}:{port}{}", options.route_prefix);
    let url = options.external_url.clone().unwrap_or_else(own);
    url.trim_end_matches('/').to_owned()
}

/// How the HTTP listener is spoken to.
pub(super) fn scheme(auth: Option<&Arc<Auth>>) -> &'static str {
    match auth.is_some_and(|auth| auth.has_tls()) {
        true => "https",
        false => "http",
    }
}

/// Evaluates rules from now on.
pub(super) async fn start_ruler(
    (options, config): (&Options, &Config),
    app: &Arc<App>,
    (groups, kept): (Vec<(GroupKey, Group)>, Kept),
    (outgoing, tasks, stop): (Outgoing, &TaskTracker, &CancellationToken),
) -> anyhow::Result<Arc<Ruler>> {
    let external = app.external_labels.get();
    let known = (&external, app.external_url.as_str());
    let setting = Setting::new(&options.rules, config, known);
    let (ruler, told) = Ruler::new(setting, kept, stop.clone());
    tasks.spawn(outgoing.run(told));
    ruler.begin(app, groups).await?;
    anyhow::ensure!(
        app.ruler.set(Arc::clone(&ruler)).is_ok(),
        "the ruler starts once"
    );
    Ok(ruler)
}
