//! Traces for a collector: the spans of this process, sent by OTLP over HTTP.
//!
//! A span that carries `trace.id` and `span.id` begins its part of a trace under ids that were known
//! before: those that stand in the rows of jobs, in headers and in the log. What opens within it is its
//! child, and what the log says within it is an event of it. `span.parent` and `trace.link` tell whose
//! child it is and to whom it is linked. Spans outside of any such span are not sent.
//!
//! Why not `tracing-opentelemetry`: it takes ids from its own generator, and then neither a row nor a line
//! of the log would lead to its trace. Batches, tries and the wire are OpenTelemetry's own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, IdGenerator as _, RandomIdGenerator, SpanData, SpanEvents,
    SpanExporter as Export, SpanLinks, SpanProcessor as _,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Subscriber, info, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::error::BootError;
use crate::secrets;

/// Spans that wait for being sent; more are dropped, so that a collector that is away costs no memory.
const MAX_WAITING: usize = 16_384;
/// Events of one span; what is said after them stands in the log alone.
const MAX_EVENTS: usize = 128;
/// How long one batch may take to be sent, with all its tries.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a process that ends waits for its last batch.
const LAST_BATCH: Duration = Duration::from_secs(2);
/// The headers that a collector wants to see, `name=value` with commas between; every OTLP client reads it.
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// What the house's spans are to OpenTelemetry: the kind, and the fields that make the name.
const SHAPES: [(&str, SpanKind, [&str; 2]); 3] = [
    ("request", SpanKind::Server, ["method", "route"]),
    ("job", SpanKind::Consumer, ["messaging.operation.type", "job.kind"]),
    ("call", SpanKind::Client, ["platform", "endpoint"]),
];

/// The names that OpenTelemetry's conventions have for fields of ours.
const CONVENTIONS: [(&str, &str); 6] = [
    ("job.id", "messaging.message.id"),
    ("method", "http.request.method"),
    ("platform", "peer.service"),
    ("queue", "messaging.destination.name"),
    ("route", "http.route"),
    ("status", "http.response.status_code"),
];

/// The section `[traces]` of the settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSettings {
    /// Where a collector takes spans by OTLP over HTTP; empty sends none.
    pub endpoint: String,
    /// Which part of all traces is sent, from 0 to 1.
    pub sample: f64,
}

/// The way of a process's spans to the collector. Dropped, it sends what waits, for two seconds at most.
#[derive(Debug)]
#[must_use = "dropped at once it sends nothing"]
pub struct Traces(Layered);

/// What the log hands spans to.
#[derive(Clone, Debug)]
pub(crate) struct Layered {
    processor: Arc<BatchSpanProcessor>,
    scope: InstrumentationScope,
    /// Traces whose id is below this in its last eight bytes are sent.
    below: u64,
}

impl Traces {
    /// Opens the way, where the settings name a collector; `process` is the service's name there.
    pub fn open(settings: &TraceSettings, process: &str) -> Result<Option<Self>, BootError> {
        if settings.endpoint.is_empty() {
            return Ok(None);
        }
        Self::to(settings, process, secrets::optional(HEADERS)?.as_ref()).map(Some)
    }

    fn to(
        settings: &TraceSettings,
        process: &str,
        headers: Option<&SecretString>,
    ) -> Result<Self, BootError> {
        if !(0.0..=1.0).contains(&settings.sample) {
            return Err(BootError::Setting("traces.sample goes from 0 to 1".to_owned()));
        }
        let headers = headers.map(|headers| pairs(headers.expose_secret())).transpose()?.unwrap_or_default();
        let no_endpoint = || {
            BootError::Setting(
                "traces.endpoint is no address: use one such as http://127.0.0.1:4318/v1/traces".to_owned(),
            )
        };
        if !["http://", "https://"].iter().any(|scheme| settings.endpoint.starts_with(scheme)) {
            return Err(no_endpoint());
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(&settings.endpoint)
            .with_timeout(SEND_TIMEOUT)
            .with_headers(headers.into_iter().collect())
            .build()
            .map_err(|_| no_endpoint())?;
        let waiting = BatchConfigBuilder::default()
            .with_max_queue_size(MAX_WAITING)
            .with_scheduled_delay(Duration::from_secs(1))
            .build();
        let mut processor =
            BatchSpanProcessor::new(Told { exporter, is_away: AtomicBool::new(false) }, waiting);
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder().with_service_name(process.to_owned()).with_attribute(version);
        processor.set_resource(&resource.build());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of all numbers"
        )]
        let below = (settings.sample * u64::MAX as f64) as u64;
        let scope = InstrumentationScope::builder("greenroom").build();
        Ok(Self(Layered { processor: Arc::new(processor), scope, below }))
    }

    /// Returns what the log hands spans to.
    pub(crate) fn layer(&self) -> Layered {
        self.0.clone()
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if self.0.processor.shutdown_with_timeout(LAST_BATCH).is_err() {
            warn!("The last traces did not reach their collector");
        }
    }
}

/// Reads `name=value` pairs with commas between.
fn pairs(text: &str) -> Result<Vec<(String, String)>, BootError> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').ok_or_else(|| BootError::Secret {
            name: HEADERS.to_owned(),
            reason: "it is to be name=value, with commas between".to_owned(),
        })?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    text.split(',').filter(|pair| !pair.trim().is_empty()).map(pair).collect()
}

/// Sends batches, counts them, and says once that the collector is away or back.
#[derive(Debug)]
struct Told<E> {
    exporter: E,
    is_away: AtomicBool,
}

