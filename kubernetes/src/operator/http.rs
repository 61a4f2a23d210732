//! How targets are reached: credentials, TLS and proxies of the objects, with secrets in place.

use serde_json::{Value, json};

use super::convert::{Entry, Object, copy, text};
use super::{Reference, References};

/// Takes over everything about HTTP that `from` has.
pub(super) fn copy_http(
    entry: &mut Entry,
    object: Object<'_>,
    from: &Value,
    references: &References,
) -> Result<(), String> {
    let secrets = Secrets { object, references };
    copy(
        entry,
        from,
        &[
            ("followRedirects", "follow_redirects"),
            ("enableHttp2", "enable_http2"),
            ("enableHTTP2", "enable_http2"),
            ("proxyUrl", "proxy_url"),
            ("noProxy", "no_proxy"),
            ("proxyFromEnvironment", "proxy_from_environment"),
            ("bearerTokenFile", "bearer_token_file"),
        ],
    );
    if from["oauth2"].is_object() {
        return Err("oauth2 is not supported".to_owned());
    }
    if let Some(token) = secrets.secret(&from["bearerTokenSecret"])? {
        entry.insert("bearer_token".to_owned(), json!(token));
    }
    if from["basicAuth"].is_object() {
        let mut basic = Entry::new();
        if let Some(username) = secrets.secret(&from["basicAuth"]["username"])? {
            basic.insert("username".to_owned(), json!(username));
        }
        if let Some(password) = secrets.secret(&from["basicAuth"]["password"])? {
            basic.insert("password".to_owned(), json!(password));
        }
        entry.insert("basic_auth".to_owned(), Value::Object(basic));
    }
    if from["authorization"].is_object() {
        let mut own = Entry::new();
        copy(
            &mut own,
            &from["authorization"],
            &[("type", "type"), ("credentialsFile", "credentials_file")],
        );
        if let Some(credentials) = secrets.secret(&from["authorization"]["credentials"])? {
            own.insert("credentials".to_owned(), json!(credentials));
        }
        entry.insert("authorization".to_owned(), Value::Object(own));
    }
    if from["tlsConfig"].is_object() {
        let tls = secrets.tls(&from["tlsConfig"])?;
        if !tls.is_empty() {
            entry.insert("tls_config".to_owned(), Value::Object(tls));
        }
    }
    Ok(())
}

struct Secrets<'a> {
    object: Object<'a>,
    references: &'a References,
}

impl Secrets<'_> {
    fn reference(&self, selector: &Value, secret: bool) -> Result<Option<String>, String> {
        if text(selector, "name").is_empty() {
            return Ok(None);
        }
        let found = self.references.find(Reference {
            secret,
            namespace: self.object.namespace.to_owned(),
            name: text(selector, "name").to_owned(),
            key: text(selector, "key").to_owned(),
        });
        match found {
            Err(_) if selector["optional"] == true => Ok(None),
            found => found.map(Some),
        }
    }

    fn secret(&self, selector: &Value) -> Result<Option<String>, String> {
        self.reference(selector, true)
    }

    fn secret_or_config_map(&self, from: &Value) -> Result<Option<String>, String> {
        match self.reference(&from["secret"], true)? {
            Some(found) => Ok(Some(found)),
            None => self.reference(&from["configMap"], false),
        }
    }

    fn tls(&self, from: &Value) -> Result<Entry, String> {
        let mut tls = Entry::new();
        copy(
            &mut tls,
            from,
            &[
                ("insecureSkipVerify", "insecure_skip_verify"),
                ("serverName", "server_name"),
                ("caFile", "ca_file"),
                ("certFile", "cert_file"),
                ("keyFile", "key_file"),
                ("minVersion", "min_version"),
                ("maxVersion", "max_version"),
            ],
        );
        let inline = [
            ("ca", self.secret_or_config_map(&from["ca"])?),
            ("cert", self.secret_or_config_map(&from["cert"])?),
            ("key", self.secret(&from["keySecret"])?),
        ];
        for (name, value) in inline {
            if let Some(value) = value {
                tls.remove(&format!("{name}_file"));
                tls.insert(name.to_owned(), json!(value));
            }
        }
        Ok(tls)
    }
}
