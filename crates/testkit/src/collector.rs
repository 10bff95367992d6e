//! A collector of traces on this machine, which keeps what it is given.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
pub use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// Takes spans by OTLP over HTTP. It refuses them for good while it is away.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Where it takes them.
    pub endpoint: String,
    given: Arc<Mutex<Vec<(HeaderMap, ExportTraceServiceRequest)>>>,
    is_away: Arc<AtomicBool>,
}

impl Collector {
    /// Listens on a port that the system chooses, until the test's runtime ends.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let collector = Self { endpoint, given: Arc::default(), is_away: Arc::default() };
        let here = collector.clone();
        let take = async move |headers: HeaderMap, body: Bytes| {
            if here.is_away.load(Ordering::Relaxed) {
                return StatusCode::FORBIDDEN;
            }
            here.given.lock().unwrap().push((headers, ExportTraceServiceRequest::decode(body).unwrap()));
            StatusCode::OK
        };
        let routes = axum::Router::new().route("/v1/traces", post(take));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        collector
    }

    /// Refuses from now on, or takes again.
    pub fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    /// Returns what it was given, a batch each, with the headers of the request.
    pub fn given(&self) -> Vec<(HeaderMap, ExportTraceServiceRequest)> {
        self.given.lock().unwrap().clone()
    }

    /// Returns all spans.
    pub fn spans(&self) -> Vec<Span> {
        let given = self.given();
        let spans = given.into_iter().flat_map(|(_, request)| request.resource_spans);
        spans.flat_map(|spans| spans.scope_spans).flat_map(|spans| spans.spans).collect()
    }

    /// Returns the first span of a name.
    pub fn span(&self, name: &str) -> Span {
        let spans = self.spans();
        spans
            .iter()
            .find(|span| span.name == name)
            .unwrap_or_else(|| panic!("no {name} in {spans:?}"))
            .clone()
    }
}

/// Returns an attribute of a span that is a text.
pub fn attribute(span: &Span, key: &str) -> String {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key);
    let value = attribute.and_then(|attribute| attribute.value.as_ref()?.value.clone());
    match value {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key} is {other:?} in {span:?}"),
    }
}
