//! `TracesData` in protobuf, packed: every text is copied once, from the body behind the others.
//!
//! Invariants: what the schema's structs would give is given, also where a message comes in several
//! pieces; a body that cannot be read is an error, a span that cannot be kept is refused with its
//! reason. [`super::shape`] has bounded what the body may make us allocate, and its depth.

use std::sync::Arc;

use obs_model::limits::Limits;
use obs_model::packed::{
    Cut, PackedAttribute, PackedEvent, PackedLink, PackedResource, PackedScope, PackedSpan,
    PackedSpans, PackedValue,
};
use obs_model::spans::{
    Attribute, AttributeValue, Resource, Scope, SpanId, SpanKind, StatusCode, TraceId,
};
use obs_model::time::Timestamp;

use crate::error::WireError;
use crate::otlp::pair::{Plain, plain};
use crate::otlp::{shown, timestamp};
use crate::protobuf::{Fields, Message, Wire};
use crate::rejects::Rejects;

/// Reads a body that passed the check of its shape.
pub(super) fn batch(
    body: Message<'_>,
    limits: &Limits,
    rejects: &mut Rejects,
) -> Result<PackedSpans, WireError> {
    let mut reading = Reading {
        limits,
        refused: None,
        attributes: Vec::new(),
        packed: Vec::new(),
        events: Vec::new(),
        links: Vec::new(),
        out: PackedSpans::default(),
    };
    let mut fields = body.fields();
    while let Some((number, wire)) = fields.next()? {
        if number == 1 {
            let message = bytes(&fields, number, wire)?;
            if let Some(group) = reading.resource_spans(message, rejects)? {
                reading.out.resources.push(group);
            }
        }
    }
    Ok(reading.out)
}

fn bytes<'a>(fields: &Fields<'a>, number: u32, wire: Wire<'a>) -> Result<Message<'a>, WireError> {
    match wire {
        Wire::Bytes(message) => Ok(message),
        _ => Err(fields.mistyped(number, "a run of bytes")),
    }
}

fn text<'a>(fields: &Fields<'a>, number: u32, wire: Wire<'a>) -> Result<String, WireError> {
    Ok(bytes(fields, number, wire)?.text()?.to_owned())
}

fn varint(fields: &Fields<'_>, number: u32, wire: Wire<'_>) -> Result<u64, WireError> {
    match wire {
        Wire::Varint(value) => Ok(value),
        _ => Err(fields.mistyped(number, "a varint")),
    }
}

fn fixed64(fields: &Fields<'_>, number: u32, wire: Wire<'_>) -> Result<u64, WireError> {
    match wire {
        Wire::Fixed64(value) => Ok(value),
        _ => Err(fields.mistyped(number, "8 bytes")),
    }
}

fn fixed32(fields: &Fields<'_>, number: u32, wire: Wire<'_>) -> Result<u32, WireError> {
    match wire {
        Wire::Fixed32(value) => Ok(value),
        _ => Err(fields.mistyped(number, "4 bytes")),
    }
}

/// What is read, and why the span, resource or scope at hand is to be refused.
struct Reading<'l> {
    limits: &'l Limits,
    refused: Option<String>,
    /// Attributes of the lists that are read, the innermost last: a list is made when its length
    /// is known.
    attributes: Vec<Attribute>,
    /// The same of spans, events and links.
    packed: Vec<PackedAttribute>,
    /// Of the span at hand.
    events: Vec<PackedEvent>,
    links: Vec<PackedLink>,
    out: PackedSpans,
}

/// A list of attributes that is read.
struct List {
    /// Where it begins.
    begin: usize,
    /// Those beyond the limit included.
    count: usize,
}

