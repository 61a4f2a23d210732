//! Messages as Fluentd, Fluent Bit and fluent-logger send them.

use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::event::Mapping;

/// 2026-11-21T10:00:00Z
const SECONDS: u32 = 1_795_255_200;

fn text(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_text(&mut out, text);
    out
}

fn array(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![0x90 | items.len() as u8];
    out.extend(items.concat());
    out
}

fn map(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![0x80 | pairs.len() as u8];
    for (name, value) in pairs {
        out.extend(text(name));
        out.extend(value);
    }
    out
}

fn bin(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0xc5];
    out.extend((bytes.len() as u16).to_be_bytes());
    out.extend(bytes);
    out
}

fn seconds() -> Vec<u8> {
    let mut out = vec![0xce];
    out.extend(SECONDS.to_be_bytes());
    out
}

fn event_time(nanos: u32) -> Vec<u8> {
    let mut out = vec![0xd7, 0];
    out.extend(SECONDS.to_be_bytes());
    out.extend(nanos.to_be_bytes());
    out
}

fn record(line: &str) -> Vec<u8> {
    map(&[("message", text(line)), ("n", vec![7])])
}

fn read(message: &[u8]) -> Result<Option<Message>, WireError> {
    let (mapping, limits) = (Mapping::default(), Limits::default());
    let context = Context {
        mapping: &mapping,
        now: Timestamp::from_seconds(5),
        limits: &limits,
    };
    decode(message, context)
}

fn shown(message: &[u8]) -> Vec<String> {
    let message = read(message).unwrap().unwrap();
    let mut all = Vec::new();
    for stream in &message.entries.batch.streams {
        for record in &stream.records {
            let line = String::from_utf8_lossy(&record.line);
            all.push(format!(
                "{} {} {line} {}",
                stream.labels, record.time, record.metadata
            ));
        }
    }
    all.extend(message.chunk.map(|chunk| format!("ack {chunk}")));
    if message.entries.rejected > 0 {
        all.push(message.entries.message);
    }
    all
}

#[test]
fn every_mode() {
    let one = r#"{tag="a.b"} 2026-11-21T10:00:00Z x {n="7"}"#;
    let two = r#"{tag="a.b"} 2026-11-21T10:00:00.500Z y {n="7"}"#;
    let entries = [
        array(&[seconds(), record("x")]),
        array(&[event_time(500_000_000), record("y")]),
    ];
    let options = map(&[("chunk", text("c1")), ("size", vec![2])]);
    let message = array(&[text("a.b"), seconds(), record("x")]);
    assert_eq!(shown(&message), [one]);
    let message = array(&[text("a.b"), seconds(), record("x"), options.clone()]);
    assert_eq!(shown(&message), [one, "ack c1"]);
    let forward = array(&[text("a.b"), array(&entries), options.clone()]);
    assert_eq!(shown(&forward), [one, two, "ack c1"]);
    let packed = array(&[text("a.b"), bin(&entries.concat()), options]);
    assert_eq!(shown(&packed), [one, two, "ack c1"]);
    // Two members of gzip, as Fluentd appends to its chunks.
    let gzip = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    };
    let members = [gzip(&entries[0]), gzip(&entries[1])].concat();
    let options = map(&[("compressed", text("gzip"))]);
    let compressed = array(&[text("a.b"), bin(&members), options]);
    assert_eq!(shown(&compressed), [one, two]);
    let frame = zstd::stream::encode_all(entries.concat().as_slice(), 1).unwrap();
    let options = map(&[("compressed", text("zstd"))]);
    assert_eq!(
        shown(&array(&[text("a.b"), bin(&frame), options])),
        [one, two]
    );
    assert!(read(&[0xc0]).unwrap().is_none());
}

#[test]
fn fluent_bit_with_metadata() {
    let time = array(&[event_time(0), map(&[("otlp", vec![0x81, 0xa1, b'a', 1])])]);
    let expect = r#"{tag="t"} 2026-11-21T10:00:00Z x {n="7", otlp="{\"a\":1}"}"#;
    let entry = array(&[time.clone(), record("x")]);
    assert_eq!(
        shown(&array(&[text("t"), array(std::slice::from_ref(&entry))])),
        [expect]
    );
    assert_eq!(shown(&array(&[text("t"), bin(&entry)])), [expect]);
    assert_eq!(shown(&array(&[text("t"), time, record("x")])), [expect]);
    let options = map(&[("fluent_signal", vec![1]), ("chunk", text("c"))]);
    let metrics = array(&[text("t"), bin(b"\x01"), options]);
    let told = "metrics and traces of Fluent Bit are not read here";
    assert_eq!(shown(&metrics), ["ack c", told]);
}

