//! Thrift's binary and compact protocols, read field by field without structs of a schema.
//!
//! Invariants: nothing is allocated from a declared length; what is passed by nests at most
//! [`DEPTH_MAX`] deep; every element takes at least one byte, so walks end with the input. Format:
//! <https://github.com/apache/thrift/tree/master/doc/specs>.

use crate::error::WireError;

/// Nesting of values that nobody reads.
const DEPTH_MAX: usize = 32;

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `TBinaryProtocol`
    Binary,
    /// `TCompactProtocol`
    Compact,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Stop,
    /// The compact protocol writes the value of a field into its type.
    Bool(Option<bool>),
    Byte,
    I16,
    I32,
    I64,
    Double,
    Binary,
    Struct,
    /// Lists and sets.
    List,
    Map,
}

/// Reads values from the front.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    format: &'static str,
    bytes: &'a [u8],
    at: usize,
    protocol: Protocol,
}

type Result<T> = std::result::Result<T, WireError>;

impl<'a> Reader<'a> {
    pub(crate) fn new(format: &'static str, bytes: &'a [u8], protocol: Protocol) -> Self {
        Self {
            format,
            bytes,
            at: 0,
            protocol,
        }
    }

    pub(crate) fn fault(&self, expected: impl Into<String>) -> WireError {
        WireError::at_byte(self.format, self.at, expected)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        match rest.get(..count) {
            Some(taken) => {
                self.at += count;
                Ok(taken)
            }
            None => Err(self.fault(format!("{count} bytes, found {}", rest.len()))),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.take(N)?;
        taken
            .try_into()
            .map_err(|_| self.fault(format!("{N} bytes")))
    }

    fn varint(&mut self) -> Result<u64> {
        match crate::protobuf::read_varint(&self.bytes[self.at..]) {
            Some((value, length)) => {
                self.at += length;
                Ok(value)
            }
            None => Err(self.fault("a varint of at most 10 bytes")),
        }
    }

    fn zigzag(&mut self) -> Result<i64> {
        self.varint().map(crate::protobuf::zigzag)
    }

    /// A number of a field of any integer type.
    pub(crate) fn integer(&mut self, kind: Kind) -> Result<i64> {
        Ok(match (kind, self.protocol) {
            (Kind::Byte, _) => i64::from(i8::from_be_bytes(self.array()?)),
            (Kind::I16 | Kind::I32 | Kind::I64, Protocol::Compact) => self.zigzag()?,
            (Kind::I16, Protocol::Binary) => i64::from(i16::from_be_bytes(self.array()?)),
            (Kind::I32, Protocol::Binary) => i64::from(i32::from_be_bytes(self.array()?)),
            (Kind::I64, Protocol::Binary) => i64::from_be_bytes(self.array()?),
            (other, _) => return Err(self.fault(format!("an integer, found {other:?}"))),
        })
    }

    pub(crate) fn double(&mut self, kind: Kind) -> Result<f64> {
        match (kind, self.protocol) {
            (Kind::Double, Protocol::Binary) => Ok(f64::from_be_bytes(self.array()?)),
            (Kind::Double, Protocol::Compact) => Ok(f64::from_le_bytes(self.array()?)),
            (other, _) => Err(self.fault(format!("a double, found {other:?}"))),
        }
    }

    pub(crate) fn truth(&mut self, kind: Kind) -> Result<bool> {
        match kind {
            Kind::Bool(Some(truth)) => Ok(truth),
            Kind::Bool(None) => Ok(self.array::<1>()?[0] == 1),
            other => Err(self.fault(format!("a bool, found {other:?}"))),
        }
    }

    pub(crate) fn binary(&mut self, kind: Kind) -> Result<&'a [u8]> {
        if kind != Kind::Binary {
            return Err(self.fault(format!("a string, found {kind:?}")));
        }
        let length = self.length()?;
        self.take(length)
    }

    /// A text; what is not UTF-8 in it is replaced.
    pub(crate) fn text(&mut self, kind: Kind) -> Result<String> {
        Ok(String::from_utf8_lossy(self.binary(kind)?).into_owned())
    }

