//! Mail: a client of SMTP (RFC 5321) with TLS from the start or by STARTTLS (RFC 3207), and AUTH
//! with PLAIN, LOGIN and CRAM-MD5.
//!
//! Invariants: every wait has a deadline and every answer a bound; no password goes over a
//! connection without TLS by PLAIN, but to this machine; nothing that was said before STARTTLS
//! counts after it.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use obs_alerting::notify::receivers::Settings;
use obs_alerting::notify::requests::{Failure, Mail};
use obs_collector::config::TlsConfig;
use obs_collector::http_client::handshake;
use obs_collector::outgoing::Addresses;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// How long one step may take: a connection, a command and its answer.
const STEP_MAX: Duration = Duration::from_secs(60);
/// Bytes of a line of an answer; the standard has 512.
const LINE_BYTES_MAX: u64 = 4096;
/// Lines of one answer.
const LINES_MAX: usize = 128;

/// Both kinds of connections.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A server's answer: its code and its lines.
struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl Reply {
    fn shown(&self) -> String {
        format!("{} {}", self.code, self.lines.join(" "))
    }
}

/// A conversation.
struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    /// What the server can do, by name, in upper case.
    extensions: BTreeMap<String, String>,
    encrypted: bool,
}

/// Hands a mail over to the server of the settings.
pub(super) async fn send(
    settings: &Settings,
    files: &BTreeMap<&'static str, String>,
    (tls, addresses): (&TlsConfig, &Addresses),
    mail: &Mail,
) -> Result<(), Failure> {
    let (host, port) = smarthost(settings.text("smarthost"))?;
    let implicit = settings.choice("force_implicit_tls").unwrap_or(port == 465);
    let mut connection = Connection::open((host, port), implicit.then_some(tls), addresses).await?;
    let hello = match settings.text("hello") {
        "" => "localhost",
        hello => hello,
    };
    connection.hello(hello).await?;
    if settings.flag("require_tls") && !implicit {
        if !connection.extensions.contains_key("STARTTLS") {
            return Err(Failure::passing(format!(
                "'require_tls' is true (default) but \"{host}:{port}\" does not advertise the STARTTLS extension"
            )));
        }
        connection = connection.start_tls(tls, host).await?;
        connection.hello(hello).await?;
    }
    if let Some(mechanisms) = connection.extensions.get("AUTH").cloned() {
        let secrets = Secrets { settings, files };
        connection.log_in(&mechanisms, &secrets, host).await?;
    }
    connection.hand_over(mail).await?;
    // The mail has arrived, whatever is answered to the farewell.
    drop(connection.command("QUIT", "QUIT", &[221]).await);
    Ok(())
}

fn smarthost(text: &str) -> Result<(&str, u16), Failure> {
    let fault = || Failure::last(format!("smarthost: expected host:port, found {text:?}"));
    let (host, port) = text.rsplit_once(':').ok_or_else(fault)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match port.parse() {
        Ok(port) if !host.is_empty() => Ok((host, port)),
        _ => Err(fault()),
    }
}

/// What the account has, in the settings or in files.
struct Secrets<'a> {
    settings: &'a Settings,
    files: &'a BTreeMap<&'static str, String>,
}

impl Secrets<'_> {
    /// A file goes before what stands in the settings.
    fn get(&self, key: &str, file: &str) -> String {
        match self.files.get(file) {
            Some(text) => text.trim().to_owned(),
            None => self.settings.text(key).to_owned(),
        }
    }
}

/// Waits for a step, but not for ever.
async fn within<T>(
    what: &str,
    step: impl Future<Output = std::io::Result<T>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(STEP_MAX, step).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Failure::passing(format!("{what}: {error}"))),
        Err(_) => Err(Failure::passing(format!(
            "{what}: no answer within {STEP_MAX:?}"
        ))),
    }
}

impl Connection {
    async fn open(
        (host, port): (&str, u16),
        tls: Option<&TlsConfig>,
        addresses: &Addresses,
    ) -> Result<Self, Failure> {
        let what = "establish connection to server";
        let stream = within(what, addresses.connect(host, port)).await?;
        let mut connection = Self::on(Box::new(stream));
        if let Some(tls) = tls {
            connection = connection.encrypt(tls, host).await?;
        }
        let what = "create SMTP client";
        let greeting = connection.reply(what).await?;
        expect(what, greeting, &[220])?;
        Ok(connection)
    }

    fn on(stream: Box<dyn Stream>) -> Self {
        Self {
            stream: BufReader::new(stream),
            extensions: BTreeMap::new(),
            encrypted: false,
        }
    }

