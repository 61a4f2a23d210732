//! One request to a bucket: signed, and tried again where that may help.
//!
//! Invariants: what is tried again has the same effect once or many times; no answer is read
//! beyond its bound.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{anyhow, bail};
use obs_model::Timestamp;
use obs_wire::sigv4::{self, Scope, Unsigned};
use obs_wire::xml;
use reqwest::Method;

use super::S3;
use crate::backup::place::PIECE_BYTES;
use crate::backup::random;

/// Tries of one request, and the retries of all requests of a run.
const TRIES_MAX: u32 = 8;
pub(super) const RETRIES_MAX: u32 = 2_000;
/// One try; a piece at 70 KB/s takes so long.
const TRY_TIMEOUT: Duration = Duration::from_secs(120);
/// All tries of one request.
const DEADLINE: Duration = Duration::from_secs(600);
/// Between the first two tries, and between any two.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Bytes of an answer: a piece, or a page of a list.
const ANSWER_BYTES_MAX: usize = PIECE_BYTES + (1 << 20);
/// Clocks may differ so much before the service refuses: S3 allows 15 minutes.
const SKEW_NANOS: i64 = 60_000_000_000;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// The key; empty for the bucket itself.
    pub(super) path: String,
    pub(super) query: &'a [(&'a str, &'a str)],
    /// The first and the last byte.
    pub(super) range: Option<(u64, u64)>,
    pub(super) body: Arc<[u8]>,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) etag: String,
    date: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// Code and message of an error.
    fn told(&self) -> (String, String) {
        match xml::decode(&self.body) {
            Ok(told) => (
                told.at(&["Code"]).to_owned(),
                told.at(&["Message"]).to_owned(),
            ),
            Err(_) => (String::new(), String::new()),
        }
    }

    pub(super) fn fault(&self) -> anyhow::Error {
        let (code, message) = self.told();
        match (code.as_str(), message.as_str()) {
            ("", "") => anyhow!("the service answered {}", self.status),
            (code, message) => anyhow!("the service answered {}: {code}: {message}", self.status),
        }
    }

    fn is_passing(&self) -> bool {
        matches!(self.status, 408 | 429 | 500..=599)
    }
}

impl S3 {
    /// An answer of success.
    pub(super) async fn succeed(&self, ask: &Ask<'_>) -> anyhow::Result<Answer> {
        let answer = self.ask(ask).await?;
        match answer.status {
            200..=299 => Ok(answer),
            _ => Err(answer.fault()),
        }
    }

    /// The answer, whatever it says; tried again while the service is not able to give one.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> anyhow::Result<Answer> {
        let tries = async {
            let mut pause = PAUSE_FIRST;
            let mut try_number = 1;
            loop {
                let tried = self.once(ask).await;
                let again = match &tried {
                    Ok(answer) => answer.is_passing() || self.is_skewed(answer),
                    Err(error) => !error.is_builder(),
                };
                if !again || try_number == TRIES_MAX || !self.may_retry() {
                    return tried.map_err(|error| {
                        let error = anyhow::Error::from(error.without_url());
                        error.context(format!("ask {}", self.endpoint))
                    });
                }
                try_number += 1;
                // Many who were refused at the same time do not come back at the same time.
                let share = f64::from(random() % 1000) / 2000.0 + 0.5;
                tokio::time::sleep(pause.mul_f64(share)).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        };
        match tokio::time::timeout(DEADLINE, tries).await {
            Ok(answer) => answer,
            Err(_) => bail!(
                "ask {}: no answer within {} s",
                self.endpoint,
                DEADLINE.as_secs()
            ),
        }
    }

    fn may_retry(&self) -> bool {
        let left = &self.retries;
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        })
        .is_ok()
    }

    /// Whether the service refused because of our clock, which is put right then.
    fn is_skewed(&self, answer: &Answer) -> bool {
        if answer.status != 403 || answer.told().0 != "RequestTimeTooSkewed" {
            return false;
        }
        let Ok(date) = jiff::fmt::rfc2822::parse(&answer.date) else {
            return false;
        };
        let nanos = i64::try_from(date.timestamp().as_nanosecond()).unwrap_or(0);
        let ahead = Timestamp::from_nanos(nanos) - crate::client::now();
        let before = self.skew_nanos.swap(ahead, Ordering::Relaxed);
        (ahead - before).abs() > SKEW_NANOS
    }

    async fn once(&self, ask: &Ask<'_>) -> reqwest::Result<Answer> {
        let query: Vec<String> = ask
            .query
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name, false), encode(value, false)))
            .collect();
        let query = query.join("&");
        let base = reqwest::Url::parse(&self.endpoint);
        let base = base.map_or(String::new(), |url| {
            url.path().trim_end_matches('/').to_owned()
        });
        let path = format!(
            "{base}/{}/{}",
            encode(&self.bucket, false),
            encode(&ask.path, true)
        );
        let path = match ask.path.is_empty() {
            true => path.trim_end_matches('/').to_owned(),
            false => path,
        };
        let scope = Scope {
            region: &self.region,
            service: "s3",
            now: self.now(),
        };
        let unsigned = Unsigned {
            method: ask.method.as_str(),
            host: &self.host,
            path: &path,
            query: &query,
            headers: &[],
            body: &ask.body,
        };
        let root = self.endpoint.strip_suffix(&base).unwrap_or(&self.endpoint);
        let url = match query.is_empty() {
            true => format!("{root}{path}"),
            false => format!("{root}{path}?{query}"),
        };
        let mut request = self.http.request(ask.method.clone(), url);
        for (name, value) in sigv4::sign(&unsigned, &self.credentials, &scope) {
            request = request.header(name, value);
        }
        if let Some((first, last)) = ask.range {
            request = request.header("range", format!("bytes={first}-{last}"));
        }
        let request = request.timeout(TRY_TIMEOUT).body(ask.body.to_vec());
        let mut response = request.send().await?;
        let header = |name: &str| {
            let value = response.headers().get(name);
            let text = value.and_then(|value| value.to_str().ok());
            text.unwrap_or_default().to_owned()
        };
        let (etag, date) = (header("etag"), header("date"));
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await? {
            let room = ANSWER_BYTES_MAX.saturating_sub(body.len());
            body.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.len() > room {
                break;
            }
        }
        Ok(Answer {
            status,
            etag,
            date,
            body,
        })
    }
}

/// Percent-encodes as signatures want it: all but letters, digits and `-_.~`, and slashes of paths.
fn encode(text: &str, is_path: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || (is_path && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_encoded() {
        assert_eq!(encode("a/b c+ü", true), "a/b%20c%2B%C3%BC");
        assert_eq!(encode("a/b=", false), "a%2Fb%3D");
    }

    #[test]
    fn errors_are_told() {
        let answer = |body: &[u8]| Answer {
            status: 403,
            etag: String::new(),
            date: String::new(),
            body: body.to_vec(),
        };
        let told = answer(b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>");
        assert_eq!(
            told.fault().to_string(),
            "the service answered 403: AccessDenied: no"
        );
        assert_eq!(answer(b"x").fault().to_string(), "the service answered 403");
    }
}
