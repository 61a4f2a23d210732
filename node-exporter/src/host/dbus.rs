//! The part of D-Bus that asks services for properties: calls with texts, answers of any type.
//!
//! Specification: <https://dbus.freedesktop.org/doc/dbus-specification.html>. Invariant: decoding
//! never allocates from a length that the answer declares, and types nest at most [`DEPTH_MAX`].

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Bytes of one message; ListUnits of a machine with 10,000 units has about 3 MB.
const MESSAGE_BYTES_MAX: usize = 32 << 20;
const DEPTH_MAX: u32 = 16;
/// Bytes of a line while we make ourselves known.
const LINE_BYTES_MAX: usize = 1 << 10;
const TIMEOUT: Duration = Duration::from_secs(5);

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const REPLY_SERIAL: u8 = 5;
const SIGNATURE: u8 = 8;

/// A value of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Number(u64),
    Double(f64),
    Text(String),
    /// Arrays, structures and entries of dictionaries.
    List(Vec<Value>),
}

impl Value {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(_) | Self::Double(_) | Self::List(_) => None,
        }
    }

    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Double(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    pub(super) fn list(&self) -> &[Value] {
        match self {
            Self::List(list) => list,
            Self::Number(_) | Self::Double(_) | Self::Text(_) => &[],
        }
    }
}

/// What a method is called on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object<'a> {
    pub(super) service: &'a str,
    pub(super) path: &'a str,
}

/// A connection to the bus, or to a service that needs none.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    serial: u32,
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("D-Bus: {what}"))
}

impl Connection {
    /// Connects; `on_bus` is false for a service that is spoken to directly.
    pub(super) fn open(socket: &Path, on_bus: bool) -> Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let user = rustix::process::getuid().as_raw().to_string();
        let hex: String = user.bytes().map(|byte| format!("{byte:02x}")).collect();
        write!(stream, "\0AUTH EXTERNAL {hex}\r\n")?;
        let answer = line(&mut stream)?;
        if !answer.starts_with("OK ") {
            return Err(Error::new(ErrorKind::PermissionDenied, answer));
        }
        write!(stream, "BEGIN\r\n")?;
        let mut connection = Self { stream, serial: 0 };
        if on_bus {
            let bus = Object {
                service: "org.freedesktop.DBus",
                path: "/org/freedesktop/DBus",
            };
            connection.call(bus, "org.freedesktop.DBus", "Hello", &[])?;
        }
        Ok(connection)
    }

    /// Calls a method with texts.
    pub(super) fn call(
        &mut self,
        object: Object<'_>,
        interface: &str,
        method: &str,
        arguments: &[&str],
    ) -> Result<Vec<Value>> {
        self.serial += 1;
        let message = encode(self.serial, object, interface, method, arguments);
        self.stream.write_all(&message)?;
        loop {
            let message = self.receive()?;
            let answer = decode(&message)?;
            // Signals and answers to nobody pass by.
            if answer.reply_serial != Some(self.serial) {
                continue;
            }
            return match answer.kind {
                METHOD_RETURN => Ok(answer.body),
                ERROR => {
                    let text = answer.body.first().and_then(Value::text);
                    Err(Error::other(text.unwrap_or("the call failed").to_owned()))
                }
                _ => continue,
            };
        }
    }

    /// A property of an object.
    pub(super) fn property(
        &mut self,
        object: Object<'_>,
        interface: &str,
        name: &str,
    ) -> Result<Value> {
        let properties = "org.freedesktop.DBus.Properties";
        let answer = self.call(object, properties, "Get", &[interface, name])?;
        let value = answer.into_iter().next();
        value.ok_or_else(|| malformed("a property without a value"))
    }

    fn receive(&mut self) -> Result<Vec<u8>> {
        let mut message = vec![0; 16];
        self.stream.read_exact(&mut message)?;
        let (fields, body) = lengths(&message)?;
        let rest = fields
            .checked_next_multiple_of(8)
            .and_then(|fields| fields.checked_add(body));
        let rest = rest.filter(|rest| *rest <= MESSAGE_BYTES_MAX);
        let rest = rest.ok_or_else(|| malformed("a message that is too long"))?;
        // Grows with what comes, not with what is said.
        let mut stream = (&mut self.stream).take(rest as u64);
        stream.read_to_end(&mut message)?;
        if message.len() != 16 + rest {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(message)
    }
}

fn line(stream: &mut UnixStream) -> Result<String> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n") {
        stream.read_exact(&mut byte)?;
        bytes.extend(byte);
        if bytes.len() > LINE_BYTES_MAX {
            return Err(malformed("a line that does not end"));
        }
    }
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn pad(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    pad(out, 4);
    let length = u32::try_from(text.len()).unwrap_or_default();
    out.extend(length.to_le_bytes());
    out.extend(text.bytes());
    out.push(0);
}

