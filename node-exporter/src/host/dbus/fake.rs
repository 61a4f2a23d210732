//! A service on the far end of a socket, for tests.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;

use super::{METHOD_RETURN, REPLY_SERIAL, SIGNATURE, Value, decode, lengths, pad, put_text};

/// The answer to a call with these texts: signature and body.
pub(in crate::host) type Respond = fn(&[String]) -> Option<(&'static str, Vec<u8>)>;

/// A message that answers a call.
pub(super) fn reply(serial: u32, signature: &str, body: &[u8]) -> Vec<u8> {
    message(METHOD_RETURN, serial, signature, body)
}

fn message(kind: u8, serial: u32, signature: &str, body: &[u8]) -> Vec<u8> {
    let mut out = vec![b'l', kind, 0, 1];
    out.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
    out.extend(1_u32.to_le_bytes());
    out.extend([0; 4]);
    out.extend([REPLY_SERIAL, 1, b'u', 0]);
    out.extend(serial.to_le_bytes());
    pad(&mut out, 8);
    let length = u8::try_from(signature.len()).unwrap();
    out.extend([SIGNATURE, 1, b'g', 0, length]);
    out.extend(signature.bytes());
    out.push(0);
    let fields = u32::try_from(out.len() - 16).unwrap();
    out[12..16].copy_from_slice(&fields.to_le_bytes());
    pad(&mut out, 8);
    out.extend(body);
    out
}

/// A body of texts.
pub(in crate::host) fn texts(all: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for text in all {
        put_text(&mut out, text);
    }
    out
}

/// A variant with a text.
pub(in crate::host) fn variant_text(text: &str) -> Vec<u8> {
    let mut out = vec![1, b's', 0];
    put_text(&mut out, text);
    out
}

/// A variant with a number of the type `kind`.
pub(in crate::host) fn variant_number(kind: u8, number: u64) -> Vec<u8> {
    let mut out = vec![1, kind, 0];
    if kind == b't' {
        pad(&mut out, 8);
        out.extend(number.to_le_bytes());
    } else {
        pad(&mut out, 4);
        out.extend(u32::try_from(number).unwrap().to_le_bytes());
    }
    out
}

/// Serves one connection at a socket below `folder`.
pub(in crate::host) fn serve(
    folder: &std::path::Path,
    respond: Respond,
) -> (PathBuf, JoinHandle<()>) {
    let path = folder.join("bus");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = std::thread::Builder::new()
        .spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            one(&mut stream, respond);
        })
        .unwrap();
    (path, thread)
}

fn one(stream: &mut UnixStream, respond: Respond) {
    let mut zero = [0];
    stream.read_exact(&mut zero).unwrap();
    assert!(super::line(stream).unwrap().starts_with("AUTH EXTERNAL "));
    stream.write_all(b"OK 1234\r\n").unwrap();
    assert_eq!(super::line(stream).unwrap(), "BEGIN");
    loop {
        let mut call = vec![0; 16];
        if stream.read_exact(&mut call).is_err() {
            return;
        }
        let (fields, body) = lengths(&call).unwrap();
        call.resize(16 + fields.next_multiple_of(8) + body, 0);
        stream.read_exact(&mut call[16..]).unwrap();
        let serial = u32::from_le_bytes(*call[8..].first_chunk().unwrap());
        let mut words = header_texts(&call);
        let arguments = decode(&call).unwrap().body;
        words.extend(arguments.iter().filter_map(Value::text).map(str::to_owned));
        // Something that is not asked for comes before every answer.
        stream
            .write_all(&reply(0, "s", &texts(&["noise"])))
            .unwrap();
        let answer = match respond(&words) {
            Some((signature, body)) => reply(serial, signature, &body),
            None => message(super::ERROR, serial, "s", &texts(&["no such thing"])),
        };
        stream.write_all(&answer).unwrap();
    }
}

/// Path and member of a call.
fn header_texts(call: &[u8]) -> Vec<String> {
    let mut reader = super::Reader::new(call).unwrap();
    reader.at = 12;
    let fields = reader.value(&mut super::Types(b"a(yv)"), 0).unwrap();
    let text = |code: u64| {
        let find = fields
            .list()
            .iter()
            .find(|field| field.list()[0] == Value::Number(code));
        find.and_then(|field| field.list()[1].text())
            .unwrap()
            .to_owned()
    };
    vec![text(1), text(3)]
}
