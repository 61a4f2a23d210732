//! What the address and the headers of a request say about the fields of its documents: the names
//! are VictoriaLogs' (`_msg_field`, `_time_field`, `_stream_fields`, `ignore_fields`,
//! `extra_fields`; as headers `VL-Msg-Field` and so on).
//!
//! Invariant: a parameter wins over its header; an empty one is as none.

use axum::extract::Query;
use http::HeaderMap;
use http::header::HeaderName;
use http::request::Parts;
use obs_wire::event::Mapping;

/// The mapping that a request asks for.
pub(super) fn of(parts: &Parts) -> Mapping {
    let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
    let query = query.map(|Query(pairs)| pairs).unwrap_or_default();
    let list = |name: &str, header: &'static str| list(&query, &parts.headers, name, header);
    let stream = list("_stream_fields", "vl-stream-fields");
    let pair = |text: String| {
        let (name, value) = text.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    };
    Mapping {
        message: list("_msg_field", "vl-msg-field"),
        time: list("_time_field", "vl-time-field"),
        stream: (!stream.is_empty()).then_some(stream),
        ignore: list("ignore_fields", "vl-ignore-fields"),
        extra: list("extra_fields", "vl-extra-fields")
            .into_iter()
            .filter_map(pair)
            .collect(),
    }
}

/// The items of a list with commas.
fn list(
    query: &[(String, String)],
    headers: &HeaderMap,
    name: &str,
    header: &'static str,
) -> Vec<String> {
    let asked = query.iter().filter(|(n, _)| n == name);
    let asked: Vec<&str> = asked.map(|(_, value)| value.as_str()).collect();
    let told = headers.get_all(HeaderName::from_static(header));
    let told = told.iter().filter_map(|value| value.to_str().ok());
    let texts = if asked.iter().all(|text| text.is_empty()) {
        told.collect()
    } else {
        asked
    };
    let items = texts.into_iter().flat_map(|text| text.split(','));
    let items = items.map(str::trim).filter(|item| !item.is_empty());
    items.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn parameters_and_headers() {
        let uri = "/x?_msg_field=a,b&_msg_field=c&_stream_fields=&extra_fields=x%3D1,y%3D&z=1";
        let request = Request::get(uri)
            .header("VL-Msg-Field", "ignored")
            .header("VL-Stream-Fields", "s, t")
            .body(())
            .expect("a request");
        let mapping = of(&request.into_parts().0);
        assert_eq!(mapping.message, ["a", "b", "c"]);
        assert_eq!(mapping.stream, Some(vec!["s".to_owned(), "t".to_owned()]));
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(mapping.extra, [pair("x", "1"), pair("y", "")]);
        let none = of(&Request::get("/")
            .body(())
            .expect("a request")
            .into_parts()
            .0);
        assert_eq!(none, Mapping::default());
    }
}
