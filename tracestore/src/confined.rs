//! Which spans a reader sees that is confined to label matchers: those whose resource meets them
//! ([`obs_model::resource::meets`]).
//!
//! Invariant: what is read is as if the other spans had never been stored: a trace has the spans
//! that are seen, one without such spans is not there.

use std::ops::Range;
use std::sync::Arc;

use obs_model::spans::Resource;
use obs_model::{Matcher, resource};
use obs_storage::{Corrupt, Snapshot};

use crate::block::Block;
use crate::columns::{Columns, Source};
use crate::kind::Spans;
use crate::row::Row;

/// What a reader sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight<'a>(&'a [Matcher]);

/// Which rows of a block are seen.
pub(crate) enum Seen {
    All,
    None,
    /// For each row whether it is not seen.
    Without(Vec<bool>),
}

impl Seen {
    /// Whether all of some rows are seen, or none; `None` for some of them.
    pub(crate) fn of(&self, rows: &Range<usize>) -> Option<bool> {
        match self {
            Self::All => Some(true),
            Self::None => Some(false),
            Self::Without(hidden) => {
                let hidden = &hidden[rows.clone()];
                match (hidden.contains(&true), hidden.contains(&false)) {
                    (false, _) => Some(true),
                    (true, false) => Some(false),
                    (true, true) => None,
                }
            }
        }
    }
}

impl<'a> Sight<'a> {
    pub(crate) fn of(snapshot: &'a Snapshot<Spans>) -> Self {
        Self(&snapshot.confined)
    }

    /// Whether everything is seen.
    pub(crate) fn is_whole(self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn sees(self, resource: &Resource) -> bool {
        self.is_whole() || resource::meets(self.0, &resource.attributes)
    }

    /// Leaves the rows that are seen.
    pub(crate) fn keep(self, rows: &mut Vec<Row>) {
        if !self.is_whole() {
            rows.retain(|row| self.sees(&row.resource));
        }
    }

    /// The same of blocks and numbers of rows.
    pub(crate) fn keep_places(self, rows: &mut Vec<(Arc<Block>, usize)>) {
        if !self.is_whole() {
            rows.retain(|(block, row)| {
                let resource = block.of_resource[*row] as usize;
                self.sees(&block.resources[resource])
            });
        }
    }

    /// What is seen of columns.
    pub(crate) fn seen(self, columns: &Columns<'_>) -> Result<Seen, Corrupt> {
        if self.is_whole() {
            return Ok(Seen::All);
        }
        let hides = |all: &[Arc<Resource>]| -> Vec<bool> {
            all.iter().map(|resource| !self.sees(resource)).collect()
        };
        Ok(match &columns.source {
            Source::Block(open) => {
                let (resources, of_rows) = open.resources()?;
                // Checked to be below the number of resources when they were read.
                let of_rows = of_rows.iter().map(|number| *number as usize);
                of_rows_hidden(&hides(resources), of_rows)
            }
            Source::Held(block) => {
                let of_rows = block.of_resource.iter().map(|number| *number as usize);
                of_rows_hidden(&hides(&block.resources), of_rows)
            }
        })
    }

    /// Sets the rows of columns apart that are not seen. `false` where none is seen.
    pub(crate) fn narrow(self, columns: &mut Columns<'_>) -> Result<bool, Corrupt> {
        match self.seen(columns)? {
            Seen::All => {}
            Seen::None => return Ok(false),
            Seen::Without(hidden) => match &mut columns.apart {
                None => columns.apart = Some(hidden),
                Some(apart) => {
                    let both = apart.iter_mut().zip(hidden);
                    both.for_each(|(apart, hidden)| *apart |= hidden);
                }
            },
        }
        Ok(true)
    }
}

fn of_rows_hidden(hides: &[bool], of_rows: impl Iterator<Item = usize>) -> Seen {
    if !hides.contains(&true) {
        return Seen::All;
    }
    if !hides.contains(&false) {
        return Seen::None;
    }
    Seen::Without(of_rows.map(|number| hides[number]).collect())
}
