//! Names and values of attributes, for menus.
//!
//! Invariant: a query that is still being typed is never an error; where nothing can be made of it,
//! it filters nothing.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::HeaderMap;
use obs_collector::HttpError;
use obs_model::limits::Limits;
use obs_model::spans::AttributeValue;
use obs_query::traceql::ast::{Attribute, Intrinsic, Scope};
use obs_query::traceql::{Query, parse_attribute, parse_lenient};
use obs_query::traces;
use obs_wire::tempo::api::{self as write, TagValue};
use obs_wire::tempo::messages;
use obs_wire::tempo::requests::{TagValuesRequest, TagsRequest};

use super::{Result, answered, count, open_range, seconds};
use crate::api::{Asker, Told};
use crate::app::App;
use crate::enforced::Visible;
use crate::params::Params;

/// What spans have besides attributes, in Tempo's order.
const INTRINSICS: [&str; 25] = [
    "duration",
    "name",
    "status",
    "statusMessage",
    "kind",
    "rootServiceName",
    "rootName",
    "traceDuration",
    "event:name",
    "event:timeSinceStart",
    "link:spanID",
    "link:traceID",
    "instrumentation:name",
    "instrumentation:version",
    "trace:id",
    "span:id",
    "span:parentID",
    "span:status",
    "span:statusMessage",
    "span:duration",
    "span:name",
    "span:kind",
    "trace:rootName",
    "trace:rootService",
    "trace:duration",
];