    async fn encrypt(self, tls: &TlsConfig, host: &str) -> Result<Self, Failure> {
        let what = "establish TLS connection to server";
        if !self.stream.buffer().is_empty() {
            return Err(Failure::passing(format!(
                "{what}: the server spoke before TLS began"
            )));
        }
        let stream = self.stream.into_inner();
        let shaken = async {
            handshake(stream, tls, host)
                .await
                .map_err(std::io::Error::other)
        };
        let mut encrypted = Self::on(Box::new(within(what, shaken).await?));
        encrypted.encrypted = true;
        Ok(encrypted)
    }

    async fn start_tls(mut self, tls: &TlsConfig, host: &str) -> Result<Self, Failure> {
        self.command("send STARTTLS command", "STARTTLS", &[220])
            .await?;
        self.encrypt(tls, host).await
    }

    /// Says who we are, and learns what the server can do.
    async fn hello(&mut self, name: &str) -> Result<(), Failure> {
        let what = "send EHLO command";
        self.say(what, &format!("EHLO {name}")).await?;
        let reply = self.reply(what).await?;
        self.extensions.clear();
        if reply.code != 250 {
            // An old server.
            self.command(what, &format!("HELO {name}"), &[250]).await?;
            return Ok(());
        }
        for line in reply.lines.iter().skip(1).map(String::as_str) {
            let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
            self.extensions
                .insert(name.to_ascii_uppercase(), rest.to_owned());
        }
        Ok(())
    }

    /// Logs in with the first mechanism of the server that can be used.
    async fn log_in(
        &mut self,
        mechanisms: &str,
        secrets: &Secrets<'_>,
        host: &str,
    ) -> Result<(), Failure> {
        let user = secrets.settings.text("auth_username");
        if user.is_empty() {
            return Ok(());
        }
        let password = secrets.get("auth_password", "auth_password_file");
        let secret = secrets.get("auth_secret", "auth_secret_file");
        let mut faults = Vec::new();
        for mechanism in mechanisms.split(' ') {
            match mechanism {
                "CRAM-MD5" if !secret.is_empty() => return self.cram_md5(user, &secret).await,
                "PLAIN" if !password.is_empty() => {
                    let local = ["localhost", "127.0.0.1", "::1"].contains(&host);
                    if !self.encrypted && !local {
                        return Err(Failure::passing("PLAIN auth: unencrypted connection"));
                    }
                    let identity = secrets.settings.text("auth_identity");
                    let text = STANDARD.encode(format!("{identity}\0{user}\0{password}"));
                    let line = format!("AUTH PLAIN {text}");
                    return self.command("PLAIN auth", &line, &[235]).await.map(drop);
                }
                "LOGIN" if !password.is_empty() => return self.login(user, &password).await,
                "CRAM-MD5" => faults.push("missing secret for CRAM-MD5 auth mechanism".to_owned()),
                "PLAIN" | "LOGIN" => {
                    faults.push(format!("missing password for {mechanism} auth mechanism"));
                }
                other => faults.push(format!("unknown auth mechanism: {other}")),
            }
        }
        let faults = faults.join("; ");
        Err(Failure::passing(format!("find auth mechanism: {faults}")))
    }

    async fn cram_md5(&mut self, user: &str, secret: &str) -> Result<(), Failure> {
        let what = "CRAM-MD5 auth";
        let asked = self.command(what, "AUTH CRAM-MD5", &[334]).await?;
        let challenge = STANDARD.decode(asked.lines.concat().trim());
        let challenge = challenge.map_err(|e| Failure::passing(format!("{what}: {e}")))?;
        let answer = STANDARD.encode(format!(
            "{user} {}",
            hmac_md5(secret.as_bytes(), &challenge)
        ));
        self.command(what, &answer, &[235]).await.map(drop)
    }

    async fn login(&mut self, user: &str, password: &str) -> Result<(), Failure> {
        let what = "LOGIN auth";
        let mut asked = self.command(what, "AUTH LOGIN", &[334]).await?;
        for _ in 0..2 {
            let prompt = STANDARD
                .decode(asked.lines.concat().trim())
                .unwrap_or_default();
            let answer = match prompt.to_ascii_lowercase().as_slice() {
                b"username:" | b"user name\0" => user,
                b"password:" | b"password\0" => password,
                _ => {
                    return Err(Failure::passing(format!(
                        "{what}: unexpected server challenge"
                    )));
                }
            };
            let answer = STANDARD.encode(answer);
            asked = self.command(what, &answer, &[334, 235]).await?;
            if asked.code == 235 {
                return Ok(());
            }
        }
        Err(Failure::passing(format!("{what}: {}", asked.shown())))
    }

