//! What servers of our own see of clients.

use std::sync::Mutex;

use axum::Router;
use axum::routing::{get, post};
use tokio::task::JoinSet;

use super::*;
use crate::config::client_config;
use crate::outgoing::Addresses;

/// A server on a port of its own; gone with the set.
async fn serve(router: Router) -> (String, JoinSet<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, router).await.expect("served") });
    (format!("http://{address}"), tasks)
}

async fn client(yaml: &str) -> HttpClient {
    let config = client_config(yaml).expect(yaml);
    HttpClient::new(&config, Use::default()).await.expect(yaml)
}

async fn headers(client: &HttpClient) -> HeaderMap {
    let mut headers = HeaderMap::new();
    client.put_headers(&mut headers).await.expect("headers");
    headers
}

#[tokio::test]
async fn credentials_become_headers() {
    let check = async |yaml: &str, name: &str, expect: &str| {
        let headers = headers(&client(yaml).await).await;
        assert_eq!(headers[name].to_str().expect("text"), expect, "{yaml}");
    };
    check(
        "basic_auth: {username: u, password: pé}",
        "authorization",
        "Basic dTpww6k=",
    )
    .await;
    check("bearer_token: t", "authorization", "Bearer t").await;
    check(
        "authorization: {type: Token, credentials: t}",
        "authorization",
        "Token t",
    )
    .await;
    check("http_headers: {X-A: {secrets: [s]}}", "x-a", "s").await;
    assert!(client("bearer_token: t").await.is_steady());
    assert!(!client("bearer_token_file: /t").await.is_steady());
}

/// Takes credentials in the body only, and counts what it is asked.
fn token_server(seen: &Arc<Mutex<Vec<String>>>, seconds: u32) -> Router {
    let seen = Arc::clone(seen);
    let token = async move |headers: HeaderMap, body: String| {
        let mut seen = seen.lock().expect("not poisoned");
        if headers.contains_key("authorization") {
            seen.push("header".to_owned());
            return (StatusCode::UNAUTHORIZED, String::new());
        }
        seen.push(body);
        let answer = format!(
            "{{\"access_token\":\"t{}\",\"token_type\":\"bearer\",\"expires_in\":{seconds}}}",
            seen.len()
        );
        (StatusCode::OK, answer)
    };
    Router::new().route("/token", post(token))
}

#[tokio::test]
async fn tokens_are_kept_until_they_end() {
    let seen = Arc::default();
    let check = async |seconds: u32, expect: [&str; 2]| {
        let (url, _tasks) = serve(token_server(&seen, seconds)).await;
        let yaml = format!(
            "oauth2: {{client_id: i, client_secret: 's&', token_url: '{url}/token', \
             scopes: [a, b], endpoint_params: {{x: y}}}}"
        );
        let client = client(&yaml).await;
        for expect in expect {
            let headers = headers(&client).await;
            assert_eq!(headers["authorization"].to_str().expect("text"), expect);
        }
    };
    check(3600, ["Bearer t2", "Bearer t2"]).await;
    // Over at once; the place of the credentials is known.
    check(1, ["Bearer t4", "Bearer t5"]).await;
    let seen = seen.lock().expect("not poisoned");
    assert_eq!(
        seen[1],
        "grant_type=client_credentials&scope=a+b&x=y&client_id=i&client_secret=s%26"
    );
}

#[tokio::test]
async fn answers_are_bounded_and_faults_told() {
    let router = Router::new()
        .route("/good", get(async || "12345"))
        .route("/bad", get(async || (StatusCode::FORBIDDEN, "no\n")));
    let (url, _tasks) = serve(router).await;
    let client = client("{}").await;
    let ask = async |path: &str, most: usize| {
        let request = client.requests().get(format!("{url}{path}"));
        client.ask(request, most).await.map(|answer| answer.body)
    };
    assert_eq!(ask("/good", 5).await.expect("good"), "12345");
    let fault = ask("/good", 4).await.expect_err("too long");
    assert_eq!(fault, "answer of more than 4 bytes");
    let fault = ask("/bad", 100).await.expect_err("forbidden");
    assert_eq!(fault, "server returned HTTP status 403 Forbidden: no");
}

fn redirect(to: String) -> Router {
    let answer = async move || (StatusCode::FOUND, [(header::LOCATION, to)]);
    Router::new().route("/", get(answer))
}

fn guarded(yaml: &str, addresses: &Addresses) -> ClientConfig {
    let mut config = client_config(yaml).expect(yaml);
    config.guard(addresses);
    config
}

async fn outcome(config: &ClientConfig, url: &str) -> Result<String, String> {
    let client = HttpClient::new(config, Use::default()).await?;
    let request = http::Request::get(url)
        .body(Bytes::new())
        .expect("a request");
    let answered = client.exchange(request, 100).await;
    let answered = answered.map_err(|fault| fault.to_string())?;
    Ok(String::from_utf8_lossy(&answered.body).into_owned())
}

#[tokio::test]
async fn redirects_do_not_lead_to_where_nobody_goes() {
    let check = async |config: &ClientConfig, url: &str, expect: &str| {
        let fault = outcome(config, url).await.expect_err(url);
        assert!(fault.contains(expect), "{url}: {fault}");
    };
    let usual = client_config("{}").expect("a client");
    for to in [
        "http://169.254.169.254/latest",
        "http://[::ffff:a9fe:a9fe]/",
        "http://0x0/",
    ] {
        let (url, _tasks) = serve(redirect(to.to_owned())).await;
        check(&usual, &url, "is not dialled").await;
    }
    let addresses = Addresses::default();
    check(
        &guarded("{}", &addresses),
        "http://169.254.169.254/",
        "link-local",
    )
    .await;
    let strict = guarded("{}", &Addresses::new(true, false, Vec::new()));
    let (url, _tasks) = serve(Router::new().route("/", get(async || "in"))).await;
    check(&strict, &url, "this machine itself").await;
    check(
        &strict,
        &url.replace("127.0.0.1", "localhost"),
        "this machine itself",
    )
    .await;
    assert_eq!(
        outcome(&guarded("{}", &addresses), &url).await.as_deref(),
        Ok("in")
    );
}

#[tokio::test]
async fn secrets_stay_with_the_host_that_they_are_for() {
    let seen = async |headers: HeaderMap| match headers.contains_key("authorization") {
        true => "with",
        false => "without",
    };
    let (other, _other) = serve(Router::new().route("/", get(seen))).await;
    let (url, _tasks) = serve(redirect(other.clone())).await;
    let addresses = Addresses::default();
    let bearer = guarded("bearer_token: t", &addresses);
    assert_eq!(outcome(&bearer, &other).await.as_deref(), Ok("with"));
    assert_eq!(outcome(&bearer, &url).await.as_deref(), Ok("without"));
    let own = guarded("http_headers: {X-Key: {secrets: [s]}}", &addresses);
    let fault = outcome(&own, &url).await.expect_err("it has a secret");
    assert!(fault.contains("secrets do not go"), "{fault}");
}