/// Names by scope.
pub(super) type Names = Vec<(&'static str, Vec<String>)>;

/// What can be made of a query that may still be typed.
fn filter(query: &str, limits: &Limits) -> Option<Query> {
    let query = Some(query).filter(|query| !query.is_empty())?;
    parse_lenient(query, limits)
}

fn names_request(params: &Params) -> std::result::Result<TagsRequest, HttpError> {
    Ok(TagsRequest {
        scope: params.get("scope").unwrap_or_default().to_owned(),
        query: params.get("q").unwrap_or_default().to_owned(),
        start: seconds(params, "start")?,
        end: seconds(params, "end")?,
        limit: count(params, "limit")?,
    })
}

/// Names of attributes by scope, in Tempo's order of scopes.
pub(super) async fn names(
    app: &App,
    tenant: &Visible,
    request: &TagsRequest,
) -> std::result::Result<Names, HttpError> {
    const SCOPES: [&str; 8] = [
        "",
        "none",
        "resource",
        "span",
        "intrinsic",
        "event",
        "link",
        "instrumentation",
    ];
    let only = request.scope.as_str();
    if !SCOPES.contains(&only) {
        return Err(HttpError::bad_data(format!("invalid scope: {only}")));
    }
    let range = open_range(request.start, request.end);
    let query = request.query.trim().to_owned();
    let limits = app.rules.limits;
    let snapshot = app.stores()?.spans_of(tenant);
    let read = app.read_for(tenant, None, move |budget, _| {
        let filter = filter(&query, &limits);
        traces::tag_names(&snapshot, filter.as_ref(), range, budget)
    });
    let mut found = read.await?;
    let intrinsics = INTRINSICS.iter().map(|s| (*s).to_owned()).collect();
    found.push(("intrinsic", intrinsics));
    found.retain(|(scope, _)| matches!(only, "" | "none") || only == *scope);
    if request.limit > 0 {
        for (_, names) in &mut found {
            names.truncate(request.limit as usize);
        }
    }
    Ok(found)
}

/// All names together, as v1 tells them.
pub(super) fn flat(scopes: Names) -> Vec<String> {
    let mut names: Vec<String> = scopes.into_iter().flat_map(|(_, names)| names).collect();
    names.sort();
    names.dedup();
    names
}

pub(super) async fn names_v1(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    headers: HeaderMap,
    Told(params): Told<Params>,
) -> Result<Response> {
    let names = flat(names(&app, &tenant, &names_request(&params)?).await?);
    Ok(answered(
        &headers,
        || messages::tags_v1(&names),
        |body| write::tags_v1(&names, body),
    ))
}

pub(super) async fn names_v2(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    headers: HeaderMap,
    Told(params): Told<Params>,
) -> Result<Response> {
    let scopes = names(&app, &tenant, &names_request(&params)?).await?;
    Ok(answered(
        &headers,
        || messages::tags_v2(&scopes, 0),
        |body| write::tags_v2(&scopes, 0, body),
    ))
}

fn values_request(name: &str, params: &Params) -> std::result::Result<TagValuesRequest, HttpError> {
    Ok(TagValuesRequest {
        name: decoded(name),
        query: params.get("q").unwrap_or_default().to_owned(),
        start: seconds(params, "start")?,
        end: seconds(params, "end")?,
        limit: count(params, "limit")?,
    })
}

/// Clients encode a name once more than the address needs.
fn decoded(name: &str) -> String {
    let escaped = name
        .replace('+', "%2B")
        .replace('&', "%26")
        .replace('=', "%3D");
    let found = form_urlencoded::parse(escaped.as_bytes()).next();
    found.map_or_else(|| name.to_owned(), |(name, _)| name.into_owned())
}

/// The values of an attribute.
pub(super) async fn values(
    app: &App,
    tenant: &Visible,
    request: &TagValuesRequest,
) -> std::result::Result<Vec<TagValue>, HttpError> {
    let Some(attribute) = attribute(&request.name) else {
        return Ok(Vec::new());
    };
    let range = open_range(request.start, request.end);
    let query = request.query.trim().to_owned();
    let limits = app.rules.limits;
    let snapshot = app.stores()?.spans_of(tenant);
    let keywords = matches!(
        attribute,
        Attribute::Intrinsic(Intrinsic::Status | Intrinsic::Kind)
    );
    let read = app.read_for(tenant, None, move |budget, _| {
        let filter = filter(&query, &limits);
        traces::tag_values(&snapshot, &attribute, filter.as_ref(), range, budget)
    });
    let found = read.await?;
    let told = found.iter().filter_map(|value| match value {
        AttributeValue::String(word) if keywords => Some(TagValue::Keyword(word.clone())),
        value => TagValue::from_attribute(value),
    });
    let most = match request.limit {
        0 => usize::MAX,
        limit => limit as usize,
    };
    Ok(told.take(most).collect())
}

/// The attribute of a name: as TraceQL writes it, or bare as before it.
fn attribute(name: &str) -> Option<Attribute> {
    let bare = name.strip_prefix('.').unwrap_or(name);
    parse_attribute(name).or_else(|| {
        (!bare.is_empty()).then(|| Attribute::Named {
            parent: false,
            scope: Scope::Any,
            name: bare.to_owned(),
        })
    })
}

pub(super) async fn values_v1(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Told(params): Told<Params>,
) -> Result<Response> {
    let values = values(&app, &tenant, &values_request(&name, &params)?).await?;
    Ok(answered(
        &headers,
        || messages::tag_values_v1(&values),
        |body| write::tag_values_v1(&values, body),
    ))
}

pub(super) async fn values_v2(
    State(app): State<Arc<App>>,
    Told(Asker(tenant)): Told<Asker>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Told(params): Told<Params>,
) -> Result<Response> {
    let values = values(&app, &tenant, &values_request(&name, &params)?).await?;
    Ok(answered(
        &headers,
        || messages::tag_values_v2(&values, 0),
        |body| write::tag_values_v2(&values, 0, body),
    ))
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn names_of_tags() {
        let check = |text: &str, expect: Scope, expect_name: &str| {
            let Some(Attribute::Named { scope, name, .. }) = attribute(&decoded(text)) else {
                panic!("{text} is no attribute");
            };
            assert_eq!((scope, name.as_str()), (expect, expect_name), "{text}");
        };
        check("resource.service.name", Scope::Resource, "service.name");
        check("span.http%2Eroute", Scope::Span, "http.route");
        check("resource.a%2Bb", Scope::Resource, "a+b");
        check(".a", Scope::Any, "a");
        check("service.name", Scope::Any, "service.name");
        assert_eq!(
            attribute("name"),
            Some(Attribute::Intrinsic(Intrinsic::Name))
        );
        assert_eq!(
            attribute("span:kind"),
            Some(Attribute::Intrinsic(Intrinsic::Kind))
        );
        assert_eq!(attribute("."), None);
    }
}
