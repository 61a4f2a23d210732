//! Parameters of a query request: the address's query string and, for POST, the form body.
//!
//! Names may repeat (`match[]`). Errors name the parameter and what was expected.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use http::header;
use obs_collector::{ErrorKind, HttpError};
use obs_model::time::{NANOS_PER_SECOND, parse_rfc3339};
use obs_model::{TimeRange, Timestamp, duration};

/// Largest form body; a query text has its own, smaller limit.
const FORM_BYTES_MAX: usize = 4 << 20;
/// Longest wait for a form body: a slow client must not hold a request for ever.
const FORM_DEADLINE: Duration = Duration::from_secs(60);

/// Most parameters of one request: each takes far more memory than its two bytes at least.
const PAIRS_MAX: usize = 10_000;

/// Names and values in the order given; the form comes before the address and so wins, as in
/// Prometheus and Loki.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = HttpError;

    async fn from_request(request: Request, _: &S) -> Result<Self, HttpError> {
        let address = request.uri().query().unwrap_or_default().to_owned();
        let kind = request.headers().get(header::CONTENT_TYPE);
        let is = |name: &[u8]| kind.is_some_and(|t| t.as_bytes().starts_with(name));
        if is(b"multipart/") {
            let message = "parameters in multipart/form-data are not read, expected application/x-www-form-urlencoded";
            return Err(HttpError::bad_data(message.to_owned()));
        }
        let form = is(b"application/x-www-form-urlencoded");
        let body = if form {
            form_body(request.into_body()).await?
        } else {
            Bytes::new()
        };
        let both = [&body, address.as_bytes()];
        let pairs = both.into_iter().flat_map(form_urlencoded::parse);
        let pairs: Vec<(String, String)> = pairs
            .take(PAIRS_MAX + 1)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        if pairs.len() > PAIRS_MAX {
            let message = format!("more than {PAIRS_MAX} parameters");
            return Err(HttpError::too_large(message));
        }
        Ok(Self(pairs))
    }
}

async fn form_body(body: Body) -> Result<Bytes, HttpError> {
    let body = axum::body::to_bytes(body, FORM_BYTES_MAX);
    match tokio::time::timeout(FORM_DEADLINE, body).await {
        Ok(read) => read.map_err(|e| {
            HttpError::too_large(format!(
                "form body: {e}, at most {FORM_BYTES_MAX} bytes are read"
            ))
        }),
        Err(_) => Err(HttpError::new(
            ErrorKind::Timeout,
            format!(
                "the form body did not arrive within {} s",
                FORM_DEADLINE.as_secs()
            ),
        )),
    }
}

/// How a number without a unit is read as a point of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Prometheus and Tempo: seconds, with a fraction.
    Seconds,
    /// Loki: more than ten digits are nanoseconds, else seconds.
    Nanoseconds,
}

impl Params {
    /// Parameters that a body tells.
    pub(crate) fn of(pairs: impl Iterator<Item = (String, String)>) -> Self {
        Self(pairs.collect())
    }

