//! Groups of rules over HTTP, as Mimir's configuration API and Loki's ruler have them: read, write
//! and remove. Groups are YAML; what is written is durable when it is acknowledged.
//!
//! Invariant: a group is taken only if all of its rules can be evaluated; faults name line, column
//! and rule.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use obs_alerting::rules::Group;
use obs_collector::{ErrorKind, HttpError};
use obs_model::Tenant;
use obs_query::Language;
use serde_yaml_ng::{Mapping, Value};

use super::{Asker, Plain, Told};
use crate::app::App;
use crate::enforced::Visible;
use crate::ruler::{GroupKey, ManageError, Member, Origin, Ruler, parsing};

/// Longest name of a namespace or group.
const NAME_BYTES_MAX: usize = 1024;
/// Largest group.
const GROUP_BYTES_MAX: usize = 1 << 20;

type Result<T> = std::result::Result<T, Plain>;

/// Everything, the list of all groups included.
pub(super) fn routes(origin: Origin) -> Router<Arc<App>> {
    below(origin).merge(
        Router::new()
            .route("/rules", get(all))
            .layer(Extension(origin)),
    )
}

/// Everything below a namespace; `/rules` itself is Prometheus'.
pub(super) fn below(origin: Origin) -> Router<Arc<App>> {
    Router::new()
        .route(
            "/rules/{namespace}",
            get(namespace).post(write).delete(remove_namespace),
        )
        .route(
            "/rules/{namespace}/{group}",
            get(group).delete(remove_group),
        )
        .layer(from_fn(super::admin::same_site))
        .layer(Extension(origin))
}

/// Who asks for what.
struct Asked<'a> {
    ruler: &'a Arc<Ruler>,
    tenant: &'a Tenant,
    origin: Origin,
}

impl<'a> Asked<'a> {
    fn new(app: &'a App, tenant: &'a Visible, origin: Origin) -> Result<Self> {
        // Rules read everything of the tenant.
        tenant.must_be_whole("the groups of rules")?;
        // Its stores are opened first: while they are not there, the error says how far it is.
        app.stores()?;
        let starting = || HttpError::unavailable("the ruler is starting", 1);
        let ruler = app.ruler.get().ok_or_else(starting)?;
        Ok(Self {
            ruler,
            tenant,
            origin,
        })
    }

    /// The groups of each namespace.
    fn list(&self, wanted: impl Fn(&GroupKey) -> bool) -> Vec<Arc<Member>> {
        let mut groups = self.ruler.managed(self.tenant, self.origin);
        groups.retain(|member| wanted(&member.key));
        groups
    }
}

fn refuse(kind: ErrorKind, message: impl Into<String>) -> Plain {
    Plain(HttpError::new(kind, message))
}

fn yaml(value: &Value) -> Result<Response> {
    let text = serde_yaml_ng::to_string(value);
    let text = text.map_err(|e| Plain(HttpError::internal(format!("write YAML: {e}"))))?;
    Ok(([(header::CONTENT_TYPE, "application/yaml")], text).into_response())
}

/// Groups below their namespaces.
fn namespaces(groups: Vec<Arc<Member>>, language: Language) -> Result<Response> {
    if groups.is_empty() {
        return Err(refuse(ErrorKind::NotFound, "no rule groups found"));
    }
    let mut map = Mapping::new();
    for member in groups {
        let list = map
            .entry(member.key.file.clone().into())
            .or_insert_with(|| Value::Sequence(Vec::new()));
        if let Value::Sequence(list) = list {
            list.push(member.group.to_yaml(language));
        }
    }
    yaml(&Value::Mapping(map))
}

async fn all(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Extension(origin): Extension<Origin>,
) -> Result<Response> {
    let asked = Asked::new(&app, &tenant, origin)?;
    namespaces(asked.list(|_| true), origin.language())
}

