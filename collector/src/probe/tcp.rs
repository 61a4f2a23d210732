//! TCP: a connection, and a conversation where the module has one.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http::Stream;
use super::module::{QueryResponse, Tcp};
use super::net::{self, Preference};
use super::report::Report;
use crate::http_client::handshake_for;

/// Longest line that is waited for.
const LINE_BYTES_MAX: usize = 64 << 10;

pub(super) async fn probe(target: &str, config: &Tcp, report: &mut Report) -> Result<bool, String> {
    regex(report, 0.0);
    let (host, port) = net::split(target)?;
    let preference = Preference {
        protocol: config.preferred_ip_protocol,
        fallback: config.ip_protocol_fallback.unwrap_or(true),
    };
    let (ip, _) = net::resolve(host, preference, report).await?;
    let stream = net::connect(SocketAddr::new(ip, port), config.source_ip_address).await?;
    report.note("Successfully dialed");
    let mut conversation = Conversation { config, host };
    if config.tls {
        let stream = conversation.secure(stream, report).await?;
        return conversation
            .talk(Box::new(stream), &config.query_response, report)
            .await;
    }
    // What is said before the connection is encrypted needs the bare one.
    let start = config.query_response.iter().position(|step| step.starttls);
    let Some(start) = start else {
        return conversation
            .talk(Box::new(stream), &config.query_response, report)
            .await;
    };
    let (before, after) = config.query_response.split_at(start);
    let mut stream = stream;
    for step in before.iter().chain(after.first()) {
        if !conversation.step(&mut stream, step, report).await? {
            return Ok(false);
        }
    }
    let stream = conversation.secure(stream, report).await?;
    let rest = after.get(1..).unwrap_or_default();
    conversation.talk(Box::new(stream), rest, report).await
}

fn regex(report: &mut Report, value: f64) {
    let help = "Indicates if probe failed due to regex";
    report.set("probe_failed_due_to_regex", help, value);
}

struct Conversation<'a> {
    config: &'a Tcp,
    host: &'a str,
}

impl Conversation<'_> {
    async fn secure(
        &self,
        stream: TcpStream,
        report: &mut Report,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
        let tls = &self.config.tls_config;
        let stream = handshake_for(stream, (tls, self.host), &[]).await?;
        net::tell(&stream, tls, report);
        Ok(stream)
    }

    async fn talk(
        &mut self,
        mut stream: Box<dyn Stream>,
        steps: &[QueryResponse],
        report: &mut Report,
    ) -> Result<bool, String> {
        for step in steps {
            if !self.step(&mut *stream, step, report).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn step<S: Stream + ?Sized>(
        &mut self,
        stream: &mut S,
        step: &QueryResponse,
        report: &mut Report,
    ) -> Result<bool, String> {
        let lost = |e: std::io::Error| format!("error reading from connection: {e}");
        let mut send = step.send.clone();
        if step.expect.is_some() {
            match self.expect(stream, step, report).await? {
                Some(expanded) => send = expanded,
                None => {
                    regex(report, 1.0);
                    return Ok(false);
                }
            }
        }
        if !step.expect_bytes.is_empty() {
            let mut found = vec![0; step.expect_bytes.len()];
            stream.read_exact(&mut found).await.map_err(lost)?;
            if found != step.expect_bytes.as_bytes() {
                report.note("Bytes did not match");
                return Ok(false);
            }
        }
        if !send.is_empty() {
            send.push('\n');
            stream.write_all(send.as_bytes()).await.map_err(lost)?;
            stream.flush().await.map_err(lost)?;
        }
        Ok(true)
    }

    /// Waits for a line that matches; gives what is to be sent with `$1` and `${1}` as the line has
    /// them, or `None` where the other side ends before.
    async fn expect<S: Stream + ?Sized>(
        &mut self,
        stream: &mut S,
        step: &QueryResponse,
        report: &mut Report,
    ) -> Result<Option<String>, String> {
        let Some(expect) = &step.expect else {
            return Ok(Some(step.send.clone()));
        };
        loop {
            let Some(line) = line(stream).await? else {
                report.note("The connection ended before a line matched");
                return Ok(None);
            };
            report.note(format!("Read line {:?}", String::from_utf8_lossy(&line)));
            let Some(found) = expect.0.regex().captures(&line) else {
                continue;
            };
            let expand = |template: &str| {
                let mut out = Vec::new();
                found.expand(template.as_bytes(), &mut out);
                String::from_utf8_lossy(&out).into_owned()
            };
            if !step.labels.is_empty() {
                let values: Vec<_> = step
                    .labels
                    .iter()
                    .map(|l| (l.name.as_str(), expand(&l.value)))
                    .collect();
                let pairs: Vec<_> = values.iter().map(|(n, v)| (*n, v.as_str())).collect();
                let what = ("probe_expect_info", "Explicit content matched");
                report.with(what, &pairs, 1.0);
            }
            return Ok(Some(expand(&step.send)));
        }
    }
}

/// A line without its end, byte by byte: what follows may be a handshake.
async fn line<S: Stream + ?Sized>(stream: &mut S) -> Result<Option<Vec<u8>>, String> {
    let mut out = Vec::new();
    let mut byte = [0];
    while out.len() < LINE_BYTES_MAX {
        let read = stream.read(&mut byte).await;
        match read.map_err(|e| format!("error reading from connection: {e}"))? {
            0 => return Ok((!out.is_empty()).then_some(out)),
            _ if byte[0] == b'\n' => {
                if out.last() == Some(&b'\r') {
                    out.pop();
                }
                return Ok(Some(out));
            }
            _ => out.push(byte[0]),
        }
    }
    Err(format!("a line is longer than {LINE_BYTES_MAX} bytes"))
}
