//! Traces: who asked for a job, and which of its attempts did what.
//!
//! A job keeps the traceparent (W3C) of whoever enqueued it. Each attempt is a trace of its own that links
//! to it, as the messaging conventions of OpenTelemetry have it: a child would make one trace of weeks out
//! of a schedule. What an attempt enqueues carries the attempt's trace, so the way back is a chain of links.

use std::fmt;
use std::future::Future;
use std::str::FromStr;

use tracing::{Span, field, info_span};

use crate::claim::Claimed;

tokio::task_local! {
    static CURRENT: TraceParent;
}

/// A place in a trace, written as a W3C `traceparent`: `00-{trace}-{span}-{flags}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

/// A text that is no traceparent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a traceparent is 00-, 32 hex digits, -, 16 hex digits, -, 2 hex digits, all in lower case and neither id zero"
)]
pub struct UnreadableTrace;

impl TraceParent {
    /// Begins a trace.
    pub fn root() -> Self {
        Self { trace: not_zero(rand::random()), span: not_zero(rand::random()), flags: 1 }
    }

    /// Goes on in the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span: not_zero(rand::random()), ..self }
    }

    /// Returns the trace of the request or the attempt that runs here, unless there is none.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|trace| *trace).ok()
    }

    /// Runs a future under this trace: what it enqueues carries it. A task that it spawns does not know it.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// Returns the id of the trace, as logs have it.
    pub fn trace_id(self) -> impl fmt::Display {
        fmt::from_fn(move |f| write!(f, "{:032x}", self.trace))
    }

    /// Returns the id of the span, as logs have it.
    pub fn span_id(self) -> impl fmt::Display {
        fmt::from_fn(move |f| write!(f, "{:016x}", self.span))
    }

    /// Returns the trace of an attempt. It follows from the fence, so nobody has to carry it about, and no
    /// two attempts have the same.
    pub(crate) fn of(job: &Claimed) -> Self {
        let (id, fence) = (job.id.0.as_u128(), job.token.cast_unsigned());
        let trace = not_zero(id ^ u128::from(fence));
        Self { trace, span: not_zero(u64::try_from(id >> 64).unwrap_or(0) ^ fence.rotate_left(32)), flags: 1 }
    }
}

/// Makes a span that carries what is needed to find an attempt, and more.
macro_rules! of_job {
    ($job:expr $(, $($more:tt)*)?) => {
        info_span!(
            "job",
            job.id = %$job.id,
            job.kind = $job.kind,
            job.attempt = $job.attempt,
            queue = $job.queue,
            user.id = $job.user.map(field::display),
            trace.id = %TraceParent::of($job).trace_id(),
            trace.link = link($job).map(field::display),
            messaging.system = "greenroom",
            messaging.operation.type = "process",
            $($($more)*)?
        )
    };
}

/// Makes the span of an attempt, which a collector of traces gets whole. Made once; what is said of an attempt
/// afterwards stands in [`mention`].
pub(crate) fn span(job: &Claimed) -> Span {
    let id = TraceParent::of(job).span_id();
    of_job!(job, span.id = %id, outcome = field::Empty, error = field::Empty)
}

/// Makes a span for the log alone, in which something is said of an attempt that is over.
pub(crate) fn mention(job: &Claimed) -> Span {
    of_job!(job)
}

/// Returns who enqueued it: it may be anybody with SQL, who may have written anything.
fn link(job: &Claimed) -> Option<TraceParent> {
    job.trace.as_deref().and_then(|text| text.parse().ok())
}

