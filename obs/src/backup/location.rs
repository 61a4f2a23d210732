//! What names a place of backups on the command line, and who we are there.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use obs_wire::sigv4::Credentials;

use super::place::Place;
use super::s3::{Address, S3};
use crate::context::variable;

/// A place as it was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    Folder(PathBuf),
    Bucket { bucket: String, prefix: String },
}

/// How a bucket is reached.
#[derive(Debug, Args)]
pub(crate) struct PlaceOptions {
    /// The address of the service, for s3:// [env: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL]
    /// [default: Amazon's of the region]
    #[arg(long, value_name = "URL", value_parser = endpoint, help_heading = "Bucket")]
    endpoint: Option<String>,
    /// The region [env: AWS_REGION, AWS_DEFAULT_REGION] [default: us-east-1]
    #[arg(long, value_name = "NAME", help_heading = "Bucket")]
    region: Option<String>,
    /// A file with aws_access_key_id and aws_secret_access_key; without it AWS_ACCESS_KEY_ID and
    /// AWS_SECRET_ACCESS_KEY count, then AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials
    #[arg(long, value_name = "FILE", help_heading = "Bucket")]
    credentials_file: Option<PathBuf>,
    /// The profile in that file [env: AWS_PROFILE] [default: default]
    #[arg(long, value_name = "NAME", help_heading = "Bucket")]
    profile: Option<String>,
}

/// `s3://BUCKET/PREFIX`, `file:///FOLDER` or a folder.
pub(crate) fn parse(text: &str) -> Result<Location, String> {
    if let Some(rest) = text.strip_prefix("s3://") {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let known = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if bucket.is_empty() || !bucket.bytes().all(known) {
            return Err("expected s3://BUCKET/PREFIX with the name of a bucket".to_owned());
        }
        let prefix = prefix.trim_matches('/');
        let plain = |name: &str| !["", ".", ".."].contains(&name);
        let printable = |b: u8| b.is_ascii_graphic() || b == b' ';
        let known = prefix.split('/').all(plain) && prefix.bytes().all(printable);
        if !(known || prefix.is_empty()) {
            return Err("expected s3://BUCKET/PREFIX with a prefix of plain names".to_owned());
        }
        return Ok(Location::Bucket {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        });
    }
    let path = text.strip_prefix("file://").unwrap_or(text);
    match path {
        "" => Err("expected a folder or s3://BUCKET/PREFIX".to_owned()),
        path if path.contains("://") => {
            Err("expected a folder or s3://BUCKET/PREFIX; no other service is known".to_owned())
        }
        path => Ok(Location::Folder(PathBuf::from(path))),
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).map_err(|error| error.to_string())?;
    let plain = ["http", "https"].contains(&url.scheme()) && url.host_str().is_some();
    let bare = url.query().is_none() && url.username().is_empty() && url.fragment().is_none();
    match plain && bare {
        true => Ok(text.to_owned()),
        false => Err("expected http://HOST:PORT or https://HOST:PORT".to_owned()),
    }
}

impl PlaceOptions {
    /// The place.
    pub(crate) fn open(&self, location: &Location) -> anyhow::Result<Place> {
        let (bucket, prefix) = match location {
            Location::Folder(folder) => return Ok(Place::Folder(folder.clone())),
            Location::Bucket { bucket, prefix } => (bucket.clone(), prefix.clone()),
        };
        let first = |names: [&str; 2]| names.into_iter().find_map(variable);
        let told = || first(["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
        let endpoint = self.endpoint.clone().or_else(told);
        let region = self.region.clone();
        let region = region.or_else(|| first(["AWS_REGION", "AWS_DEFAULT_REGION"]));
        let address = Address {
            bucket,
            prefix,
            endpoint,
            region: region.unwrap_or_else(|| "us-east-1".to_owned()),
            credentials: self.credentials()?,
        };
        Ok(Place::S3(Box::new(S3::new(address)?)))
    }

    fn credentials(&self) -> anyhow::Result<Credentials> {
        let own = Credentials {
            access_key: variable("AWS_ACCESS_KEY_ID").unwrap_or_default(),
            secret_key: variable("AWS_SECRET_ACCESS_KEY").unwrap_or_default(),
            session_token: variable("AWS_SESSION_TOKEN").unwrap_or_default(),
        };
        let chosen = self.credentials_file.is_some() || self.profile.is_some();
        if !chosen && !own.access_key.is_empty() && !own.secret_key.is_empty() {
            return Ok(own);
        }
        let file = self.credentials_file.clone();
        let file = file.or_else(|| variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from));
        let home = || Some(PathBuf::from(variable("HOME")?).join(".aws/credentials"));
        let Some(file) = file.or_else(home) else {
            bail!("no credentials for the bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
        };
        let profile = self.profile.clone().or_else(|| variable("AWS_PROFILE"));
        let profile = profile.unwrap_or_else(|| "default".to_owned());
        let shown = file.display();
        #[expect(
            clippy::disallowed_methods,
            reason = "the command reads the file that it is given"
        )]
        let text = std::fs::read(&file).with_context(|| {
            format!(
                "no credentials for the bucket: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
                 or write {shown}"
            )
        })?;
        let text = String::from_utf8_lossy(&text);
        Credentials::of_profile(&text, &profile)
            .with_context(|| format!("{shown} has no keys of the profile {profile:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        let folder = |path: &str| Ok(Location::Folder(PathBuf::from(path)));
        let bucket = |bucket: &str, prefix: &str| {
            Ok(Location::Bucket {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            })
        };
        assert_eq!(parse("/mnt/b"), folder("/mnt/b"));
        assert_eq!(parse("file:///mnt/b"), folder("/mnt/b"));
        assert_eq!(parse("b"), folder("b"));
        assert_eq!(parse("s3://b"), bucket("b", ""));
        assert_eq!(parse("s3://b/"), bucket("b", ""));
        assert_eq!(parse("s3://b-1.x/a/b/"), bucket("b-1.x", "a/b"));
        for wrong in [
            "",
            "s3://",
            "s3:///a",
            "s3://a b/c",
            "gs://a/b",
            "s3://a/b/../c",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(endpoint("http://127.0.0.1:9000").is_ok());
        for wrong in ["x", "ftp://a", "http://a?b", "http://u@a"] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }
}
