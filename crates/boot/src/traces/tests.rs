//! Spans as a collector gets them: over HTTP, in OpenTelemetry's own words.

use greenroom_testkit::{Collector, attribute};
use tracing::{error, info, info_span};
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const LINK: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn settings(endpoint: &str, sample: f64) -> TraceSettings {
    TraceSettings { endpoint: endpoint.to_owned(), sample }
}

/// Says something within an attempt, a call of it, and outside of both.
fn attempt(traces: &Traces) {
    let subscriber = tracing_subscriber::registry().with(traces.layer());
    tracing::subscriber::with_default(subscriber, || {
        info!("nobody's");
        _ = info_span!("call", platform = "youtube", endpoint = "outside").entered();
        let span = info_span!(
            "job",
            job.id = "7",
            job.kind = "note",
            queue = "notes",
            trace.id = TRACE,
            span.id = SPAN,
            trace.link = LINK,
            messaging.operation.type = "process",
            error = tracing::field::Empty,
        );
        span.in_scope(|| {
            info!(left = 3, "Half of it");
            info_span!("call", platform = "youtube", endpoint = "videos.list")
                .in_scope(|| error!("No answer"));
        });
        span.record("error", "it broke");
        // Told afterwards, without a span of its own.
        info_span!("job", job.id = "7", trace.id = TRACE).in_scope(|| info!("Told"));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_spans_under_the_ids_that_logs_and_rows_have() {
    let collector = Collector::start().await;
    let endpoint = collector.endpoint.clone();
    let headers = "key=of the collector, other = 1".into();
    let traces = Traces::to(&settings(&endpoint, 1.0), "some-worker", Some(&headers)).unwrap();
    attempt(&traces);
    tokio::task::spawn_blocking(move || drop(traces)).await.unwrap();

    assert_eq!(collector.spans().len(), 2, "{:?}", collector.spans());
    let job = collector.span("process note");
    assert_eq!((hex::encode(&job.trace_id), hex::encode(&job.span_id)), (TRACE.to_owned(), SPAN.to_owned()));
    assert!(job.parent_span_id.is_empty() || job.parent_span_id == [0; 8]);
    assert_eq!(job.kind, 5, "a consumer");
    assert_eq!(job.links.len(), 1);
    assert!(
        LINK.contains(&hex::encode(&job.links[0].trace_id))
            && LINK.contains(&hex::encode(&job.links[0].span_id))
    );
    let status = job.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "it broke"));
    assert_eq!(job.events.iter().map(|event| event.name.as_str()).collect::<Vec<_>>(), ["Half of it"]);
    assert_eq!(attribute(&job, "messaging.destination.name"), "notes");
    assert_eq!(attribute(&job, "messaging.message.id"), "7");
    assert!(job.end_time_unix_nano >= job.start_time_unix_nano);

    let call = collector.span("youtube videos.list");
    assert_eq!((&call.trace_id, &call.parent_span_id), (&job.trace_id, &job.span_id));
    assert_eq!(call.kind, 3, "a client");
    assert_eq!(call.events[0].name, "No answer");

    let (headers, request) = collector.given().remove(0);
    let resource = format!("{:?}", request.resource_spans[0].resource);
    assert!(resource.contains("some-worker") && resource.contains("service.version"), "{resource}");
    assert_eq!(
        (&headers["key"], &headers["other"]),
        (&"of the collector".parse().unwrap(), &"1".parse().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_of_whole_traces_and_a_collector_that_is_away_harms_nobody() {
    let collector = Collector::start().await;
    let endpoint = collector.endpoint.clone();
    let none = Traces::to(&settings(&endpoint, 0.0), "worker", None).unwrap();
    // a3ce… is at .64 of all ids.
    let below = Traces::to(&settings(&endpoint, 0.6), "worker", None).unwrap();
    let above = Traces::to(&settings(&endpoint, 0.7), "worker", None).unwrap();
    let nowhere = Traces::to(&settings("http://127.0.0.1:9/v1/traces", 1.0), "worker", None).unwrap();
    for traces in [none, below, above, nowhere] {
        attempt(&traces);
        tokio::task::spawn_blocking(move || drop(traces)).await.unwrap();
    }
    assert_eq!(collector.spans().len(), 2, "those of one");
    collector.set_away(true);
    let refused = Traces::to(&settings(&endpoint, 1.0), "worker", None).unwrap();
    attempt(&refused);
    tokio::task::spawn_blocking(move || drop(refused)).await.unwrap();
    assert_eq!(collector.spans().len(), 2);
}

#[test]
fn what_is_no_setting_is_refused() {
    let refusal = |settings: TraceSettings, headers: Option<&str>| {
        let headers = headers.map(SecretString::from);
        Traces::to(&settings, "worker", headers.as_ref()).unwrap_err().to_string()
    };
    assert!(refusal(settings("http://127.0.0.1:9", 1.5), None).starts_with("traces.sample"));
    for wrong in ["127.0.0.1:4318", "http://", "http://a b"] {
        assert!(refusal(settings(wrong, 1.0), None).starts_with("traces.endpoint"), "{wrong}");
    }
    let told = refusal(settings("http://127.0.0.1:9", 1.0), Some("canary"));
    assert!(told.starts_with(HEADERS) && !told.contains("canary"), "{told}");
    assert!(Traces::open(&settings("", 1.0), "worker").unwrap().is_none());
}