fn not_zero<T: Default + PartialEq + From<u8>>(id: T) -> T {
    if id == T::default() { T::from(1) } else { id }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = UnreadableTrace;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('-');
        let mut part = |digits: usize| {
            parts
                .next()
                .filter(|part| {
                    part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
                })
                .ok_or(UnreadableTrace)
        };
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let trace = u128::from_str_radix(trace, 16).map_err(|_| UnreadableTrace)?;
        let span = u64::from_str_radix(span, 16).map_err(|_| UnreadableTrace)?;
        let flags = u8::from_str_radix(flags, 16).map_err(|_| UnreadableTrace)?;
        // Later versions may add parts; this one has four.
        let fits = version != "ff" && (version != "00" || parts.next().is_none());
        if fits && trace != 0 && span != 0 { Ok(Self { trace, span, flags }) } else { Err(UnreadableTrace) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use greenroom_testkit::Database;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::testing::drain;
    use crate::{Context, Done, Job, Jobs, NewJob, Policy, Queue, Stop};

    #[test]
    fn a_traceparent_is_read_as_the_standard_has_it() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let read: TraceParent = text.parse().unwrap();
        assert_eq!(read.to_string(), text);
        assert_eq!(read.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let child = read.child();
        assert_eq!(child.trace_id().to_string(), read.trace_id().to_string());
        assert_ne!(child, read);
        assert!(
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more".parse::<TraceParent>().is_ok()
        );
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(wrong.parse::<TraceParent>(), Err(UnreadableTrace), "{wrong}");
        }
    }

    /// Enqueues the next of its kind, and says so.
    #[derive(Serialize, Deserialize)]
    struct Chain {
        left: u8,
    }

    impl Job for Chain {
        const KIND: &'static str = "chain";
        const POLICY: Policy = Policy::on("chains").max_attempts(1);
        type State = ();
        type Report = ();

        async fn run(self, (): &(), ctx: &Context) -> Result<Done<()>, Stop> {
            let Some(left) = self.left.checked_sub(1) else {
                return Err(Stop::retry("the end of the chain"));
            };
            tracing::info!("Enqueueing the next");
            ctx.queue().enqueue(&Chain { left }).await.map_err(|error| Stop::retry(error.to_string()))?;
            Ok(().into())
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn each_attempt_is_a_trace_that_links_to_who_enqueued_it() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
        let _here = tracing::subscriber::set_default(subscriber);
        let db = Database::new().await;
        let queue = Queue::new(db.pool().clone());
        let asked = TraceParent::root();
        let user = greenroom_model::UserId::new();
        sqlx::query("insert into users (id, email) values ($1, 'a@example.test')")
            .bind(user.0)
            .execute(db.pool())
            .await
            .unwrap();
        let first = NewJob::of(&Chain { left: 2 }).unwrap().trace(asked).for_user(user);
        queue.enqueue_many(&[first]).await.unwrap();
        assert_eq!(drain(&queue, &Jobs::new().with::<Chain>(Some(&Arc::new(())))).await.unwrap(), 3);

        let traces: Vec<String> = sqlx::query_scalar("select trace from background_jobs order by id")
            .fetch_all(db.pool())
            .await
            .unwrap();
        let traces: Vec<TraceParent> = traces.iter().map(|trace| trace.parse().unwrap()).collect();
        assert_eq!(traces[0], asked);
        let lines: Vec<serde_json::Value> = String::from_utf8(log.0.lock().unwrap().clone())
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|line: &serde_json::Value| line["fields"]["message"] == "Enqueueing the next")
            .collect();
        assert_eq!(lines.len(), 2);
        for (n, line) in lines.iter().enumerate() {
            let span = &line["span"];
            assert_eq!(span["trace.link"], traces[n].to_string(), "{line}");
            // What the attempt enqueued is linked to it in turn.
            assert_eq!(span["trace.id"], traces[n + 1].trace_id().to_string(), "{line}");
            assert_eq!(span["span.id"], traces[n + 1].span_id().to_string(), "{line}");
            assert_ne!(traces[n].trace, traces[n + 1].trace, "an attempt is no child: {line}");
            for (field, value) in
                [("job.kind", "chain"), ("queue", "chains"), ("messaging.system", "greenroom")]
            {
                assert_eq!(span[field], value, "{line}");
            }
            assert_eq!(span["job.attempt"], 1, "{line}");
            assert!(span["job.id"].is_string(), "{line}");
        }
        assert_eq!(lines[0]["span"]["user.id"], user.to_string());
        assert!(lines[1]["span"].get("user.id").is_none(), "it is nobody's: {}", lines[1]);
    }
}
