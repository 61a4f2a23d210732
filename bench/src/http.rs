//! A blocking HTTP/1.1 client for loopback: one connection, kept alive, so that the sender takes
//! as little of the machine as it can from the system that is measured.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

/// Longest silence that is waited for: a forced merge answers when it is done.
const SILENCE_MAX: Duration = Duration::from_secs(900);
/// Longest answer that is read.
const BODY_BYTES_MAX: u64 = 1 << 30;

/// A status and a body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body of a success; else an error that quotes the start of the body.
    pub(crate) fn success(self) -> anyhow::Result<Vec<u8>> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        let text = String::from_utf8_lossy(&self.body);
        let text: String = text.trim().chars().take(200).collect();
        bail!("HTTP {}: {text}", self.status)
    }
}

/// A connection that is opened when it is needed.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    /// A client of the server at an address.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
        }
    }

    /// `GET`.
    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        self.request("GET", path, &[], &[])
    }

    /// `POST` with headers.
    pub(crate) fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Answer> {
        self.request("POST", path, headers, body)
    }

    fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        stream.get_mut().write_all(&bytes).context("send")?;
        let (answer, keep) = read_answer(&mut stream)?;
        if keep {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    fn connect(&self) -> anyhow::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(self.address)
            .with_context(|| format!("connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        Ok(BufReader::with_capacity(1 << 16, stream))
    }
}

/// Reads one answer; true when the connection can be used again.
fn read_answer(stream: &mut impl BufRead) -> anyhow::Result<(Answer, bool)> {
    let line = read_line(stream)?;
    let status: u16 = line
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .with_context(|| format!("expected a status line, found {line:?}"))?;
    let (mut length, mut chunked, mut keep) = (None, false, true);
    loop {
        let line = read_line(stream)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = Some(value.parse::<u64>().context("content-length")?),
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => keep = !value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    let mut body = Vec::new();
    if chunked {
        read_chunks(stream, &mut body)?;
    } else if let Some(length) = length {
        read_exactly(stream, length, &mut body)?;
    } else if status != 204 && status != 304 {
        stream.take(BODY_BYTES_MAX).read_to_end(&mut body)?;
        keep = false;
    }
    Ok((Answer { status, body }, keep))
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> anyhow::Result<()> {
    loop {
        let line = read_line(stream)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16)
            .with_context(|| format!("expected a chunk size, found {line:?}"))?;
        read_exactly(stream, size, body)?;
        let end = read_line(stream)?;
        anyhow::ensure!(end.is_empty(), "expected the end of a chunk, found {end:?}");
        if size == 0 {
            return Ok(());
        }
    }
}

fn read_exactly(stream: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> anyhow::Result<()> {
    let room = BODY_BYTES_MAX.saturating_sub(body.len() as u64);
    anyhow::ensure!(
        length <= room,
        "answer has more than {BODY_BYTES_MAX} bytes"
    );
    let read = stream.take(length).read_to_end(body)?;
    anyhow::ensure!(
        read as u64 == length,
        "answer ended after {read} of {length} bytes"
    );
    Ok(())
}

fn read_line(stream: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = Vec::new();
    stream.take(1 << 16).read_until(b'\n', &mut line)?;
    anyhow::ensure!(line.ends_with(b"\n"), "connection closed within an answer");
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<(u16, &str, bool)>) {
        let found = read_answer(&mut text.as_bytes()).ok();
        let found = found.map(|(a, keep)| {
            let body = String::from_utf8(a.body).expect("text");
            (a.status, body, keep)
        });
        assert_eq!(
            found,
            expect.map(|(s, b, k)| (s, b.to_owned(), k)),
            "{text}"
        );
    }

    #[test]
    fn answers() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Some((200, "ok", true)),
        );
        check(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
            Some((200, "abcd", true)),
        );
        check("HTTP/1.1 204 No Content\r\n\r\n", Some((204, "", true)));
        check(
            "HTTP/1.1 500 Oh\r\nConnection: close\r\n\r\nbad",
            Some((500, "bad", false)),
        );
        check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", None);
        check("nonsense\r\n\r\n", None);
        check("", None);
    }
}
