//! Bits, most significant first, and the codes that chunks are made of.
//!
//! Invariant: a reader never goes beyond its bytes; the position in an error is that of the chunk.

use crate::error::WireError;

/// The classes of Prometheus' variable-length integers: so many bits follow so many ones (and,
/// but for the last class, a zero).
const CLASSES: [u32; 8] = [3, 6, 9, 12, 18, 25, 56, 64];
/// The same for steps of time in chunks of floats.
const STEP_CLASSES: [u32; 4] = [14, 17, 20, 64];

#[derive(Debug)]
pub(super) struct BitReader<'a> {
    format: &'static str,
    /// Bytes before the first one.
    begin: usize,
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(format: &'static str, begin: usize, bytes: &'a [u8]) -> Self {
        Self {
            format,
            begin,
            bytes,
            at: 0,
        }
    }

    pub(super) fn fault(&self, expected: impl Into<String>) -> WireError {
        WireError::at_byte(self.format, self.begin + self.at / 8, expected)
    }

    fn bit(&mut self) -> Result<bool, WireError> {
        Ok(self.read(1)? == 1)
    }

    /// Up to 64 bits.
    pub(super) fn read(&mut self, count: u32) -> Result<u64, WireError> {
        let end = self.at + count as usize;
        if end > self.bytes.len() * 8 {
            return Err(self.fault(format!("{count} more bits")));
        }
        let mut value = 0u64;
        let mut left = count;
        while left > 0 {
            let (byte, offset) = (self.at / 8, (self.at % 8) as u32);
            let take = left.min(8 - offset);
            let part = (self.bytes[byte] >> (8 - offset - take)) & (0xffu8 >> (8 - take));
            value = if take == 64 { 0 } else { value << take } | u64::from(part);
            self.at += take as usize;
            left -= take;
        }
        Ok(value)
    }

    /// A varint of whole bytes that need not begin at one.
    pub(super) fn uvarint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for index in 0..10 {
            let byte = self.read(8)?;
            value |= (byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 && (index < 9 || byte <= 1) {
                return Ok(value);
            }
        }
        Err(self.fault("a varint of at most 10 bytes"))
    }

    pub(super) fn varint(&mut self) -> Result<i64, WireError> {
        self.uvarint().map(crate::protobuf::zigzag)
    }

    /// How many ones stand before a zero, up to a number of them.
    fn ones(&mut self, most: u32) -> Result<u32, WireError> {
        let mut ones = 0;
        while ones < most && self.bit()? {
            ones += 1;
        }
        Ok(ones)
    }

    fn class(&mut self, classes: &[u32]) -> Result<Option<u32>, WireError> {
        let ones = self.ones(classes.len() as u32)?;
        Ok(ones.checked_sub(1).map(|class| classes[class as usize]))
    }

    fn signed(&mut self, classes: &[u32]) -> Result<i64, WireError> {
        let Some(size) = self.class(classes)? else {
            return Ok(0);
        };
        let bits = self.read(size)?;
        if size < 64 && bits > 1 << (size - 1) {
            return Ok(bits.wrapping_sub(1 << size) as i64);
        }
        Ok(bits as i64)
    }

    pub(super) fn int(&mut self) -> Result<i64, WireError> {
        self.signed(&CLASSES)
    }

    pub(super) fn uint(&mut self) -> Result<u64, WireError> {
        match self.class(&CLASSES)? {
            Some(size) => self.read(size),
            None => Ok(0),
        }
    }

    /// The difference of two distances in time, in chunks of floats.
    pub(super) fn time_step(&mut self) -> Result<i64, WireError> {
        self.signed(&STEP_CLASSES)
    }

    pub(super) fn double(&mut self) -> Result<f64, WireError> {
        self.read(64).map(f64::from_bits)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are free.
    free: u32,
}

impl BitWriter {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The lowest bits of a value.
    pub(super) fn write(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = left.min(self.free);
            let part = (value >> (left - take)) as u8 & (0xffu8 >> (8 - take));
            if let Some(last) = self.bytes.last_mut() {
                *last |= part << (self.free - take);
            }
            self.free -= take;
            left -= take;
        }
    }

    pub(super) fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.write(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.write(value, 8);
    }

    pub(super) fn varint(&mut self, value: i64) {
        self.uvarint(crate::protobuf::put::zigzag(value));
    }

    /// So many ones, and a zero unless it is the last class.
    fn class(&mut self, class: usize, classes: &[u32]) {
        for _ in 0..=class {
            self.write(1, 1);
        }
        if class + 1 < classes.len() {
            self.write(0, 1);
        }
    }

    fn signed(&mut self, value: i64, classes: &[u32]) {
        if value == 0 {
            return self.write(0, 1);
        }
        let fits =
            |size: u32| size == 64 || (value > -(1 << (size - 1)) && value <= 1 << (size - 1));
        for (class, size) in classes.iter().enumerate() {
            if fits(*size) {
                self.class(class, classes);
                return self.write(value as u64, *size);
            }
        }
    }

    pub(super) fn int(&mut self, value: i64) {
        self.signed(value, &CLASSES);
    }

    pub(super) fn uint(&mut self, value: u64) {
        if value == 0 {
            return self.write(0, 1);
        }
        for (class, size) in CLASSES.iter().enumerate() {
            if *size == 64 || value < 1 << size {
                self.class(class, &CLASSES);
                return self.write(value, *size);
            }
        }
    }

    pub(super) fn time_step(&mut self, value: i64) {
        self.signed(value, &STEP_CLASSES);
    }

    pub(super) fn double(&mut self, value: f64) {
        self.write(value.to_bits(), 64);
    }
}

/// A float as the difference to the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Xor {
    /// The last value.
    pub(super) bits: u64,
    /// Leading and trailing zeroes of the last difference that was written in full.
    window: Option<(u32, u32)>,
}

impl Xor {
    pub(super) fn new(bits: u64) -> Self {
        Self { bits, window: None }
    }

    pub(super) fn write(&mut self, next: u64, out: &mut BitWriter) {
        let difference = next ^ self.bits;
        self.bits = next;
        if difference == 0 {
            return out.write(0, 1);
        }
        out.write(1, 1);
        // Five bits hold the number.
        let leading = difference.leading_zeros().min(31);
        let trailing = difference.trailing_zeros();
        if let Some((known_leading, known_trailing)) = self.window
            && leading >= known_leading
            && trailing >= known_trailing
        {
            out.write(0, 1);
            out.write(
                difference >> known_trailing,
                64 - known_leading - known_trailing,
            );
            return;
        }
        self.window = Some((leading, trailing));
        out.write(1, 1);
        out.write(u64::from(leading), 5);
        let significant = 64 - leading - trailing;
        // 64 does not fit into six bits; no difference has 0 of them.
        out.write(u64::from(significant & 63), 6);
        out.write(difference >> trailing, significant);
    }

    pub(super) fn read(&mut self, bits: &mut BitReader<'_>) -> Result<(), WireError> {
        if !bits.bit()? {
            return Ok(());
        }
        if bits.bit()? {
            let leading = bits.read(5)? as u32;
            let significant = match bits.read(6)? as u32 {
                0 => 64,
                some => some,
            };
            let Some(trailing) = 64u32.checked_sub(leading + significant) else {
                return Err(bits.fault(format!(
                    "at most 64 bits, found {leading} leading and {significant} significant ones"
                )));
            };
            self.window = Some((leading, trailing));
        }
        let Some((leading, trailing)) = self.window else {
            return Err(bits.fault("a difference in full before one in its window"));
        };
        self.bits ^= bits.read(64 - leading - trailing)? << trailing;
        Ok(())
    }
}
