//! `traces_host_info`: a gauge of 1 for each machine of which spans came, as Tempo's `host-info`.
//!
//! Invariant: a machine has one series of the bound of its tenant; it ends when nothing came for long.

use std::collections::BTreeMap;

use obs_model::labels::LabelsBuilder;
use obs_model::spans::{AttributeValue, Resource, attribute};
use obs_model::{Labels, Timestamp};

use super::Room;
use super::series::{Out, named};
use super::setting::HostInfo;
use super::words::cut;

/// The machines of one tenant by id and by the attribute that says it.
#[derive(Debug, Default)]
pub(super) struct Hosts(BTreeMap<(String, String), (Labels, Timestamp)>);

impl Hosts {
    /// Learns of a resource that spans came of.
    pub(super) fn see(
        &mut self,
        setting: &HostInfo,
        resource: &Resource,
        now: Timestamp,
        room: &mut Room,
    ) {
        let named_by =
            setting
                .identifiers
                .iter()
                .find_map(|key| match attribute(&resource.attributes, key) {
                    Some(AttributeValue::String(id)) if !id.is_empty() => Some((cut(id), key)),
                    _ => None,
                });
        let Some((id, source)) = named_by else {
            return;
        };
        let key = (id.to_owned(), source.clone());
        if let Some((_, last)) = self.0.get_mut(&key) {
            *last = now;
            return;
        }
        if !room.take(1) {
            return;
        }
        let mut labels = LabelsBuilder::default();
        labels.set("grafana_host_id", id);
        labels.set("host_source", source);
        self.0.insert(key, (named(&labels, &setting.metric), now));
    }

    /// Writes all series; ends those of machines of which nothing came since `stale`.
    pub(super) fn collect(&mut self, stale: Timestamp, room: &mut Room, out: &mut Out) {
        self.0.retain(|_, (labels, last)| {
            let lives = *last >= stale;
            if lives {
                out.gauge(labels, 1.0);
            } else {
                out.end(labels);
                room.give(1);
            }
            lives
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