fn encode(
    serial: u32,
    object: Object<'_>,
    interface: &str,
    method: &str,
    arguments: &[&str],
) -> Vec<u8> {
    let mut body = Vec::new();
    for argument in arguments {
        put_text(&mut body, argument);
    }
    let mut out = vec![b'l', METHOD_CALL, 0, 1];
    out.extend(u32::try_from(body.len()).unwrap_or_default().to_le_bytes());
    out.extend(serial.to_le_bytes());
    out.extend([0; 4]);
    for (code, kind, text) in [
        (1, b'o', object.path),
        (2, b's', interface),
        (3, b's', method),
        (6, b's', object.service),
    ] {
        pad(&mut out, 8);
        out.extend([code, 1, kind, 0]);
        put_text(&mut out, text);
    }
    if !arguments.is_empty() {
        pad(&mut out, 8);
        let count = u8::try_from(arguments.len()).unwrap_or_default();
        out.extend([SIGNATURE, 1, b'g', 0, count]);
        out.extend(std::iter::repeat_n(b's', arguments.len()));
        out.push(0);
    }
    let fields = u32::try_from(out.len() - 16).unwrap_or_default();
    out[12..16].copy_from_slice(&fields.to_le_bytes());
    pad(&mut out, 8);
    out.extend(body);
    out
}

#[derive(Debug)]
struct Answer {
    kind: u8,
    reply_serial: Option<u32>,
    body: Vec<Value>,
}

/// Lengths of the header's fields and of the body.
fn lengths(head: &[u8]) -> Result<(usize, usize)> {
    let mut reader = Reader::new(head)?;
    reader.at = 4;
    let body = reader.u32()?;
    reader.at = 12;
    let fields = reader.u32()?;
    Ok((fields as usize, body as usize))
}

fn decode(message: &[u8]) -> Result<Answer> {
    let mut reader = Reader::new(message)?;
    let kind = message.get(1).copied();
    let kind = kind.ok_or_else(|| malformed("no type"))?;
    reader.at = 12;
    let fields = reader.value(&mut Types(b"a(yv)"), 0)?;
    reader.align(8)?;
    let (mut reply_serial, mut signature) = (None, String::new());
    for field in fields.list() {
        if let [Value::Number(code), value] = field.list() {
            match (u8::try_from(*code), value) {
                (Ok(REPLY_SERIAL), value) => {
                    reply_serial = value.number().and_then(|n| u32::try_from(n).ok());
                }
                (Ok(SIGNATURE), Value::Text(text)) => text.clone_into(&mut signature),
                _ => {}
            }
        }
    }
    // The types of a body are counted from its begin, which lies on a multiple of 8.
    let mut body = Vec::new();
    let mut types = Types(signature.as_bytes());
    while !types.0.is_empty() {
        body.push(reader.value(&mut types, 0)?);
    }
    Ok(Answer {
        kind,
        reply_serial,
        body,
    })
}

/// What is left of a signature.
#[derive(Clone, Copy)]
struct Types<'a>(&'a [u8]);

impl<'a> Types<'a> {
    fn next(&mut self) -> Result<u8> {
        let (first, rest) = self
            .0
            .split_first()
            .ok_or_else(|| malformed("a signature"))?;
        self.0 = rest;
        Ok(*first)
    }

    /// Takes one complete type.
    fn skip(&mut self, depth: u32) -> Result<()> {
        if depth > DEPTH_MAX {
            return Err(malformed("types that nest too deeply"));
        }
        match self.next()? {
            b'a' => self.skip(depth + 1),
            open @ (b'(' | b'{') => {
                let close = if open == b'(' { b')' } else { b'}' };
                while self.0.first().is_some_and(|next| *next != close) {
                    self.skip(depth + 1)?;
                }
                self.next().map(|_| ())
            }
            _ => Ok(()),
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big: bool,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self> {
        let big = match bytes.first() {
            Some(b'l') => false,
            Some(b'B') => true,
            _ => return Err(malformed("a byte order")),
        };
        Ok(Self { bytes, at: 0, big })
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| malformed("a message that is cut"))?;
        self.at += count;
        Ok(taken)
    }

    fn align(&mut self, to: usize) -> Result<()> {
        let gap = self.at.next_multiple_of(to) - self.at;
        self.take(gap).map(|_| ())
    }

    /// An integer of `size` bytes, aligned to its size.
    fn integer(&mut self, size: usize) -> Result<u64> {
        self.align(size)?;
        let bytes = self.take(size)?;
        let step = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Ok(if self.big {
            bytes.iter().fold(0, step)
        } else {
            bytes.iter().rev().fold(0, step)
        })
    }

    fn u32(&mut self) -> Result<u32> {
        let number = self.integer(4)?;
        u32::try_from(number).map_err(|_| malformed("a number of 32 bits"))
    }

    fn text(&mut self, length: usize) -> Result<Value> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(Value::Text(text))
    }

