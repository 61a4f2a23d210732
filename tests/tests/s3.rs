//! A bucket that speaks S3, for tests: path-style addresses, signatures that are checked, lists in
//! pages of three, uploads in parts, and whatever faults a test wants.
//!
//! Invariants: each connection answers one request; an object is replaced as a whole; it ends with
//! the process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use ring::{digest, hmac};

use crate::process::until;

pub(crate) const KEY: &str = "AKIDTEST";
pub(crate) const SECRET: &str = "secret/of+tests";
pub(crate) const REGION: &str = "eu-test-1";
const BUCKET: &str = "vault";
/// Objects of one page of a list.
const PAGE: usize = 3;
const BODY_MAX: usize = 64 << 20;

/// What a test wants to go wrong.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Every third request that changes or reads an object is answered 500 or 503, or its answer is
    /// cut.
    pub(crate) flaky: bool,
    /// The clock of the service is ahead so many seconds.
    pub(crate) ahead: i64,
    /// Requests with this method and a path that contains this are held until it is none, and
    /// are refused then.
    pub(crate) held: Option<(&'static str, &'static str)>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    faults: Faults,
    /// Requests, and those that are held now.
    count: usize,
    holding: usize,
    /// Methods and targets.
    asked: Vec<String>,
    refused: Vec<String>,
}

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct S3 {
    address: String,
    state: Arc<(Mutex<State>, Condvar)>,
}

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    raw_query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl S3 {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let service = Self {
            address,
            state: Arc::default(),
        };
        let own = service.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = own.clone();
                // A client that goes away is not the service's fault.
                std::thread::spawn(move || drop(own.serve(stream)));
            }
        });
        service
    }

    /// As `--endpoint` takes it.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, faults: Faults) {
        let (lock, changed) = &*self.state;
        let mut state = lock.lock().expect("no panic");
        state.faults = faults;
        changed.notify_all();
        // What was held is no more, so that nobody takes it for what is held next.
        while state.faults.held.is_none() && state.holding > 0 {
            state = changed.wait(state).expect("no panic");
        }
    }

    /// Waits until a request is held.
    pub(crate) fn wait_held(&self) {
        until("a request to be held", || {
            let state = self.state.0.lock().expect("no panic");
            (state.holding > 0).then_some(())
        });
    }

    /// The keys of all objects.
    pub(crate) fn keys(&self) -> Vec<String> {
        let state = self.state.0.lock().expect("no panic");
        state.objects.keys().cloned().collect()
    }

    /// Changes an object.
    pub(crate) fn change(&self, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.0.lock().expect("no panic");
        change(state.objects.get_mut(key).expect("it is there"));
    }

    /// What was asked since the last call.
    pub(crate) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.0.lock().expect("no panic").asked)
    }

    /// Why requests were refused.
    pub(crate) fn refused(&self) -> Vec<String> {
        self.state.0.lock().expect("no panic").refused.clone()
    }

    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let Some(request) = read(&mut reader)? else {
            return Ok(());
        };
        let (response, cut) = self.answer(&request);
        let mut out = stream;
        let date = jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_secs(
            self.state.0.lock().expect("no panic").faults.ahead,
        ));
        let date = date.expect("a time").strftime("%a, %d %b %Y %H:%M:%S GMT");
        let mut head = format!("HTTP/1.1 {} X\r\nDate: {date}\r\n", response.status);
        for (name, value) in &response.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = response.body.len();
        head.push_str(&format!(
            "Content-Length: {length}\r\nConnection: close\r\n\r\n"
        ));
        out.write_all(head.as_bytes())?;
        let end = if cut { length / 2 } else { length };
        out.write_all(&response.body[..end])
    }

    /// The answer, and whether it is cut.
    fn answer(&self, request: &Request) -> (Response, bool) {
        let (lock, changed) = &*self.state;
        let mut state = lock.lock().expect("no panic");
        state.count += 1;
        let asked = format!("{} {}?{}", request.method, request.path, request.raw_query);
        state.asked.push(asked);
        let held = |state: &State| {
            let (method, path) = state.faults.held.unwrap_or(("none", ""));
            request.method == method && request.path.contains(path)
        };
        if held(&state) {
            state.holding += 1;
            changed.notify_all();
            while held(&state) {
                state = changed.wait(state).expect("no panic");
            }
            state.holding -= 1;
            changed.notify_all();
            return (error(500, "InternalError", "it was held"), false);
        }
        if let Err((code, why)) = check(request, state.faults.ahead) {
            state.refused.push(format!("{code}: {why}"));
            return (error(403, code, &why), false);
        }
        let turn = state.count % 9;
        if state.faults.flaky && turn == 2 {
            return (error(500, "InternalError", "try again"), false);
        }
        if state.faults.flaky && turn == 5 {
            return (error(503, "SlowDown", "slower"), false);
        }
        let response = act(&mut state, request);
        let cut = state.faults.flaky && turn == 8 && !response.body.is_empty();
        (response, cut)
    }
}

fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, raw_query) = target.split_once('?').unwrap_or((target, ""));
    let (path, raw_query) = (path.to_owned(), raw_query.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|l| l.parse().ok());
    let length: usize = length.unwrap_or(0);
    assert!(length <= BODY_MAX, "no client sends {length} bytes at once");
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let query = form_urlencoded::parse(raw_query.as_bytes());
    let query = query
        .map(|(k, v)| (k.into_owned(), v.into_owned()))
        .collect();
    Ok(Some(Request {
        method,
        path,
        query,
        raw_query,
        headers,
        body,
    }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Checks a signature of version 4 as its description says.
fn check(request: &Request, ahead: i64) -> Result<(), (&'static str, String)> {
    let denied = |why: &str| ("AccessDenied", why.to_owned());
    let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
    let authorization = header("authorization");
    let rest = authorization.strip_prefix("AWS4-HMAC-SHA256 ");
    let fields: BTreeMap<&str, &str> = rest
        .ok_or_else(|| denied("no signature"))?
        .split(',')
        .filter_map(|field| field.trim().split_once('='))
        .collect();
    let field = |name: &str| fields.get(name).copied().unwrap_or_default();
    let scope: Vec<&str> = field("Credential").split('/').collect();
    let [key, day, region, service, end] = scope[..] else {
        return Err(denied("no scope"));
    };
    if key != KEY || region != REGION || service != "s3" || end != "aws4_request" {
        return Err(("InvalidAccessKeyId", format!("{scope:?}")));
    }
    let time = header("x-amz-date");
    let sent = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time);
    let sent = sent.map_err(|_| denied("no time"))?;
    let sent = sent
        .to_zoned(jiff::tz::TimeZone::UTC)
        .expect("UTC")
        .timestamp();
    let own = jiff::Timestamp::now().as_second() + ahead;
    if (own - sent.as_second()).abs() > 900 {
        return Err(("RequestTimeTooSkewed", "too far".to_owned()));
    }
    if header("x-amz-content-sha256") != sha256(&request.body) {
        return Err(("XAmzContentSHA256Mismatch", "the body differs".to_owned()));
    }
    let mut query: Vec<&str> = request
        .raw_query
        .split('&')
        .filter(|q| !q.is_empty())
        .collect();
    query.sort_unstable();
    let names = field("SignedHeaders");
    if !names.split(';').any(|name| name == "host") {
        return Err(denied("the host is not signed"));
    }
    let headers: String = names
        .split(';')
        .map(|name| format!("{name}:{}\n", header(name)))
        .collect();
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{names}\n{}",
        request.method,
        request.path,
        query.join("&"),
        header("x-amz-content-sha256")
    );
    let place = scope[1..].join("/");
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{place}\n{}",
        sha256(canonical.as_bytes())
    );
    let mut secret = format!("AWS4{SECRET}").into_bytes();
    for word in [day, region, service, "aws4_request", &text] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        secret = hmac::sign(&key, word.as_bytes()).as_ref().to_vec();
    }
    if hex(&secret) != field("Signature") {
        return Err(("SignatureDoesNotMatch", canonical));
    }
    Ok(())
}

fn error(status: u16, code: &str, message: &str) -> Response {
    let message = message.replace('&', "&amp;").replace('<', "&lt;");
    xml(
        status,
        format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>"),
    )
}

fn xml(status: u16, text: String) -> Response {
    Response {
        status,
        headers: vec![("Content-Type", "application/xml".to_owned())],
        body: format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{text}").into_bytes(),
    }
}

fn empty(status: u16) -> Response {
    Response {
        status,
        headers: Vec::new(),
        body: Vec::new(),
    }
}