    fn length(&mut self) -> Result<usize> {
        let length = match self.protocol {
            Protocol::Binary => i64::from(i32::from_be_bytes(self.array()?)),
            Protocol::Compact => i64::try_from(self.varint()?).unwrap_or(-1),
        };
        usize::try_from(length).map_err(|_| self.fault("a length that is not negative"))
    }

    fn kind(&self, code: u8) -> Result<Kind> {
        let kind = match (self.protocol, code) {
            (_, 0) => Kind::Stop,
            (Protocol::Binary, 2) => Kind::Bool(None),
            (Protocol::Binary, 3) | (Protocol::Compact, 3) => Kind::Byte,
            (Protocol::Binary, 4) | (Protocol::Compact, 7) => Kind::Double,
            (Protocol::Binary, 6) | (Protocol::Compact, 4) => Kind::I16,
            (Protocol::Binary, 8) | (Protocol::Compact, 5) => Kind::I32,
            (Protocol::Binary, 10) | (Protocol::Compact, 6) => Kind::I64,
            (Protocol::Binary, 11) | (Protocol::Compact, 8) => Kind::Binary,
            (Protocol::Binary, 12) | (Protocol::Compact, 12) => Kind::Struct,
            (Protocol::Binary, 13) | (Protocol::Compact, 11) => Kind::Map,
            (Protocol::Binary, 14 | 15) | (Protocol::Compact, 9 | 10) => Kind::List,
            (Protocol::Compact, 1) => Kind::Bool(Some(true)),
            (Protocol::Compact, 2) => Kind::Bool(Some(false)),
            (_, other) => return Err(self.fault(format!("a type, found {other}"))),
        };
        Ok(kind)
    }

    /// The type of elements, whose truths stand in bytes of their own.
    fn element(&self, code: u8) -> Result<Kind> {
        match self.kind(code)? {
            Kind::Bool(_) => Ok(Kind::Bool(None)),
            Kind::Stop => Err(self.fault("a type of elements, found none")),
            kind => Ok(kind),
        }
    }

    /// Calls for each field of a struct; the callback says whether it read the value.
    pub(crate) fn fields(
        &mut self,
        visit: &mut dyn FnMut(&mut Self, i16, Kind) -> Result<bool>,
    ) -> Result<()> {
        self.fields_within(visit, DEPTH_MAX)
    }

    fn fields_within(
        &mut self,
        visit: &mut dyn FnMut(&mut Self, i16, Kind) -> Result<bool>,
        depth: usize,
    ) -> Result<()> {
        let mut last = 0i16;
        loop {
            let head = self.array::<1>()?[0];
            let (kind, id) = match self.protocol {
                Protocol::Binary => match self.kind(head)? {
                    Kind::Stop => return Ok(()),
                    kind => (kind, i16::from_be_bytes(self.array()?)),
                },
                Protocol::Compact => match (self.kind(head & 0x0f)?, head >> 4) {
                    (Kind::Stop, _) => return Ok(()),
                    (kind, 0) => {
                        let id = i16::try_from(self.zigzag()?);
                        (
                            kind,
                            id.map_err(|_| self.fault("a field number of 16 bits"))?,
                        )
                    }
                    (kind, delta) => (kind, last.wrapping_add(i16::from(delta))),
                },
            };
            last = id;
            let before = self.at;
            if !visit(self, id, kind)? {
                self.at = before;
                self.skip(kind, depth)?;
            }
        }
    }

    /// Calls for each element of a list.
    pub(crate) fn list(
        &mut self,
        kind: Kind,
        visit: &mut dyn FnMut(&mut Self, Kind) -> Result<()>,
    ) -> Result<()> {
        if kind != Kind::List {
            return Err(self.fault(format!("a list, found {kind:?}")));
        }
        let head = self.array::<1>()?[0];
        let (element, count) = match self.protocol {
            Protocol::Binary => (self.element(head)?, self.length()?),
            Protocol::Compact => {
                let count = match head >> 4 {
                    15 => self.length()?,
                    count => usize::from(count),
                };
                if count == 0 {
                    return Ok(());
                }
                (self.element(head & 0x0f)?, count)
            }
        };
        for _ in 0..count {
            visit(self, element)?;
        }
        Ok(())
    }

