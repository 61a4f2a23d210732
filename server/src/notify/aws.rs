//! Who we are for Amazon: credentials of the settings, the environment or the file with profiles,
//! and the role that they take on.
//!
//! Invariant: credentials are found anew for every try, so that those that end are replaced.

use std::path::PathBuf;

use bytes::Bytes;
use obs_alerting::notify::requests::{Aws, Exchange, Failure};
use obs_collector::http_client::HttpClient;
use obs_model::Timestamp;
use obs_wire::sigv4::{self, Credentials, Scope, Unsigned};

use super::read;

/// Bytes of the answer with a role's credentials.
const ANSWER_BYTES_MAX: usize = 64 << 10;

#[expect(
    clippy::disallowed_methods,
    reason = "Amazon's clients are set by these variables, and nothing else of obs is"
)]
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// A request of SNS with its signature, and with an address where it has none.
pub(super) async fn signed(
    client: &HttpClient,
    mut exchange: Exchange,
    aws: &Aws,
    now: Timestamp,
) -> Result<Exchange, Failure> {
    let mut region = aws.region.clone();
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        if region.is_empty() {
            region = variable(name);
        }
    }
    if region.is_empty() {
        let text = "region not configured in sns.sigv4.region or in default credentials chain";
        return Err(Failure::passing(text));
    }
    let mut credentials = find(aws).await?;
    if !aws.role_arn.is_empty() {
        credentials = role(client, aws, &region, &credentials, now).await?;
    }
    let request = &mut exchange.request;
    if request.url.is_empty() {
        request.url = format!("https://sns.{region}.amazonaws.com/");
    }
    let scope = Scope {
        region: &region,
        service: "sns",
        now,
    };
    let added = sign(
        &request.url,
        &request.headers,
        &request.body,
        &credentials,
        &scope,
    )?;
    request.headers.extend(added);
    Ok(exchange)
}

fn sign(
    url: &str,
    headers: &[(&'static str, String)],
    body: &[u8],
    credentials: &Credentials,
    scope: &Scope<'_>,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let uri: http::Uri = url
        .parse()
        .map_err(|error| Failure::last(format!("api_url: {error}")))?;
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let headers: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let request = Unsigned {
        method: "POST",
        host,
        path: uri.path(),
        query: uri.query().unwrap_or(""),
        headers: &headers,
        body,
    };
    Ok(sigv4::sign(&request, credentials, scope))
}

async fn find(aws: &Aws) -> Result<Credentials, Failure> {
    if !aws.access_key.is_empty() {
        return Ok(Credentials {
            access_key: aws.access_key.clone(),
            secret_key: aws.secret_key.clone(),
            session_token: String::new(),
        });
    }
    let own = Credentials {
        access_key: variable("AWS_ACCESS_KEY_ID"),
        secret_key: variable("AWS_SECRET_ACCESS_KEY"),
        session_token: variable("AWS_SESSION_TOKEN"),
    };
    if aws.profile.is_empty() && !own.access_key.is_empty() {
        return Ok(own);
    }
    let mut path = variable("AWS_SHARED_CREDENTIALS_FILE");
    if path.is_empty() {
        path = format!("{}/.aws/credentials", variable("HOME"));
    }
    let mut profile = aws.profile.clone();
    if profile.is_empty() {
        profile = variable("AWS_PROFILE");
    }
    if profile.is_empty() {
        profile = "default".to_owned();
    }
    let text = read(&PathBuf::from(&path)).await;
    let text =
        text.map_err(|fault| Failure::passing(format!("no credentials for Amazon: {fault}")))?;
    Credentials::of_profile(&text, &profile).ok_or_else(|| {
        Failure::passing(format!(
            "no credentials for Amazon: {path}: no profile {profile:?}"
        ))
    })
}

/// Takes on a role.
async fn role(
    client: &HttpClient,
    aws: &Aws,
    region: &str,
    credentials: &Credentials,
    now: Timestamp,
) -> Result<Credentials, Failure> {
    let body = role_form(aws, now);
    let url = format!("https://sts.{region}.amazonaws.com/");
    let kind = "application/x-www-form-urlencoded; charset=utf-8".to_owned();
    let mut headers = vec![("content-type", kind)];
    let scope = Scope {
        region,
        service: "sts",
        now,
    };
    let added = sign(&url, &headers, &body, credentials, &scope)?;
    headers.extend(added);
    let mut request = http::Request::post(url);
    for (name, value) in &headers {
        request = request.header(*name, value);
    }
    let request = request.body(Bytes::from(body));
    let request = request.map_err(|error| Failure::last(format!("sigv4.role_arn: {error}")))?;
    let answered = client.exchange(request, ANSWER_BYTES_MAX).await;
    let answered =
        answered.map_err(|fault| Failure::passing(format!("sigv4.role_arn: {fault}")))?;
    let text = String::from_utf8_lossy(&answered.body).into_owned();
    let granted = Credentials {
        access_key: element(&text, "AccessKeyId").to_owned(),
        secret_key: element(&text, "SecretAccessKey").to_owned(),
        session_token: element(&text, "SessionToken").to_owned(),
    };
    if answered.status != 200 || granted.secret_key.is_empty() {
        let (status, said) = (answered.status, element(&text, "Message"));
        let text = format!("sigv4.role_arn: unexpected status code {status}: {said}");
        return Err(Failure {
            retry: status >= 500,
            ..Failure::last(text)
        });
    }
    Ok(granted)
}

/// The request for a role's credentials.
fn role_form(aws: &Aws, now: Timestamp) -> Vec<u8> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", "AssumeRole");
    form.append_pair("RoleArn", &aws.role_arn);
    form.append_pair("RoleSessionName", &now.nanos().to_string());
    if !aws.external_id.is_empty() {
        form.append_pair("ExternalId", &aws.external_id);
    }
    form.append_pair("Version", "2011-06-15");
    form.finish().into_bytes()
}

/// The text of the first element of a name.
fn element<'t>(xml: &'t str, name: &str) -> &'t str {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let inner = xml.split_once(&open).map_or("", |(_, rest)| rest);
    inner.split_once(&close).map_or("", |(text, _)| text).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_texts() {
        assert_eq!(element("<a><B> x </B></a>", "B"), "x");
        assert_eq!(element("<a>", "B"), "");
    }
}
