//! The shared files of Amazon's clients, `~/.aws/config` and `~/.aws/credentials`: sections with
//! keys, a profile each.
//!
//! Invariant: keys of the file with credentials stand over those of the other one.

use std::collections::BTreeMap;

use obs_wire::sigv4::Credentials;

/// What is said of a profile.
#[derive(Debug, Default)]
pub(super) struct Profile(BTreeMap<String, String>);

impl Profile {
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0
            .get(key)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }

    /// Its key, where it has one.
    pub(super) fn key(&self) -> Option<Credentials> {
        Some(Credentials {
            access_key: self.get("aws_access_key_id")?.to_owned(),
            secret_key: self.get("aws_secret_access_key")?.to_owned(),
            session_token: self.get("aws_session_token").unwrap_or("").to_owned(),
        })
    }
}

/// All profiles of both files.
#[derive(Debug, Default)]
pub(super) struct Profiles(BTreeMap<String, Profile>);

impl Profiles {
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A profile; `default` is there, if with nothing in it.
    pub(super) fn get(&self, name: &str) -> Option<&Profile> {
        static EMPTY: Profile = Profile(BTreeMap::new());
        let usual = || (name == "default").then_some(&EMPTY);
        self.0.get(name).or_else(usual)
    }

    /// Adds what a file says. In the one with credentials a section is called like its profile, in
    /// the other one `profile NAME`, but for `default`.
    pub(super) fn add(&mut self, text: &str, credentials: bool) {
        let mut inside: Option<String> = None;
        for line in text.lines() {
            // What is indented belongs to the key before it, none of which has a meaning here.
            let nested = line.starts_with([' ', '\t']);
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) || nested {
                continue;
            }
            let section = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
            if let Some((name, _)) = section {
                let name = name.trim();
                let of = name.strip_prefix("profile").map(str::trim);
                let own = credentials || name == "default";
                let name = if own { Some(name) } else { of };
                inside = name.map(|name| name.trim_matches('"').to_owned());
                continue;
            }
            if let (Some((key, value)), Some(name)) = (line.split_once('='), &inside) {
                let value = value.split(" #").next().unwrap_or("").trim();
                let profile = self.0.entry(name.clone()).or_default();
                let key = key.trim().to_ascii_lowercase();
                profile.0.insert(key, value.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn profiles_of_both_files() {
        let mut profiles = Profiles::default();
        profiles.add(
            "[default]\nregion = eu-west-1\n[profile a b]\nrole_arn=arn:x # why\ns3 =\n  region = no\n\
             [other]\naws_access_key_id = X\n[profile \"q\"]\nsource_profile=a b\n",
            false,
        );
        profiles.add(
            "# keys\n[default]\naws_access_key_id = A\nAWS_SECRET_ACCESS_KEY=S=\n[other]\naws_access_key_id=B\n",
            true,
        );
        let get = |name: &str, key: &str| profiles.get(name).and_then(|p| p.get(key));
        assert_eq!(get("default", "region"), Some("eu-west-1"));
        assert_eq!(get("a b", "role_arn"), Some("arn:x"));
        assert_eq!(get("a b", "region"), None);
        assert_eq!(get("q", "source_profile"), Some("a b"));
        let key = profiles.get("default").and_then(Profile::key);
        let key = key.map(|key| (key.access_key, key.secret_key, key.session_token));
        assert_eq!(key, Some(("A".into(), "S=".into(), String::new())));
        assert!(profiles.get("other").is_some_and(|p| p.key().is_none()));
        assert!(profiles.get("none").is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn arbitrary_files(text in "([\\[\\]=#; \"a-z]|profile |\n){0,80}", plain in any::<bool>()) {
            let mut profiles = Profiles::default();
            profiles.add(&text, plain);
            prop_assert!(profiles.0.len() <= text.len());
        }
    }
}
