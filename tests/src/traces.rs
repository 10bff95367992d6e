//! A job as a collector of traces sees it: who asked for it, what came of it, whom it called.

use greenroom_queue::TraceParent;
use greenroom_testkit::{Collector, attribute};

use crate::process::WorkerProcess;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_told_who_asked_for_a_job_and_whom_it_called() {
    let collector = Collector::start().await;
    let world = World::new(3, 10).await;
    let creator = world.creator().await;
    let env = [("GREENROOM__TRACES__ENDPOINT", collector.endpoint.as_str())];
    let mut worker = WorkerProcess::start_in(&world, "youtube,housekeeping", &env);
    let asked = TraceParent::root();
    asked.scope(world.request(&creator)).await;
    world.until_idle().await;
    // What it has not sent yet it sends when it stops.
    assert!(worker.stop().await.0.success());

    let job = collector.span("process youtube.sync_channel");
    let link = &job.links[0];
    assert_eq!(hex::encode(&link.trace_id), asked.trace_id().to_string());
    assert_eq!(hex::encode(&link.span_id), asked.span_id().to_string());
    assert_eq!(attribute(&job, "outcome"), "ok");
    assert_eq!(attribute(&job, "messaging.destination.name"), "youtube");
    let log = worker.log();
    assert!(!log.contains("traces.endpoint"), "every batch was taken: {log}");

    let spans = collector.spans();
    let calls: Vec<_> = spans.iter().filter(|span| span.parent_span_id == job.span_id).collect();
    assert!(calls.len() > 3, "{spans:?}");
    for call in &calls {
        assert_eq!(call.trace_id, job.trace_id);
        assert!(call.name.starts_with("youtube ") || call.name.starts_with("google "), "{call:?}");
        // The sandbox has a video whose comments are closed.
        let failed = call.status.as_ref().is_some_and(|status| status.code == 2);
        assert_eq!(failed, attribute(call, "http.response.status_code") != "200", "{call:?}");
    }
    // A span tells no more than a line of the log does.
    let told = format!("{spans:?}");
    for secret in [world.sandbox.google().refresh_token.as_str(), world.key.expose(), "ya29.", "creator@"] {
        assert!(!told.contains(secret), "{secret} is in {told}");
    }
}
