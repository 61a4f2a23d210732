//! The index of a part: names, values and postings of labels, read from their bytes on demand.
//!
//! Invariant: what a dictionary or a set says is checked when it is read.

use obs_model::Pattern;
use obs_model::automaton::Verdict;
use obs_storage::Corrupt;
use obs_storage::codec::{Reader, bitmap, bytes, ints};
use roaring::RoaringBitmap;

use super::Part;
use crate::build::POSTINGS_RUN;
use crate::dictionary::{Dictionary, Seek};
use crate::postings::Index;

/// Values of a label from which on expressions are searched by an automaton.
const AUTOMATON_VALUES_MIN: usize = if cfg!(test) { 4 } else { 256 };

impl Part {
    /// Reads the dictionary of a label, the set of its series, and the table and bytes of the sets
    /// of its values.
    fn label(&self, name: &str) -> Result<Option<Label<'_>>, Corrupt> {
        let Ok(at) = self.names.binary_search_by(|n| n.name.as_str().cmp(name)) else {
            return Ok(None);
        };
        let range = &self.names[at].bytes;
        let section = self.reader.section("postings")?;
        let bytes = &section[range.start as usize..range.end as usize];
        let mut reader = Reader::new(self.reader.name(), bytes);
        let values = Dictionary::open(&mut reader)?;
        let all = bitmap::decode(&mut reader, u64::from(self.series))?;
        let table = reader.slice((values.len() + 1).saturating_mul(4))?;
        let sets = reader.slice(reader.remaining())?;
        Ok(Some(Label {
            place: self.reader.name(),
            series: self.series,
            values,
            all,
            table,
            sets,
        }))
    }
}

/// The postings of one label.
struct Label<'a> {
    place: &'a str,
    series: u32,
    values: Dictionary<'a>,
    all: RoaringBitmap,
    table: &'a [u8],
    sets: &'a [u8],
}

impl Label<'_> {
    /// Adds the series that have the value with this number.
    fn add(&self, value: usize, found: &mut RoaringBitmap) -> Result<(), Corrupt> {
        let mut table = Reader::new(self.place, &self.table[value * 4..]);
        let (from, to) = (table.u32()? as usize, table.u32()? as usize);
        let Some(set) = self.sets.get(from..to) else {
            return Err(Corrupt::new(
                self.place,
                from as u64,
                "postings inside their section",
            ));
        };
        let mut reader = Reader::new(self.place, set);
        match reader.count(POSTINGS_RUN)? {
            POSTINGS_RUN => {
                // A distance takes at most five bytes.
                let column = bytes::decode(&mut reader, self.series as usize * 5 + 16)?;
                let mut column = Reader::new(self.place, &column);
                let distances = ints::decode_u64(&mut column, self.series as usize)?;
                column.finish()?;
                let mut series = 0u64;
                for (index, distance) in distances.into_iter().enumerate() {
                    series = series.saturating_add(distance);
                    let ascends = index == 0 || distance > 0;
                    if !ascends || series >= u64::from(self.series) {
                        return Err(reader.corrupt("ascending series numbers before here"));
                    }
                    found.insert(series as u32);
                }
            }
            0 => *found |= bitmap::decode(&mut reader, u64::from(self.series))?,
            count => {
                let mut series = 0u64;
                for _ in 0..count {
                    series = series.saturating_add(reader.varint()?);
                    if series >= u64::from(self.series) {
                        return Err(reader.corrupt("a series number before here"));
                    }
                    found.insert(series as u32);
                }
            }
        }
        reader.finish()
    }
}

impl Index for Part {
    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.series);
        all
    }

    fn with_value(&self, name: &str, value: &str) -> Result<RoaringBitmap, Corrupt> {
        let mut found = RoaringBitmap::new();
        if let Some(label) = self.label(name)?
            && let Some(number) = label.values.find(value)?
        {
            label.add(number, &mut found)?;
        }
        Ok(found)
    }

    fn with_name(&self, name: &str) -> Result<RoaringBitmap, Corrupt> {
        Ok(self.label(name)?.map(|label| label.all).unwrap_or_default())
    }

    fn with_values(
        &self,
        name: &str,
        prefix: &str,
        accept: &dyn Fn(&str) -> bool,
    ) -> Result<RoaringBitmap, Corrupt> {
        let mut found = RoaringBitmap::new();
        let Some(label) = self.label(name)? else {
            return Ok(found);
        };
        let mut failed = Ok(());
        label.values.walk(prefix, &mut |number, value| {
            if !value.starts_with(prefix) {
                return false;
            }
            if accept(value) {
                failed = label.add(number, &mut found);
            }
            failed.is_ok()
        })?;
        failed.map(|()| found)
    }

    fn matching(
        &self,
        name: &str,
        prefix: &str,
        pattern: &Pattern,
    ) -> Result<RoaringBitmap, Corrupt> {
        let mut found = RoaringBitmap::new();
        let Some(label) = self.label(name)? else {
            return Ok(found);
        };
        // A small dictionary is read faster than an automaton is made.
        let automaton = match label.values.len() >= AUTOMATON_VALUES_MIN {
            true => pattern.automaton(),
            false => None,
        };
        let Some(mut automaton) = automaton else {
            let accept = |value: &str| pattern.is_match(value.as_bytes());
            return self.with_values(name, prefix, &accept);
        };
        let mut failed = Ok(());
        label.values.search(prefix, &mut |number, value| {
            let matches = match automaton.read(value.as_bytes()) {
                Verdict::Match => true,
                Verdict::Other => false,
                // All values that are searched start with the prefix.
                Verdict::Dead(length) if length <= prefix.len() => return Seek::End,
                Verdict::Dead(length) => return Seek::Behind(length),
                Verdict::Unknown => pattern.is_match(value.as_bytes()),
            };
            if matches {
                failed = label.add(number, &mut found);
            }
            match failed {
                Ok(()) => Seek::Next,
                Err(_) => Seek::End,
            }
        })?;
        failed.map(|()| found)
    }

    fn names(&self) -> Vec<String> {
        self.names.iter().map(|n| n.name.clone()).collect()
    }

    fn values(&self, name: &str, each: &mut dyn FnMut(&str) -> bool) -> Result<(), Corrupt> {
        match self.label(name)? {
            Some(label) => label.values.walk("", &mut |_, value| each(value)),
            None => Ok(()),
        }
    }
}
