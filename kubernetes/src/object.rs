//! What is kept of the metadata of an object, and its identity.
//!
//! Invariant: fields that nobody reads (`managedFields` before all) are skipped while parsing and
//! never allocated.

pub(crate) mod network;
pub(crate) mod pod;

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// Namespace and name: what an object is found by within its resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Empty for objects of the cluster.
    pub namespace: Box<str>,
    /// The name.
    pub name: Box<str>,
}

impl Key {
    /// A key of these two.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// A small map of texts in the order of its names: labels, annotations, selectors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pairs(Box<[(Box<str>, Box<str>)]>);

impl Pairs {
    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.binary_search_by(|(n, _)| (**n).cmp(name)).ok()?;
        self.0.get(found).map(|(_, value)| &**value)
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<Box<str>>, V: Into<Box<str>>> FromIterator<(N, V)> for Pairs {
    /// Of equal names the last one stays.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let pairs = pairs.into_iter().map(|(n, v)| (n.into(), v.into()));
        let mut pairs: Vec<(Box<str>, Box<str>)> = pairs.collect();
        // The sort is stable, so the last of equal names is the last of its run.
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let mut kept: Vec<(Box<str>, Box<str>)> = Vec::with_capacity(pairs.len());
        for pair in pairs {
            match kept.last_mut() {
                Some(last) if last.0 == pair.0 => *last = pair,
                _ => kept.push(pair),
            }
        }
        Self(kept.into())
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of texts")
            }

            fn visit_unit<E>(self) -> Result<Pairs, E> {
                Ok(Pairs::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs: Vec<(Box<str>, Box<str>)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<Box<str>, Option<Box<str>>>()? {
                    pairs.push((name, value.unwrap_or_default()));
                }
                Ok(pairs.into_iter().collect())
            }
        }
        deserializer.deserialize_any(Map)
    }
}

/// Reads what may be `null` as its default: the API writes `null` for empty lists and maps.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Who an object belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Owner {
    /// Its kind.
    pub kind: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its identity.
    pub uid: Box<str>,
    /// Whether it is the one that controls the object.
    pub controller: Option<bool>,
}

/// Metadata of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Name within the namespace.
    pub name: Box<str>,
    /// Namespace; empty for objects of the cluster.
    pub namespace: Box<str>,
    /// Identity over time.
    pub uid: Box<str>,
    /// Labels.
    #[serde(deserialize_with = "or_default")]
    pub labels: Pairs,
    /// Annotations.
    #[serde(deserialize_with = "or_default")]
    pub annotations: Pairs,
    /// Owners.
    #[serde(deserialize_with = "or_default")]
    pub owner_references: Box<[Owner]>,
    /// When it was made, RFC 3339.
    pub creation_timestamp: Option<Box<str>>,
    /// When it is to be gone, RFC 3339.
    pub deletion_timestamp: Option<Box<str>>,
}

impl Meta {
    /// What it is found by.
    pub fn key(&self) -> Key {
        Key {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// The owner that controls it.
    pub fn controller(&self) -> Option<&Owner> {
        let mut owners = self.owner_references.iter();
        owners.find(|owner| owner.controller == Some(true))
    }
}

/// An object of which nothing but the metadata is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct MetaObject {
    /// The metadata.
    #[serde(default)]
    pub metadata: Meta,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_without_what_nobody_reads() {
        let text = r#"{"metadata": {"name": "web-1", "namespace": "shop", "uid": "u1",
            "resourceVersion": "5", "generation": 3, "labels": {"b": "2", "a": "1"},
            "annotations": null, "creationTimestamp": "2026-01-02T03:04:05Z",
            "managedFields": [{"manager": "x", "fieldsV1": {"f:a": {}}}],
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "X", "name": "x", "uid": "1"},
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "2",
                 "controller": true, "blockOwnerDeletion": true}]}, "spec": {"deep": [1, 2]}}"#;
        let object: MetaObject = serde_json::from_str(text).unwrap();
        let meta = object.metadata;
        assert_eq!(meta.key(), Key::new("shop", "web-1"));
        assert_eq!(meta.key().to_string(), "shop/web-1");
        assert_eq!(
            meta.labels.iter().collect::<Vec<_>>(),
            [("a", "1"), ("b", "2")]
        );
        assert_eq!(meta.labels.get("b"), Some("2"));
        assert_eq!(meta.labels.get("c"), None);
        assert!(meta.annotations.is_empty());
        assert_eq!(meta.controller().map(|o| &*o.name), Some("web"));
    }

    #[test]
    fn of_equal_names_the_last_one_stays() {
        let pairs: Pairs = [("a", "1"), ("b", "2"), ("a", "3")].into_iter().collect();
        assert_eq!(pairs.iter().collect::<Vec<_>>(), [("a", "3"), ("b", "2")]);
        assert_eq!(pairs.len(), 2);
    }
}
