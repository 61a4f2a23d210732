//! Jira: looks for the issue of the group, makes or changes it, and moves it where it belongs.
//!
//! Invariant: an issue is known by its label `ALERT{hash of the group}`; a recovery makes none.

use serde_json::{Value, json};

use super::{
    Answer, Exchange, Failure, Kept, Next, Request, Writer, check, cut, filled, shown, then,
};

const SUMMARY_CHARS_MAX: usize = 255;
const DESCRIPTION_CHARS_MAX: usize = 32_767;

/// What the steps after the search need.
struct Plan {
    api: String,
    firing: bool,
    fields: serde_json::Map<String, Value>,
    /// Fields that an issue keeps when it is changed.
    fixed: Vec<&'static str>,
    reopen: String,
    resolve: String,
}

pub(super) fn jira(writer: &Writer<'_>) -> Result<Exchange, Failure> {
    let settings = writer.settings;
    let mut fixed = Vec::new();
    for key in ["summary", "description"] {
        let map = settings.any(key).and_then(serde_yaml_ng::Value::as_mapping);
        let updates = map.and_then(|map| map.get("enable_update")?.as_bool());
        if updates == Some(false) {
            fixed.push(key);
        }
    }
    let plan = Plan {
        api: settings.text("api_url").trim_end_matches('/').to_owned(),
        firing: writer.is_firing(),
        fields: fields(writer)?,
        fixed,
        reopen: settings.text("reopen_transition").to_owned(),
        resolve: settings.text("resolve_transition").to_owned(),
    };
    let body = json!({"jql": jql(writer)?, "maxResults": 2, "fields": ["status"]});
    let request = ask("POST", search_address(writer, &plan.api), Some(&body));
    Ok(then(request, move |answer| {
        let answer = good(answer).map_err(|failure| {
            failure.about("failed to look up existing issues: HTTP request to JIRA API")
        })?;
        found(plan, &answer["issues"][0])
    }))
}

fn ask(method: &'static str, url: String, body: Option<&Value>) -> Request {
    let mut request = Request::json(url, body.unwrap_or(&Value::Null));
    if body.is_none() {
        request.body.clear();
    }
    request.method = method;
    request.headers.push(("accept-language", "en".to_owned()));
    request
}

fn good(answer: &Answer<'_>) -> Result<Value, Failure> {
    check(answer, &[429], shown(answer.body))?;
    if answer.body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(answer.body)
        .map_err(|error| Failure::last(format!("the answer of Jira: {error}")))
}

/// The search is at another place in the cloud.
fn search_address(writer: &Writer<'_>, api: &str) -> String {
    let host = api
        .split("://")
        .nth(1)
        .unwrap_or("")
        .split('/')
        .next()
        .unwrap_or("");
    let cloud = match writer.settings.text("api_type") {
        "cloud" => true,
        "auto" => host.ends_with("atlassian.net"),
        _ => false,
    };
    match cloud {
        true => format!("{api}/search/jql").replacen("/rest/api/2/", "/rest/api/3/", 1),
        false => format!("{api}/search"),
    }
}

fn jql(writer: &Writer<'_>) -> Result<String, Failure> {
    use obs_query::promql::quote;
    const MINUTE: i64 = 60 * obs_model::time::NANOS_PER_SECOND;
    let settings = writer.settings;
    let mut jql = String::new();
    if settings.has("wont_fix_resolution") {
        let resolution = quote(settings.text("wont_fix_resolution"));
        jql.push_str(&format!(
            "(resolution is EMPTY or resolution != {resolution}) and "
        ));
    }
    let minutes = settings.duration("reopen_duration").unwrap_or(0) / MINUTE;
    if writer.is_firing() && settings.has("reopen_transition") && minutes > 0 {
        jql.push_str(&format!(
            "(resolutiondate is EMPTY OR resolutiondate >= -{minutes}m) and "
        ));
    } else {
        jql.push_str("statusCategory != Done and ");
    }
    let project = quote(&writer.text("project")?);
    let label = quote(&format!("ALERT{{{}}}", writer.key()));
    jql.push_str(&format!(
        "project={project} and labels={label} order by status ASC,resolutiondate DESC"
    ));
    Ok(jql)
}

/// The text of a field that is a template, or a map with one.
fn template(writer: &Writer<'_>, key: &str, default: &str) -> Result<String, Failure> {
    let text = match writer.settings.any(key) {
        Some(serde_yaml_ng::Value::String(text)) => text.as_str(),
        Some(serde_yaml_ng::Value::Mapping(map)) => {
            let text = map.get("template").and_then(serde_yaml_ng::Value::as_str);
            text.unwrap_or(default)
        }
        _ => default,
    };
    writer
        .expand(text)
        .map_err(|failure| failure.about(&format!("{key} template")))
}