impl Reading<'_> {
    fn refuse(&mut self, reason: impl FnOnce() -> String) {
        if self.refused.is_none() {
            self.refused = Some(reason());
        }
    }

    /// Resource first, wherever it stands: without it there are no spans.
    fn resource_spans(
        &mut self,
        message: Message<'_>,
        rejects: &mut Rejects,
    ) -> Result<Option<PackedResource>, WireError> {
        let (mut resource, mut list) = (Resource::default(), self.list());
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            match number {
                1 => {
                    let inner = bytes(&fields, number, wire)?;
                    self.resource(inner, &mut resource, &mut list)?;
                }
                3 => resource.schema_url = text(&fields, number, wire)?,
                _ => {}
            }
        }
        resource.attributes = self.finish(list);
        let refused = self.refused.take();
        let mut scopes = Vec::new();
        let mut spans = 0;
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            if number != 2 {
                continue;
            }
            let inner = bytes(&fields, number, wire)?;
            if refused.is_some() {
                spans += span_count(inner)?;
            } else if let Some(scope) = self.scope_spans(inner, rejects)? {
                scopes.push(scope);
            }
        }
        if let Some(reason) = refused {
            rejects.add(spans, format!("resource: {reason}"));
            return Ok(None);
        }
        let resource = Arc::new(resource);
        Ok(Some(PackedResource { resource, scopes }))
    }

    fn resource(
        &mut self,
        message: Message<'_>,
        resource: &mut Resource,
        list: &mut List,
    ) -> Result<(), WireError> {
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            match number {
                1 => self.attribute(bytes(&fields, number, wire)?, list)?,
                2 => resource.dropped_attributes = varint(&fields, number, wire)? as u32,
                _ => {}
            }
        }
        Ok(())
    }

    fn scope_spans(
        &mut self,
        message: Message<'_>,
        rejects: &mut Rejects,
    ) -> Result<Option<PackedScope>, WireError> {
        let (mut scope, mut list) = (Scope::default(), self.list());
        let mut count = 0;
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            match number {
                1 => self.scope(bytes(&fields, number, wire)?, &mut scope, &mut list)?,
                2 => count += 1,
                3 => scope.schema_url = text(&fields, number, wire)?,
                _ => {}
            }
        }
        scope.attributes = self.finish(list);
        if let Some(reason) = self.refused.take() {
            rejects.add(count, format!("scope: {reason}"));
            return Ok(None);
        }
        // The shape was charged for as many.
        let mut spans = Vec::with_capacity(count);
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            if number == 2 {
                let before = self.out.mark();
                let mut span = self.span(bytes(&fields, number, wire)?)?;
                span.texts = self.out.texts_since(before);
                match self.refused.take() {
                    None => spans.push(span),
                    Some(reason) => {
                        self.out.rewind(before);
                        rejects.add(1, format!("span: {reason}"));
                    }
                }
            }
        }
        let scope = Arc::new(scope);
        Ok(Some(PackedScope { scope, spans }))
    }

    fn scope(
        &mut self,
        message: Message<'_>,
        scope: &mut Scope,
        list: &mut List,
    ) -> Result<(), WireError> {
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            match number {
                1 => scope.name = text(&fields, number, wire)?,
                2 => scope.version = text(&fields, number, wire)?,
                3 => self.attribute(bytes(&fields, number, wire)?, list)?,
                4 => scope.dropped_attributes = varint(&fields, number, wire)? as u32,
                _ => {}
            }
        }
        Ok(())
    }

    fn span(&mut self, message: Message<'_>) -> Result<PackedSpan, WireError> {
        let (mut span, mut list) = (PackedSpan::default(), self.packed_list());
        self.events.clear();
        self.links.clear();
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            let f = &fields;
            match number {
                1 => span.trace_id = TraceId(self.id(bytes(f, number, wire)?, "trace id")),
                2 => span.span_id = SpanId(self.id(bytes(f, number, wire)?, "span id")),
                3 => span.trace_state = self.keep(f, number, wire)?,
                4 => span.parent_id = SpanId(self.id(bytes(f, number, wire)?, "parent span id")),
                5 => span.name = self.keep(f, number, wire)?,
                6 => span.kind = SpanKind::from_number(varint(f, number, wire)? as i32),
                7 => span.start = self.time(fixed64(f, number, wire)?),
                8 => span.end = self.time(fixed64(f, number, wire)?),
                9 => self.packed_attribute(bytes(f, number, wire)?, &mut list)?,
                10 => span.dropped_attributes = varint(f, number, wire)? as u32,
                11 => {
                    let event = self.event(bytes(f, number, wire)?)?;
                    self.events.push(event);
                }
                12 => span.dropped_events = varint(f, number, wire)? as u32,
                13 => {
                    let link = self.link(bytes(f, number, wire)?)?;
                    self.links.push(link);
                }
                14 => span.dropped_links = varint(f, number, wire)? as u32,
                15 => self.status(bytes(f, number, wire)?, &mut span)?,
                16 => span.flags = fixed32(f, number, wire)?,
                _ => {}
            }
        }
        span.attributes = self.finish_packed(list);
        span.events = self.out.add_events(&self.events);
        span.links = self.out.add_links(&self.links);
        if span.trace_id.is_zero() || span.span_id.is_zero() {
            self.refuse(|| "trace id and span id must be given and not be all zeroes".to_owned());
        }
        Ok(span)
    }

    /// Keeps a text.
    fn keep(&mut self, fields: &Fields<'_>, number: u32, wire: Wire<'_>) -> Result<Cut, WireError> {
        let text = bytes(fields, number, wire)?.text()?;
        Ok(self.out.add_text(text))
    }

    fn status(&mut self, message: Message<'_>, span: &mut PackedSpan) -> Result<(), WireError> {
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            let f = &fields;
            match number {
                2 => span.status_message = self.keep(f, number, wire)?,
                3 => span.status = StatusCode::from_number(varint(f, number, wire)? as i32),
                _ => {}
            }
        }
        Ok(())
    }

    fn event(&mut self, message: Message<'_>) -> Result<PackedEvent, WireError> {
        let mut list = self.packed_list();
        let (mut time, mut name, mut dropped_attributes) =
            (Timestamp::default(), Cut::default(), 0);
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            let f = &fields;
            match number {
                1 => time = self.time(fixed64(f, number, wire)?),
                2 => name = self.keep(f, number, wire)?,
                3 => self.packed_attribute(bytes(f, number, wire)?, &mut list)?,
                4 => dropped_attributes = varint(f, number, wire)? as u32,
                _ => {}
            }
        }
        Ok(PackedEvent {
            time,
            name,
            attributes: self.finish_packed(list),
            dropped_attributes,
        })
    }

    fn link(&mut self, message: Message<'_>) -> Result<PackedLink, WireError> {
        let mut list = self.packed_list();
        let mut link = PackedLink {
            trace_id: TraceId::default(),
            span_id: SpanId::default(),
            trace_state: Cut::default(),
            attributes: Cut::default(),
            dropped_attributes: 0,
            flags: 0,
        };
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            let f = &fields;
            match number {
                1 => {
                    link.trace_id = TraceId(self.id(bytes(f, number, wire)?, "trace id of a link"));
                }
                2 => link.span_id = SpanId(self.id(bytes(f, number, wire)?, "span id of a link")),
                3 => link.trace_state = self.keep(f, number, wire)?,
                4 => self.packed_attribute(bytes(f, number, wire)?, &mut list)?,
                5 => link.dropped_attributes = varint(f, number, wire)? as u32,
                6 => link.flags = fixed32(f, number, wire)?,
                _ => {}
            }
        }
        link.attributes = self.finish_packed(list);
        Ok(link)
    }

    /// An id of exactly N bytes; none at all is all zeroes.
    fn id<const N: usize>(&mut self, message: Message<'_>, name: &str) -> [u8; N] {
        match message.bytes.try_into() {
            Ok(id) => id,
            Err(_) => {
                let length = message.bytes.len();
                if length > 0 {
                    self.refuse(|| format!("{name} has {length} bytes, expected {N}"));
                }
                [0; N]
            }
        }
    }

    fn time(&mut self, nanos: u64) -> Timestamp {
        timestamp(nanos).unwrap_or_else(|reason| {
            self.refuse(|| reason);
            Timestamp::default()
        })
    }

    /// A list that begins. Lists inside it end before it does.
    fn list(&self) -> List {
        List {
            begin: self.attributes.len(),
            count: 0,
        }
    }

    fn packed_list(&self) -> List {
        List {
            begin: self.packed.len(),
            count: 0,
        }
    }

    fn check_count(&mut self, count: usize) {
        let max = self.limits.attributes_max;
        if count > max {
            self.refuse(|| format!("{count} attributes exceed the limit attributes_max of {max}"));
        }
    }

    /// The attributes of a list that ended.
    fn finish(&mut self, list: List) -> Vec<Attribute> {
        self.check_count(list.count);
        self.attributes.drain(list.begin..).collect()
    }

    fn finish_packed(&mut self, list: List) -> Cut {
        self.check_count(list.count);
        let cut = self.out.add_attributes(&self.packed[list.begin..]);
        self.packed.truncate(list.begin);
        cut
    }

    fn packed_attribute(&mut self, message: Message<'_>, list: &mut List) -> Result<(), WireError> {
        list.count += 1;
        if list.count > self.limits.attributes_max {
            return Ok(());
        }
        if let Some((key, value)) = plain(message.bytes)
            && let Ok(key) = std::str::from_utf8(key)
            && let Some(value) = self.plain(value)
        {
            self.push_packed(key, value, list);
            return Ok(());
        }
        let (mut key, mut value, mut deep) = ("", PackedValue::Empty, false);
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            match number {
                1 => key = bytes(&fields, number, wire)?.text()?,
                2 => deep |= !self.packed_value(bytes(&fields, number, wire)?, &mut value)?,
                _ => {}
            }
        }
        if deep {
            let key = shown(key);
            self.refuse(|| format!("attribute {key}: nests deeper than the limit depth_max"));
        }
        self.push_packed(key, value, list);
        Ok(())
    }

    fn push_packed(&mut self, key: &str, value: PackedValue, list: &List) {
        let after = self.packed[list.begin..].last().map(|a| a.key);
        let key = self.out.key(after, key);
        self.packed.push(PackedAttribute { key, value });
    }

    /// A plain value; `None` for what is not UTF-8.
    fn plain(&mut self, value: Plain<'_>) -> Option<PackedValue> {
        Some(match value {
            Plain::Text(text) => {
                PackedValue::Text(self.out.add_text(std::str::from_utf8(text).ok()?))
            }
            Plain::Bool(truth) => PackedValue::Bool(truth),
            Plain::Int(number) => PackedValue::Int(number),
            Plain::Double(number) => PackedValue::Double(number),
        })
    }

    /// As [`Reading::value`].
    fn packed_value(
        &mut self,
        message: Message<'_>,
        value: &mut PackedValue,
    ) -> Result<bool, WireError> {
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            let f = &fields;
            *value = match number {
                1 => PackedValue::Text(self.keep(f, number, wire)?),
                2 => PackedValue::Bool(varint(f, number, wire)? != 0),
                3 => PackedValue::Int(varint(f, number, wire)?.cast_signed()),
                4 => PackedValue::Double(f64::from_bits(fixed64(f, number, wire)?)),
                5..=7 => {
                    // What an earlier piece said goes on.
                    let mut nested = match *value {
                        PackedValue::Nested(earlier) => self.out.nested(earlier).clone(),
                        _ => AttributeValue::Empty,
                    };
                    let fine = self.nested(
                        number,
                        bytes(f, number, wire)?,
                        self.limits.depth_max,
                        &mut nested,
                    )?;
                    if !fine {
                        return Ok(false);
                    }
                    self.out.add_nested(nested)
                }
                _ => continue,
            };
        }
        Ok(true)
    }

    fn attribute(&mut self, message: Message<'_>, list: &mut List) -> Result<(), WireError> {
        list.count += 1;
        if list.count > self.limits.attributes_max {
            return Ok(());
        }
        let pair = self.pair(message, self.limits.depth_max)?;
        self.attributes.push(pair);
        Ok(())
    }

    fn pair(&mut self, message: Message<'_>, depth: usize) -> Result<Attribute, WireError> {
        let (mut key, mut value) = (String::new(), AttributeValue::Empty);
        let mut deep = false;
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            match number {
                1 => key = text(&fields, number, wire)?,
                2 => {
                    let inner = bytes(&fields, number, wire)?;
                    deep |= !self.value(inner, depth, &mut value)?;
                }
                _ => {}
            }
        }
        if deep {
            let key = shown(&key);
            self.refuse(|| format!("attribute {key}: nests deeper than the limit depth_max"));
        }
        Ok(Attribute { key, value })
    }

    /// Reads a value over what an earlier piece of it said; `false` where it nests too deep.
    fn value(
        &mut self,
        message: Message<'_>,
        depth: usize,
        value: &mut AttributeValue,
    ) -> Result<bool, WireError> {
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            let f = &fields;
            match number {
                1 => *value = AttributeValue::String(text(f, number, wire)?),
                2 => *value = AttributeValue::Bool(varint(f, number, wire)? != 0),
                3 => *value = AttributeValue::Int(varint(f, number, wire)?.cast_signed()),
                4 => *value = AttributeValue::Double(f64::from_bits(fixed64(f, number, wire)?)),
                5..=7 if !self.nested(number, bytes(f, number, wire)?, depth, value)? => {
                    return Ok(false);
                }
                _ => {}
            }
        }
        Ok(true)
    }

    /// An array, map or run of bytes; `false` where it nests too deep.
    fn nested(
        &mut self,
        number: u32,
        inner: Message<'_>,
        depth: usize,
        value: &mut AttributeValue,
    ) -> Result<bool, WireError> {
        if number == 7 {
            *value = AttributeValue::Bytes(inner.bytes.to_vec());
            return Ok(true);
        }
        let Some(depth) = depth.checked_sub(1) else {
            return Ok(false);
        };
        if number == 5 {
            return self.array(inner, depth, value);
        }
        self.map(inner, depth, value)?;
        Ok(true)
    }

    fn array(
        &mut self,
        message: Message<'_>,
        depth: usize,
        value: &mut AttributeValue,
    ) -> Result<bool, WireError> {
        let mut values = match std::mem::replace(value, AttributeValue::Empty) {
            AttributeValue::Array(values) => values,
            _ => Vec::new(),
        };
        let mut fine = true;
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            if number == 1 {
                let mut next = AttributeValue::Empty;
                fine &= self.value(bytes(&fields, number, wire)?, depth, &mut next)?;
                values.push(next);
            }
        }
        *value = AttributeValue::Array(values);
        Ok(fine)
    }

    fn map(
        &mut self,
        message: Message<'_>,
        depth: usize,
        value: &mut AttributeValue,
    ) -> Result<(), WireError> {
        let mut pairs = match std::mem::replace(value, AttributeValue::Empty) {
            AttributeValue::Map(pairs) => pairs,
            _ => Vec::new(),
        };
        let mut fields = message.fields();
        while let Some((number, wire)) = fields.next()? {
            if number == 1 {
                pairs.push(self.pair(bytes(&fields, number, wire)?, depth)?);
            }
        }
        *value = AttributeValue::Map(pairs);
        Ok(())
    }
}

/// How many spans a scope has.
fn span_count(message: Message<'_>) -> Result<usize, WireError> {
    let mut count = 0;
    let mut fields = message.fields();
    while let Some((number, _)) = fields.next()? {
        count += usize::from(number == 2);
    }
    Ok(count)
}
