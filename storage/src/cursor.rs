//! Reads fixed-width fields of the engine's own files from front to back.
//!
//! Invariant: a read past the end is `Corrupt` with the place and the field that was expected.

use obs_model::Tenant;

use crate::error::Corrupt;

/// A position in some bytes of a file.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    place: &'a str,
    bytes: &'a [u8],
    /// Where `bytes` begin in the file.
    offset: u64,
}

impl<'a> Cursor<'a> {
    /// Starts at `bytes`, which begin at `offset` of the file `place`.
    pub(crate) fn new(place: &'a str, bytes: &'a [u8], offset: u64) -> Self {
        Self {
            place,
            bytes,
            offset,
        }
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize, field: &str) -> Result<&'a [u8], Corrupt> {
        let Some((taken, rest)) = self.bytes.split_at_checked(count) else {
            return Err(self.corrupt(field));
        };
        self.bytes = rest;
        self.offset += count as u64;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &str) -> Result<[u8; N], Corrupt> {
        let taken = self.take(N, field)?;
        Ok(taken.try_into().expect("take gives what was asked for"))
    }

    pub(crate) fn u8(&mut self, field: &str) -> Result<u8, Corrupt> {
        self.array(field).map(u8::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, field: &str) -> Result<u32, Corrupt> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: &str) -> Result<u64, Corrupt> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self, field: &str) -> Result<i64, Corrupt> {
        self.array(field).map(i64::from_le_bytes)
    }

    /// A text of at most 255 bytes behind its length.
    pub(crate) fn short_text(&mut self, field: &str) -> Result<&'a str, Corrupt> {
        let count = self.u8(field)?;
        let taken = self.take(usize::from(count), field)?;
        std::str::from_utf8(taken).map_err(|_| self.corrupt(field))
    }

    pub(crate) fn tenant(&mut self) -> Result<Tenant, Corrupt> {
        let name = self.short_text("tenant")?;
        Tenant::new(name).map_err(|e| self.corrupt(&e.to_string()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// A finding at this position.
    pub(crate) fn corrupt(&self, expected: &str) -> Corrupt {
        Corrupt::new(self.place, self.offset, expected)
    }
}