#[test]
fn kubernetes_and_records_without_a_line() {
    let kubernetes = map(&[("pod_name", text("p")), ("namespace_name", text("n"))]);
    let record = map(&[
        ("log", text("x\n")),
        ("kubernetes", kubernetes),
        ("stream", text("stdout")),
    ]);
    assert_eq!(
        shown(&array(&[text("kube.x"), seconds(), record])),
        [r#"{namespace="n", pod="p"} 2026-11-21T10:00:00Z x {stream="stdout", tag="kube.x"}"#]
    );
    let record = map(&[("b", vec![1]), ("a", array(&[vec![0xc0]]))]);
    assert_eq!(
        shown(&array(&[text("t"), seconds(), record])),
        [r#"{tag="t"} 2026-11-21T10:00:00Z {"b":1,"a":[null]} {}"#]
    );
}

#[test]
fn entries_alone() {
    let (mapping, limits) = (Mapping::default(), Limits::default());
    let context = Context {
        mapping: &mapping,
        now: Timestamp::from_seconds(5),
        limits: &limits,
    };
    let mut body = array(&[event_time(0), record("x")]);
    body.extend(array(&[event_time(1), record("y")]));
    body.push(0x92);
    let decoded = decode_entries(&body, context).unwrap();
    assert_eq!((decoded.batch.record_count(), decoded.rejected), (2, 1));
    assert_eq!(decoded.batch.streams[0].labels.get("job"), Some(JOB));
}

#[test]
fn faults() {
    for bytes in [
        &b"\x01"[..],
        b"\x91\xa1a",
        b"\x92\x01\x90",
        b"\x93\xa1a\x01",
    ] {
        assert!(read(bytes).is_err(), "{bytes:?}");
    }
    let entries = array(&[
        array(&[seconds(), vec![1]]),
        vec![0x90],
        array(&[seconds(), record("x")]),
    ]);
    let found = shown(&array(&[text("t"), entries]));
    assert_eq!(found.len(), 2);
    assert!(found[1].contains("records that are maps"), "{found:?}");
    let mut framer = Framer::default();
    framer.push(b"\xc0\x92\xa1a");
    assert_eq!(
        framer.next_message().unwrap().as_deref(),
        Some(&b"\xc0"[..])
    );
    assert_eq!(framer.next_message().unwrap(), None);
    framer.push(b"\x90\xc1");
    assert_eq!(
        framer.next_message().unwrap().as_deref(),
        Some(&b"\x92\xa1a\x90"[..])
    );
    assert!(framer.next_message().is_err());
}

#[test]
fn handshake() {
    let ping = array(&[
        text("PING"),
        text("host"),
        bin(b"\xffsalt"),
        text("digest"),
        text(""),
        text(""),
    ]);
    let expect = Ping {
        host: b"host".to_vec(),
        salt: b"\xffsalt".to_vec(),
        digest: b"digest".to_vec(),
    };
    assert_eq!(decode_ping(&ping), Ok(expect));
    assert!(decode_ping(&array(&[text("PONG"), text(""), text(""), text("")])).is_err());
    assert_eq!(pong(Ok(("h", "d"))), b"\x95\xa4PONG\xc3\xa0\xa1h\xa1d");
    assert_eq!(pong(Err("no")), b"\x95\xa4PONG\xc2\xa2no\xa0\xa0");
    assert_eq!(ack("c"), b"\x81\xa3ack\xa1c");
    assert_eq!(
        to_json(&helo("n")),
        br#"["HELO",{"nonce":"n","auth":"","keepalive":true}]"#
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_are_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..120), at in 0usize..200, byte in any::<u8>()) {
        let _read = read(&bytes);
        let entries = array(&[array(&[event_time(1), record("x")]), array(&[seconds(), record("y")])]);
        let mut message = array(&[text("a"), entries, map(&[("chunk", text("c"))])]);
        let place = at % message.len();
        message[place] = byte;
        if let Ok(Some(message)) = read(&message) {
            prop_assert!(message.entries.batch.record_count() <= 200);
        }
    }
}