    /// The first value of a name; an empty value counts as absent, as in Prometheus.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, v)| n == name && !v.is_empty())
            .map(|(_, v)| v.as_str())
    }

    /// Every value of a name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    /// All names and values.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The first value of a name that must be there.
    pub(crate) fn need(&self, name: &str) -> Result<&str, HttpError> {
        self.get(name)
            .ok_or_else(|| HttpError::bad_data(format!("parameter \"{name}\" is missing")))
    }

    /// A point of time, if given.
    pub(crate) fn time(&self, name: &str, clock: Clock) -> Result<Option<Timestamp>, HttpError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        parse_time(text, clock)
            .map(Some)
            .ok_or_else(|| invalid(name, not_a(text, "timestamp")))
    }

    /// A duration in nanoseconds, if given: `1m30s` or a number of seconds.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<i64>, HttpError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        parse_duration(text)
            .map(Some)
            .ok_or_else(|| invalid(name, not_a(text, "duration")))
    }

    /// A point of time that must be given.
    pub(crate) fn need_time(&self, name: &str, clock: Clock) -> Result<Timestamp, HttpError> {
        self.time(name, clock)?
            .ok_or_else(|| invalid(name, not_a("", "timestamp")))
    }

    /// A duration in nanoseconds that must be given.
    pub(crate) fn need_duration(&self, name: &str) -> Result<i64, HttpError> {
        self.duration(name)?
            .ok_or_else(|| invalid(name, not_a("", "duration")))
    }

    /// `true` or `false` as Go's programs read them, if given.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, HttpError> {
        match self.get(name) {
            None => Ok(None),
            Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(Some(true)),
            Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(Some(false)),
            Some(text) => Err(invalid(name, expected(text, "true or false"))),
        }
    }

    /// Most entries of an answer by the parameter `limit`; none or 0 is no bound.
    pub(crate) fn limit(&self) -> Result<usize, HttpError> {
        let limit = self.count("limit")?.filter(|n| *n > 0);
        Ok(limit.unwrap_or(usize::MAX))
    }

    /// A whole number, if given.
    pub(crate) fn count(&self, name: &str) -> Result<Option<usize>, HttpError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| invalid(name, expected(text, "a number of at least 0")))
    }

    /// A whole number of at least 1, if given.
    pub(crate) fn positive(&self, name: &str) -> Result<Option<usize>, HttpError> {
        match self.count(name)? {
            Some(0) => Err(invalid(name, expected("0", "a number of at least 1"))),
            count => Ok(count),
        }
    }

    /// The range from `start` to `end`; what is missing reaches as far as time does. A range that
    /// ends before it begins is empty, as in Prometheus.
    pub(crate) fn open_range(&self, clock: Clock) -> Result<TimeRange, HttpError> {
        let start = self.time("start", clock)?.unwrap_or(Timestamp::MIN);
        let end = self.time("end", clock)?.unwrap_or(Timestamp::MAX);
        Ok(TimeRange::new(start, end))
    }
}

/// As Prometheus tells what is wrong with a parameter.
pub(crate) fn invalid(name: &str, why: impl std::fmt::Display) -> HttpError {
    HttpError::bad_data(format!("invalid parameter \"{name}\": {why}"))
}

fn expected(text: &str, what: &str) -> String {
    format!("{text:?}, expected {what}")
}

/// As Prometheus says that a text is not a timestamp or duration.
fn not_a(text: &str, what: &str) -> String {
    format!("cannot parse {text:?} to a valid {what}")
}

/// How Prometheus writes the least and the largest time that it knows.
const FIRST_TIME: &str = "-292273086-05-16T16:47:06Z";
const LAST_TIME: &str = "292277025-08-18T07:12:54.999999999Z";

/// A point of time as users and clients write it. Times before or after all that can be stored
/// stand for "from the first" and "to the last".
pub(crate) fn parse_time(text: &str, clock: Clock) -> Option<Timestamp> {
    if clock == Clock::Nanoseconds
        && let Ok(number) = text.parse::<i64>()
    {
        return Some(if text.trim_start_matches('-').len() <= 10 {
            Timestamp::from_seconds(number)
        } else {
            Timestamp::from_nanos(number)
        });
    }
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() => {
            let beyond = if seconds > 0.0 {
                Timestamp::MAX
            } else {
                Timestamp::MIN
            };
            Some(Timestamp::from_seconds_f64(seconds).unwrap_or(beyond))
        }
        Ok(_) => None,
        Err(_) if text == FIRST_TIME => Some(Timestamp::MIN),
        Err(_) if text == LAST_TIME => Some(Timestamp::MAX),
        Err(_) => parse_rfc3339(text).or_else(|| beyond_rfc3339(text)),
    }
}

/// A time in RFC 3339 whose year does not fit in 64 bits of nanoseconds.
fn beyond_rfc3339(text: &str) -> Option<Timestamp> {
    let (year, rest) = text.split_at_checked(4)?;
    let year = year.parse::<u32>().ok()?;
    // Another leap year: is the rest well-formed?
    parse_rfc3339(&format!("2000{rest}"))?;
    Some(if year > 2000 {
        Timestamp::MAX
    } else {
        Timestamp::MIN
    })
}