async fn namespace(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Extension(origin): Extension<Origin>,
    Path(namespace): Path<String>,
) -> Result<Response> {
    let asked = Asked::new(&app, &tenant, origin)?;
    namespaces(asked.list(|key| key.file == namespace), origin.language())
}

async fn group(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Extension(origin): Extension<Origin>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response> {
    let asked = Asked::new(&app, &tenant, origin)?;
    let mut found = asked.list(|key| key.file == namespace && key.name == name);
    match found.pop() {
        Some(member) => yaml(&member.group.to_yaml(origin.language())),
        None => Err(refuse(ErrorKind::NotFound, "group does not exist")),
    }
}

/// Faults of names: they become parts of paths elsewhere.
fn checked(what: &str, name: &str) -> Result<()> {
    let fault = |why: &str| Err(refuse(ErrorKind::BadData, format!("invalid {what}: {why}")));
    if name.is_empty() || name.contains('\0') {
        return fault("expected a name, found none");
    }
    if name.len() > NAME_BYTES_MAX {
        return fault(&format!("expected at most {NAME_BYTES_MAX} bytes"));
    }
    if name.starts_with('/') || name.split('/').any(|part| part == "..") {
        return fault("path traversal not allowed");
    }
    Ok(())
}

async fn write(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Extension(origin): Extension<Origin>,
    Path(namespace): Path<String>,
    body: Bytes,
) -> Result<Response> {
    let asked = Asked::new(&app, &tenant, origin)?;
    checked("namespace", &namespace)?;
    if body.len() > GROUP_BYTES_MAX {
        let text = format!("expected a group of at most {GROUP_BYTES_MAX} bytes");
        return Err(refuse(ErrorKind::TooLarge, text));
    }
    let text = std::str::from_utf8(&body);
    let text = text.map_err(|_| refuse(ErrorKind::BadData, "expected YAML in UTF-8"))?;
    let group = Group::parse(text, &parsing(origin, &app.rules.limits));
    let group = group.map_err(|fault| {
        let text = format!("unable to decode rule group: {fault}");
        refuse(ErrorKind::BadData, text)
    })?;
    checked("group name", &group.name)?;
    let key = GroupKey {
        tenant: tenant.tenant().clone(),
        origin,
        file: namespace,
        name: group.name.clone(),
    };
    let put = asked.ruler.put(&app, key, text.to_owned(), group).await;
    put.map_err(manage_error)?;
    Ok(accepted())
}

fn manage_error(error: ManageError) -> Plain {
    let kind = match error {
        ManageError::Table(_) => ErrorKind::Internal,
        ManageError::TooMany => ErrorKind::BadData,
        ManageError::Stopping(_) => ErrorKind::Unavailable,
    };
    refuse(kind, error.to_string())
}

fn accepted() -> Response {
    let body = "{\"status\":\"success\",\"data\":null,\"errorType\":\"\",\"error\":\"\"}";
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (StatusCode::ACCEPTED, kind, body).into_response()
}

async fn remove_namespace(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Extension(origin): Extension<Origin>,
    Path(namespace): Path<String>,
) -> Result<Response> {
    let asked = Asked::new(&app, &tenant, origin)?;
    let named = move |key: &GroupKey| key.file == namespace;
    let removed = asked.ruler.remove(&app, (&tenant, origin), named).await;
    match removed.map_err(manage_error)? {
        0 => Err(refuse(
            ErrorKind::NotFound,
            "group namespace does not exist",
        )),
        _ => Ok(accepted()),
    }
}

async fn remove_group(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Extension(origin): Extension<Origin>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response> {
    let asked = Asked::new(&app, &tenant, origin)?;
    let named = move |key: &GroupKey| key.file == namespace && key.name == name;
    let removed = asked.ruler.remove(&app, (&tenant, origin), named).await;
    match removed.map_err(manage_error)? {
        0 => Err(refuse(ErrorKind::NotFound, "group does not exist")),
        _ => Ok(accepted()),
    }
}
