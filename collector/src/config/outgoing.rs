//! `obs.collector.outgoing`: which addresses are not dialled for others.

use serde::Deserialize;
use serde::de::Error;

use crate::outgoing::{Addresses, Network};

/// `obs.collector.outgoing`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutgoingConfig {
    /// Whether this machine itself is not dialled.
    pub refuse_loopback: bool,
    /// Whether private networks are not dialled.
    pub refuse_private: bool,
    /// Networks that are dialled in any case.
    #[serde(deserialize_with = "networks")]
    pub allow: Vec<Network>,
}

impl OutgoingConfig {
    /// The rules.
    pub fn addresses(&self) -> Addresses {
        let allow = self.allow.clone();
        Addresses::new(self.refuse_loopback, self.refuse_private, allow)
    }
}

fn networks<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<Vec<Network>, D::Error> {
    let texts = Vec::<String>::deserialize(reader)?;
    let networks = texts
        .iter()
        .map(|text| text.parse().map_err(D::Error::custom));
    networks.collect()
}