    /// Passes a value by.
    fn skip(&mut self, kind: Kind, depth: usize) -> Result<()> {
        let deeper = depth
            .checked_sub(1)
            .ok_or_else(|| self.fault(format!("values that nest at most {DEPTH_MAX} deep")))?;
        match kind {
            Kind::Stop => {}
            Kind::Bool(_) => drop(self.truth(kind)?),
            Kind::Byte | Kind::I16 | Kind::I32 | Kind::I64 => drop(self.integer(kind)?),
            Kind::Double => drop(self.double(kind)?),
            Kind::Binary => drop(self.binary(kind)?),
            Kind::Struct => self.fields_within(&mut |_, _, _| Ok(false), deeper)?,
            Kind::List => self.list(kind, &mut |reader, kind| reader.skip(kind, deeper))?,
            Kind::Map => {
                let (count, kinds) = self.map_head()?;
                for _ in 0..count {
                    let (key, value) = kinds;
                    self.skip(key, deeper)?;
                    self.skip(value, deeper)?;
                }
            }
        }
        Ok(())
    }

    fn map_head(&mut self) -> Result<(usize, (Kind, Kind))> {
        match self.protocol {
            Protocol::Binary => {
                let [key, value] = self.array()?;
                let count = self.length()?;
                if count == 0 {
                    return Ok((0, (Kind::Stop, Kind::Stop)));
                }
                Ok((count, (self.element(key)?, self.element(value)?)))
            }
            Protocol::Compact => {
                let count = self.length()?;
                if count == 0 {
                    return Ok((0, (Kind::Stop, Kind::Stop)));
                }
                let kinds = self.array::<1>()?[0];
                Ok((
                    count,
                    (self.element(kinds >> 4)?, self.element(kinds & 0x0f)?),
                ))
            }
        }
    }