impl<E: Export> Export for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let sent = self.exporter.export(batch).await;
        let outcome = if sent.is_ok() { "sent" } else { "lost" };
        metrics::counter!("greenroom_trace_spans_total", "outcome" => outcome).increment(spans);
        // Its own words may carry the collector's address.
        if self.is_away.swap(sent.is_err(), Ordering::Relaxed) != sent.is_err() {
            if sent.is_err() {
                warn!("The collector at traces.endpoint does not take spans; they are lost until it does");
            } else {
                info!("The collector at traces.endpoint takes spans again");
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// A span on its way to its end.
struct Traced {
    context: SpanContext,
    parent: SpanId,
    parent_is_remote: bool,
    began: SystemTime,
    fields: Fields,
    events: SpanEvents,
}

/// What stands in a span or an event.
#[derive(Default)]
struct Fields {
    attributes: Vec<KeyValue>,
    message: String,
    error: Option<String>,
    trace: Option<TraceId>,
    span: Option<SpanId>,
    parent: Option<SpanId>,
    link: Option<SpanContext>,
}

impl Fields {
    fn text(&mut self, name: &'static str, text: String) {
        match name {
            "message" => self.message = text,
            "trace.id" => self.trace = TraceId::from_hex(&text).ok(),
            "span.id" => self.span = SpanId::from_hex(&text).ok(),
            "span.parent" => self.parent = SpanId::from_hex(&text).ok(),
            "trace.link" => self.link = link(&text),
            "error" => self.error = Some(text),
            _ => self.set(name, text.into()),
        }
    }

    fn set(&mut self, name: &'static str, value: Value) {
        self.attributes.push(KeyValue::new(name, value));
    }

    fn get(&self, name: &str) -> Option<String> {
        let attribute = self.attributes.iter().find(|attribute| attribute.key.as_str() == name)?;
        Some(attribute.value.as_str().into_owned())
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value.to_owned());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), i64::try_from(value).unwrap_or(i64::MAX).into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value.into());
    }
}

/// Reads a traceparent.
fn link(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-').skip(1);
    let trace = TraceId::from_hex(parts.next()?).ok()?;
    let span = SpanId::from_hex(parts.next()?).ok()?;
    Some(SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default()))
}

impl Layered {
    fn sends(&self, trace: TraceId) -> bool {
        u128::from_be_bytes(trace.to_bytes()) & u128::from(u64::MAX) <= u128::from(self.below)
    }

    fn finish(&self, name: &'static str, traced: Traced) -> SpanData {
        let Traced { context, parent, parent_is_remote, began, mut fields, events } = traced;
        let shape = SHAPES.iter().find(|(span, ..)| *span == name);
        let named = shape.and_then(|(.., [first, second])| {
            Some(format!("{} {}", fields.get(first)?, fields.get(second)?).into())
        });
        let mut links = SpanLinks::default();
        links.links.extend(fields.link.take().map(Link::with_context));
        for (ours, theirs) in CONVENTIONS {
            let value = fields.attributes.iter().find(|attribute| attribute.key.as_str() == ours);
            if let Some(value) = value.map(|attribute| attribute.value.clone()) {
                fields.set(theirs, value);
            }
        }
        SpanData {
            span_context: context,
            parent_span_id: parent,
            parent_span_is_remote: parent_is_remote,
            span_kind: shape.map_or(SpanKind::Internal, |(_, kind, _)| kind.clone()),
            name: named.unwrap_or_else(|| name.into()),
            start_time: began,
            end_time: SystemTime::now(),
            attributes: fields.attributes,
            dropped_attributes_count: 0,
            events,
            links,
            status: fields.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: self.scope.clone(),
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Layered {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let within = || {
            let mut above = span.scope().skip(1);
            above.find_map(|span| span.extensions().get::<Traced>().map(|traced| traced.context.clone()))
        };
        let (trace, id, parent, parent_is_remote) = match (fields.trace, fields.span) {
            (Some(trace), Some(id)) => (trace, id, fields.parent.unwrap_or(SpanId::INVALID), true),
            // It is said of a span that has its end: the log alone hears of it.
            (Some(_), None) => return,
            _ => match within() {
                Some(above) => {
                    (above.trace_id(), RandomIdGenerator::default().new_span_id(), above.span_id(), false)
                }
                None => return,
            },
        };
        if self.sends(trace) {
            let context = SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::default());
            let (began, events) = (SystemTime::now(), SpanEvents::default());
            span.extensions_mut().insert(Traced { context, parent, parent_is_remote, began, fields, events });
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, ctx: Context<'_, S>) {
        if let Some(span) = ctx.span(id)
            && let Some(traced) = span.extensions_mut().get_mut::<Traced>()
        {
            values.record(&mut traced.fields);
        }
    }

    fn on_event(&self, event: &tracing::Event<'_>, ctx: Context<'_, S>) {
        let Some(span) = ctx.event_span(event) else { return };
        let mut extensions = span.extensions_mut();
        let Some(traced) = extensions.get_mut::<Traced>() else { return };
        if traced.events.events.len() == MAX_EVENTS {
            traced.events.dropped_count += 1;
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields.set("level", event.metadata().level().as_str().into());
        if let Some(error) = fields.error.take() {
            fields.set("error", error.into());
        }
        traced.events.events.push(Event::new(fields.message, SystemTime::now(), fields.attributes, 0));
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        if let Some(span) = ctx.span(&id)
            && let Some(traced) = span.extensions_mut().remove::<Traced>()
        {
            self.processor.on_end(self.finish(span.name(), traced));
        }
    }
}

#[cfg(test)]
mod tests;