    fn value(&mut self, types: &mut Types<'_>, depth: u32) -> Result<Value> {
        if depth > DEPTH_MAX {
            return Err(malformed("values that nest too deeply"));
        }
        Ok(match types.next()? {
            b'y' => Value::Number(self.integer(1)?),
            b'n' | b'q' => Value::Number(self.integer(2)?),
            b'b' | b'i' | b'u' | b'h' => Value::Number(self.integer(4)?),
            b'x' | b't' => Value::Number(self.integer(8)?),
            b'd' => Value::Double(f64::from_bits(self.integer(8)?)),
            b's' | b'o' => {
                let length = self.u32()? as usize;
                self.text(length)?
            }
            b'g' => {
                let length = self.integer(1)?;
                self.text(usize::try_from(length).unwrap_or_default())?
            }
            b'v' => {
                let length = usize::try_from(self.integer(1)?).unwrap_or_default();
                let signature = self.take(length)?;
                self.take(1)?;
                self.value(&mut Types(signature), depth + 1)?
            }
            b'(' | b'{' => {
                self.align(8)?;
                let mut members = Vec::new();
                while !matches!(types.0.first(), Some(b')' | b'}')) {
                    members.push(self.value(types, depth + 1)?);
                }
                types.next()?;
                Value::List(members)
            }
            b'a' => self.array(types, depth)?,
            _ => return Err(malformed("an unknown type")),
        })
    }

    fn array(&mut self, types: &mut Types<'_>, depth: u32) -> Result<Value> {
        let length = self.u32()? as usize;
        let aligned = match types.0.first() {
            Some(b'(' | b'{' | b'x' | b't' | b'd') => 8,
            Some(b's' | b'o' | b'a' | b'b' | b'i' | b'u' | b'h') => 4,
            Some(b'n' | b'q') => 2,
            _ => 1,
        };
        self.align(aligned)?;
        let end = self.at.checked_add(length);
        let end = end.filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| malformed("an array that is cut"))?;
        let mut members = Vec::new();
        let mut after = *types;
        after.skip(depth)?;
        while self.at < end {
            let before = self.at;
            members.push(self.value(&mut types.clone(), depth + 1)?);
            if self.at == before {
                // `a()`: members without bytes would never end.
                return Err(malformed("members without bytes"));
            }
        }
        *types = after;
        Ok(Value::List(members))
    }
}

#[cfg(test)]
pub(super) mod fake;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let object = Object {
            service: "a.b",
            path: "/a/b",
        };
        let message = encode(7, object, "a.b.C", "Get", &["x", "yz"]);
        let answer = decode(&message).unwrap();
        assert_eq!(answer.kind, METHOD_CALL);
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(answer.body, [text("x"), text("yz")]);
        let (fields, body) = lengths(&message).unwrap();
        assert_eq!(16 + fields.next_multiple_of(8) + body, message.len());
    }

    #[test]
    fn hostile_messages_are_refused() {
        for signature in [
            "a()",
            "aaaaaaaaaaaaaaaaaaaaaay",
            "(",
            "a",
            "z",
            "((((((((((((((((((y",
        ] {
            let bytes = fake::reply(1, signature, &[4, 0, 0, 0, 1, 2, 3, 4]);
            assert!(decode(&bytes).is_err(), "{signature}");
        }
        let long = fake::reply(1, "s", &u32::MAX.to_le_bytes());
        assert!(decode(&long).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn arbitrary_bytes_do_not_panic(
            signature in "[ybnqiuxtdsogva(){}]{0,8}",
            body in prop::collection::vec(any::<u8>(), 0..200),
            cut in 0..300_usize,
        ) {
            let mut bytes = fake::reply(1, &signature, &body);
            if let Ok(answer) = decode(&bytes) {
                prop_assert!(answer.body.len() <= signature.len());
            }
            bytes.truncate(cut);
            prop_assert!(decode(&bytes).is_err() || cut >= 16);
            let mut noise = vec![b'l'];
            noise.extend(body);
            prop_assert!(decode(&noise).is_err() || noise.len() >= 16);
        }
    }
}