    /// The name of a call, whose arguments follow as a struct.
    pub(crate) fn call(&mut self) -> Result<String> {
        match self.protocol {
            Protocol::Binary => {
                let head = i32::from_be_bytes(self.array()?);
                if head >= 0 {
                    // Without a version: the length of the name, the name, the type.
                    let length = usize::try_from(head).map_err(|_| self.fault("a length"))?;
                    let name = String::from_utf8_lossy(self.take(length)?).into_owned();
                    self.array::<5>()?;
                    return Ok(name);
                }
                if head as u32 >> 16 != 0x8001 {
                    return Err(self.fault("version 1 of the binary protocol"));
                }
                let name = self.text(Kind::Binary)?;
                self.array::<4>()?;
                Ok(name)
            }
            Protocol::Compact => {
                let [id, version] = self.array()?;
                if id != 0x82 || version & 0x1f != 1 {
                    return Err(self.fault("version 1 of the compact protocol"));
                }
                self.varint()?;
                self.text(Kind::Binary)
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod put {
    //! Writing, for tests.

    use super::Protocol;
    use crate::protobuf::put;

    /// Writes a struct field by field; numbers of fields ascend by at most 15.
    pub(crate) struct Writer {
        pub(crate) out: Vec<u8>,
        protocol: Protocol,
        last: i16,
    }

    impl Writer {
        pub(crate) fn new(protocol: Protocol) -> Self {
            Self {
                out: Vec::new(),
                protocol,
                last: 0,
            }
        }

        fn head(&mut self, id: i16, binary: u8, compact: u8) {
            match self.protocol {
                Protocol::Binary => {
                    self.out.push(binary);
                    self.out.extend_from_slice(&id.to_be_bytes());
                }
                Protocol::Compact => self.out.push(((id - self.last) as u8) << 4 | compact),
            }
            self.last = id;
        }

        fn number(&mut self, value: i64, width: usize) {
            match self.protocol {
                Protocol::Binary => self
                    .out
                    .extend_from_slice(&value.to_be_bytes()[8 - width..]),
                Protocol::Compact => put::varint(&mut self.out, put::zigzag(value)),
            }
        }

        pub(crate) fn i16(&mut self, id: i16, value: i16) {
            self.head(id, 6, 4);
            self.number(i64::from(value), 2);
        }

        pub(crate) fn i32(&mut self, id: i16, value: i32) {
            self.head(id, 8, 5);
            self.number(i64::from(value), 4);
        }

        pub(crate) fn i64(&mut self, id: i16, value: i64) {
            self.head(id, 10, 6);
            self.number(value, 8);
        }

        pub(crate) fn truth(&mut self, id: i16, value: bool) {
            self.head(id, 2, if value { 1 } else { 2 });
            if self.protocol == Protocol::Binary {
                self.out.push(u8::from(value));
            }
        }

        pub(crate) fn double(&mut self, id: i16, value: f64) {
            self.head(id, 4, 7);
            match self.protocol {
                Protocol::Binary => self.out.extend_from_slice(&value.to_be_bytes()),
                Protocol::Compact => self.out.extend_from_slice(&value.to_le_bytes()),
            }
        }

        fn length(&mut self, length: usize) {
            match self.protocol {
                Protocol::Binary => self.out.extend_from_slice(&(length as i32).to_be_bytes()),
                Protocol::Compact => put::varint(&mut self.out, length as u64),
            }
        }

        pub(crate) fn text(&mut self, id: i16, value: &[u8]) {
            self.head(id, 11, 8);
            self.length(value.len());
            self.out.extend_from_slice(value);
        }

        /// Bytes of structs that are written already.
        pub(crate) fn structs(&mut self, id: i16, all: &[Vec<u8>]) {
            self.head(id, 15, 9);
            self.bare_structs(all);
        }

        pub(crate) fn bare_structs(&mut self, all: &[Vec<u8>]) {
            match self.protocol {
                Protocol::Binary => {
                    self.out.push(12);
                    self.length(all.len());
                }
                Protocol::Compact if all.len() < 15 => self.out.push((all.len() as u8) << 4 | 12),
                Protocol::Compact => {
                    self.out.push(0xfc);
                    self.length(all.len());
                }
            }
            all.iter().for_each(|one| self.out.extend_from_slice(one));
        }

        pub(crate) fn inner(&mut self, id: i16, bytes: &[u8]) {
            self.head(id, 12, 12);
            self.out.extend_from_slice(bytes);
        }

        pub(crate) fn end(mut self) -> Vec<u8> {
            self.out.push(0);
            self.out
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unread_values_are_passed_by() {
        for protocol in [Protocol::Binary, Protocol::Compact] {
            let mut inner = put::Writer::new(protocol);
            inner.truth(1, true);
            inner.double(2, 1.5);
            let inner = inner.end();
            let mut out = put::Writer::new(protocol);
            out.inner(1, &inner);
            out.structs(2, &[inner.clone(), inner.clone()]);
            out.text(3, b"x");
            out.i16(5, -2);
            out.i64(9, -7);
            let bytes = out.end();
            let mut seen = Vec::new();
            let mut reader = Reader::new("test", &bytes, protocol);
            reader
                .fields(&mut |reader, id, kind| {
                    if id == 9 {
                        seen.push(reader.integer(kind)?);
                    }
                    Ok(id == 9)
                })
                .unwrap();
            assert_eq!((seen, reader.at), (vec![-7], bytes.len()), "{protocol:?}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        // Structs in structs, each in field 1.
        for (protocol, head) in [
            (Protocol::Binary, &[12, 0, 1][..]),
            (Protocol::Compact, &[0x1c]),
        ] {
            let bytes = head.repeat(10_000);
            let mut reader = Reader::new("test", &bytes, protocol);
            let error = reader.fields(&mut |_, _, _| Ok(false)).unwrap_err();
            assert!(error.to_string().contains("nest at most"), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for protocol in [Protocol::Binary, Protocol::Compact] {
                let mut reader = Reader::new("test", &bytes, protocol);
                let mut fields = 0;
                drop(reader.fields(&mut |_, _, _| { fields += 1; Ok(false) }));
                prop_assert!(fields <= bytes.len());
                drop(Reader::new("test", &bytes, protocol).call());
            }
        }
    }
}