/// Carries a request out.
fn act(state: &mut State, request: &Request) -> Response {
    let path = form_urlencoded::parse(format!("p={}", request.path.replace('+', "%2B")).as_bytes())
        .next()
        .map_or_else(String::new, |(_, path)| path.into_owned());
    let Some(rest) = path.strip_prefix(&format!("/{BUCKET}")) else {
        return error(404, "NoSuchBucket", &path);
    };
    let key = rest.trim_start_matches('/').to_owned();
    let query = |name: &str| request.query.get(name).cloned();
    match (request.method.as_str(), key.as_str()) {
        ("GET", "") => list(state, request),
        ("GET", _) => get(state, &key, request),
        ("PUT", _) => {
            let tag = format!("\"{}\"", &sha256(&request.body)[..32]);
            match (query("uploadId"), query("partNumber")) {
                (Some(id), Some(number)) => {
                    let Some(parts) = state.uploads.get_mut(&id) else {
                        return error(404, "NoSuchUpload", &id);
                    };
                    let number = number.parse().expect("a number");
                    parts.insert(number, request.body.clone());
                }
                _ => drop(state.objects.insert(key, request.body.clone())),
            }
            let mut answer = empty(200);
            answer.headers.push(("ETag", tag));
            answer
        }
        ("POST", _) => match query("uploadId") {
            Some(id) => complete(state, &key, &id, &request.body),
            None => {
                let id = format!("upload {}&<", state.count);
                state.uploads.insert(id.clone(), BTreeMap::new());
                let id = id.replace('&', "&amp;").replace('<', "&lt;");
                let name = "InitiateMultipartUploadResult";
                xml(200, format!("<{name}><UploadId>{id}</UploadId></{name}>"))
            }
        },
        ("DELETE", _) => {
            match query("uploadId") {
                Some(id) => drop(state.uploads.remove(&id)),
                None => drop(state.objects.remove(&key)),
            }
            empty(204)
        }
        _ => error(405, "MethodNotAllowed", &request.method),
    }
}

fn complete(state: &mut State, key: &str, id: &str, body: &[u8]) -> Response {
    let Some(parts) = state.uploads.remove(id) else {
        return error(404, "NoSuchUpload", id);
    };
    let text = String::from_utf8_lossy(body);
    for (number, part) in &parts {
        let tag = format!("\"{}\"", &sha256(part)[..32]);
        let named = format!("<PartNumber>{number}</PartNumber><ETag>{tag}</ETag>");
        if !text.contains(&named) {
            // An error after the status, as S3 does it.
            return error(200, "InvalidPart", &named);
        }
    }
    let last = parts.keys().next_back().copied();
    let small = |(number, part): (&u32, &Vec<u8>)| Some(*number) != last && part.len() < 5 << 20;
    if parts.iter().any(small) {
        return error(400, "EntityTooSmall", id);
    }
    state
        .objects
        .insert(key.to_owned(), parts.into_values().flatten().collect());
    let name = "CompleteMultipartUploadResult";
    xml(200, format!("<{name}><Key>x</Key></{name}>"))
}

fn get(state: &State, key: &str, request: &Request) -> Response {
    let Some(object) = state.objects.get(key) else {
        return error(404, "NoSuchKey", key);
    };
    let range = request.headers.get("range");
    let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = range else {
        return Response {
            body: object.clone(),
            ..empty(200)
        };
    };
    let first: usize = first.parse().expect("a number");
    let last: usize = last.parse().expect("a number");
    if first >= object.len() {
        return error(416, "InvalidRange", key);
    }
    Response {
        body: object[first..object.len().min(last + 1)].to_vec(),
        ..empty(206)
    }
}

fn list(state: &State, request: &Request) -> Response {
    let query = |name: &str| request.query.get(name).cloned().unwrap_or_default();
    if query("list-type") != "2" {
        return error(400, "InvalidArgument", "list-type");
    }
    let (prefix, after) = (query("prefix"), query("continuation-token"));
    let mut found = state
        .objects
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix) && **key > after);
    let page: Vec<_> = found.by_ref().take(PAGE).collect();
    let more = found.next().is_some();
    let mut text = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>");
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.000Z");
    for (key, object) in &page {
        text.push_str(&format!(
            "<Contents><Key>{key}</Key><LastModified>{now}</LastModified><Size>{}</Size></Contents>",
            object.len()
        ));
    }
    if let (true, Some((key, _))) = (more, page.last()) {
        text.push_str(&format!(
            "<NextContinuationToken>{key}</NextContinuationToken>"
        ));
    }
    text.push_str("</ListBucketResult>");
    xml(200, text)
}