fn fields(writer: &Writer<'_>) -> Result<serde_json::Map<String, Value>, Failure> {
    let summary = template(
        writer,
        "summary",
        "{{ template \"jira.default.summary\" . }}",
    )?;
    let description = template(
        writer,
        "description",
        "{{ template \"jira.default.description\" . }}",
    )?;
    let description = cut(&description, DESCRIPTION_CHARS_MAX);
    let path = writer.settings.text("api_url").trim_end_matches('/');
    let description: Value = match path.ends_with("/3") {
        // A document, which the template has to write.
        true if !description.trim().is_empty() => serde_json::from_str(description.trim())
            .map_err(|_| Failure::last("description template: invalid JSON for API v3"))?,
        true => Value::Null,
        false => description.into(),
    };
    let labels = writer.settings.texts("labels").iter();
    let labels: Result<Vec<String>, Failure> = labels.map(|text| writer.expand(text)).collect();
    let mut labels = labels?;
    labels.push(format!("ALERT{{{}}}", writer.key()));
    labels.sort();
    let mut fields = filled([
        ("description", description),
        (
            "priority",
            Value::Object(filled([("name", writer.text("priority")?.into())])),
        ),
    ]);
    fields.insert(
        "summary".to_owned(),
        cut(&summary, SUMMARY_CHARS_MAX).into(),
    );
    fields.insert("labels".to_owned(), labels.into());
    fields.insert(
        "project".to_owned(),
        json!({"key": writer.text("project")?}),
    );
    fields.insert(
        "issuetype".to_owned(),
        json!({"name": writer.text("issue_type")?}),
    );
    let own = writer
        .settings
        .any("fields")
        .and_then(serde_yaml_ng::Value::as_mapping);
    for (key, value) in own.into_iter().flatten() {
        if let Some(key) = key.as_str() {
            let value = writer
                .any(value)
                .map_err(|failure| failure.about("fields template"))?;
            fields.insert(key.to_owned(), value);
        }
    }
    Ok(fields)
}

/// The search is over: an issue is made, or the one that was found is changed.
fn found(mut plan: Plan, issue: &Value) -> Result<Next, Failure> {
    let Some(key) = issue["key"].as_str().map(str::to_owned) else {
        if !plan.firing {
            return Ok(Next::Done(Kept::new()));
        }
        let body = json!({"fields": plan.fields});
        let request = ask("POST", format!("{}/issue", plan.api), Some(&body));
        let made = then(request, |answer| {
            good(answer).map_err(|failure| failure.about("failed to POST request to \"issue\""))?;
            Ok(Next::Done(Kept::new()))
        });
        return Ok(Next::Ask(Box::new(made)));
    };
    for field in &plan.fixed {
        plan.fields.remove(*field);
    }
    let body = json!({"fields": plan.fields});
    let request = ask("PUT", format!("{}/issue/{key}", plan.api), Some(&body));
    let category = issue["fields"]["status"]["statusCategory"]["key"].as_str();
    let done = category.map(|category| category == "done");
    let changed = then(request, move |answer| {
        good(answer).map_err(|failure| {
            failure.about(&format!("failed to PUT request to \"issue/{key}\""))
        })?;
        let wanted = match (plan.firing, done) {
            (true, Some(true)) => &plan.reopen,
            (false, Some(false)) => &plan.resolve,
            _ => "",
        };
        if wanted.is_empty() {
            return Ok(Next::Done(Kept::new()));
        }
        let url = format!("{}/issue/{key}/transitions", plan.api);
        Ok(Next::Ask(Box::new(moved(url, key, wanted.to_owned()))))
    });
    Ok(Next::Ask(Box::new(changed)))
}

/// Finds the transition by its name, and takes it.
fn moved(url: String, key: String, wanted: String) -> Exchange {
    then(ask("GET", url.clone(), None), move |answer| {
        let answer = good(answer)?;
        let known = answer["transitions"].as_array().into_iter().flatten();
        let found = known
            .into_iter()
            .find(|transition| transition["name"] == wanted.as_str());
        let Some(id) = found.and_then(|transition| transition["id"].as_str()) else {
            return Err(Failure::last(format!(
                "can't find transition {wanted} for issue {key}"
            )));
        };
        let request = ask("POST", url, Some(&json!({"transition": {"id": id}})));
        Ok(Next::Ask(Box::new(then(request, |answer| {
            check(answer, &[429], shown(answer.body))?;
            Ok(Next::Done(Kept::new()))
        }))))
    })
}