    async fn hand_over(&mut self, mail: &Mail) -> Result<(), Failure> {
        let plain = mail
            .to
            .iter()
            .chain([&mail.from])
            .all(|address| address.is_ascii());
        let more = match (plain, self.extensions.contains_key("SMTPUTF8")) {
            (true, _) => "",
            (false, true) => " SMTPUTF8",
            (false, false) => {
                let text = "the server does not advertise SMTPUTF8, which an address needs";
                return Err(Failure::last(text));
            }
        };
        let line = format!("MAIL FROM:<{}>{more}", mail.from);
        self.command("send MAIL command", &line, &[250]).await?;
        for address in &mail.to {
            let line = format!("RCPT TO:<{address}>");
            self.command("send RCPT command", &line, &[250, 251])
                .await?;
        }
        self.command("send DATA command", "DATA", &[354]).await?;
        let what = "delivery failure";
        let stuffed = stuffed(&mail.message);
        within(what, self.stream.write_all(&stuffed)).await?;
        within(what, self.stream.flush()).await?;
        let reply = self.reply(what).await?;
        expect(what, reply, &[250]).map(drop)
    }

    async fn command(&mut self, what: &str, line: &str, wanted: &[u16]) -> Result<Reply, Failure> {
        self.say(what, line).await?;
        let reply = self.reply(what).await?;
        expect(what, reply, wanted)
    }

    async fn say(&mut self, what: &str, line: &str) -> Result<(), Failure> {
        if line.contains(['\r', '\n']) {
            return Err(Failure::last(format!("{what}: a line with an end inside")));
        }
        let line = format!("{line}\r\n");
        within(what, self.stream.write_all(line.as_bytes())).await?;
        within(what, self.stream.flush()).await
    }

    async fn reply(&mut self, what: &str) -> Result<Reply, Failure> {
        let mut lines = Vec::new();
        for _ in 0..LINES_MAX {
            let mut line = Vec::new();
            let mut bounded = (&mut self.stream).take(LINE_BYTES_MAX);
            within(what, bounded.read_until(b'\n', &mut line)).await?;
            let line = String::from_utf8_lossy(&line);
            let Some(text) = line.strip_suffix('\n') else {
                return Err(Failure::passing(format!(
                    "{what}: the server ended the conversation"
                )));
            };
            let text = text.trim_end_matches('\r');
            let code = text.get(..3).and_then(|code| code.parse().ok());
            let Some(code) = code.filter(|code| (200..600).contains(code)) else {
                return Err(Failure::passing(format!(
                    "{what}: expected an answer of SMTP, found {text:?}"
                )));
            };
            lines.push(text.get(4..).unwrap_or("").to_owned());
            if text.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
        Err(Failure::passing(format!(
            "{what}: an answer of more than {LINES_MAX} lines"
        )))
    }
}

fn expect(what: &str, reply: Reply, wanted: &[u16]) -> Result<Reply, Failure> {
    match wanted.contains(&reply.code) {
        true => Ok(reply),
        false => Err(Failure::passing(format!("{what}: {}", reply.shown()))),
    }
}

/// The message as it goes over the wire: no line of it can end it, and its end is there.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 5);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// RFC 2104 with MD5, in hexadecimal.
fn hmac_md5(key: &[u8], text: &[u8]) -> String {
    const BLOCK: usize = 64;
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..16].copy_from_slice(&Md5::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Md5::new()
        .chain_update(pad(0x36))
        .chain_update(text)
        .finalize();
    let outer = Md5::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_challenges_are_those_of_the_standard() {
        // RFC 2195, section 2.
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        assert_eq!(
            hmac_md5(b"tanstaaftanstaaf", challenge),
            "b913a602c7eda7a495b4e6e7334d3890"
        );
        // RFC 2202, test case 6: a key that is longer than a block.
        let long = [0xaa; 80];
        let text = b"Test Using Larger Than Block-Size Key - Hash Key First";
        assert_eq!(hmac_md5(&long, text), "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd");
    }

    #[test]
    fn no_line_ends_a_message() {
        let cases: [(&[u8], &[u8]); 3] = [
            (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
            (b".a", b"..a\r\n.\r\n"),
            (b"a\n.\nb", b"a\n..\nb\r\n.\r\n"),
        ];
        for (message, expect) in cases {
            assert_eq!(stuffed(message), expect);
        }
    }

    #[test]
    fn hosts_have_ports() {
        assert_eq!(smarthost("h:25").ok(), Some(("h", 25)));
        assert_eq!(smarthost("[::1]:587").ok(), Some(("::1", 587)));
        for text in ["h", ":25", "h:x"] {
            assert!(smarthost(text).is_err(), "{text}");
        }
    }
}