/// Nanoseconds of `1m30s` or of a number of seconds; not negative.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    match text.parse::<f64>() {
        Ok(seconds) => {
            let nanos = (seconds * NANOS_PER_SECOND as f64).round();
            (nanos >= 0.0 && nanos < i64::MAX as f64).then_some(nanos as i64)
        }
        Err(_) => duration::parse(text),
    }
}

/// Nanoseconds of a duration as Go writes it: `1.5s`, `1h2m3.5s`, `300µs`; not negative.
pub(crate) fn go_duration(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut total = 0f64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.');
        let (unit, tail) = tail.split_at(end.unwrap_or(tail.len()));
        let unit = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * unit;
        rest = tail;
    }
    let total = total.round();
    (!text.is_empty() && total < i64::MAX as f64).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go() {
        let check =
            |text: &str, expect: Option<i64>| assert_eq!(go_duration(text), expect, "{text}");
        check("1.5s", Some(1_500_000_000));
        check("1h2m3.5s", Some(3_723_500_000_000));
        check("300µs", Some(300_000));
        check("100us2ns", Some(100_002));
        check("0", Some(0));
        for wrong in ["", "s", "1", "1x", "-1s", "1..5s"] {
            check(wrong, None);
        }
    }

    async fn params(request: http::request::Builder, body: &str) -> Params {
        let request = request.body(Body::from(body.to_owned())).unwrap();
        Params::from_request(request, &()).await.unwrap()
    }

    #[tokio::test]
    async fn address_and_form() {
        let request = http::Request::post("/x?limit=2&query=up&match[]=a&match%5B%5D=b").header(
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        );
        let params = params(request, "time=1.5&step=1m&empty=&limit=1").await;
        assert_eq!(params.need("query").unwrap(), "up");
        assert_eq!(params.get("limit"), Some("1"), "the form wins");
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            params
                .time("time", Clock::Seconds)
                .unwrap()
                .unwrap()
                .millis(),
            1500
        );
        assert_eq!(
            params.duration("step").unwrap(),
            Some(60 * NANOS_PER_SECOND)
        );
        assert_eq!(params.get("empty"), None);
        let fault = params.time("step", Clock::Seconds).unwrap_err().to_string();
        assert!(
            fault.starts_with("invalid parameter \"step\": cannot parse \"1m\" to a valid time"),
            "{fault}"
        );
    }

    #[test]
    fn times_by_clock() {
        let nanos = |text, clock| parse_time(text, clock).map(Timestamp::nanos);
        assert_eq!(
            nanos("1700000000", Clock::Nanoseconds),
            Some(1_700_000_000_000_000_000)
        );
        assert_eq!(
            nanos("1700000000123456789", Clock::Nanoseconds),
            Some(1_700_000_000_123_456_789)
        );
        assert_eq!(
            nanos("1700000000.5", Clock::Nanoseconds),
            Some(1_700_000_000_500_000_000)
        );
        assert_eq!(
            nanos("1700000000.5", Clock::Seconds),
            Some(1_700_000_000_500_000_000)
        );
        assert_eq!(
            nanos("2023-11-14T22:13:20Z", Clock::Seconds),
            Some(1_700_000_000_000_000_000)
        );
        // Sentinels of clients: beyond what 64 bits of nanoseconds hold.
        for text in ["9999999999", "1e300", "9999-12-31T23:59:59Z", LAST_TIME] {
            assert_eq!(nanos(text, Clock::Seconds), Some(i64::MAX), "{text}");
        }
        assert_eq!(
            nanos("99999999999999999999", Clock::Nanoseconds),
            Some(i64::MAX)
        );
        for text in ["-1e11", "0001-01-01T00:00:00Z", FIRST_TIME] {
            assert_eq!(nanos(text, Clock::Seconds), Some(i64::MIN), "{text}");
        }
        for text in ["inf", "9999-99-31T23:59:59Z", "99999", "year"] {
            let expect = (text == "99999").then_some(99_999_000_000_000);
            assert_eq!(nanos(text, Clock::Seconds), expect, "{text}");
        }
        assert_eq!(nanos("yesterday", Clock::Seconds), None);
        assert_eq!(nanos("NaN", Clock::Seconds), None);
        assert_eq!(parse_duration("-1"), None);
    }
}
