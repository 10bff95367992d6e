//! Every feature of the queue, each in a small program that says what happens.
//!
//! `cargo run -p greenroom-queue --example tour -- lanes` runs one, and without a name it lists them. Each has an
//! empty PostgreSQL database of its own, with nothing in it but the queue. What they say is compared with
//! `expected/` by `cargo test -p greenroom-queue`; where the change is meant, `… -- NAME > …/expected/NAME.txt`.

mod batches;
mod breakers;
mod cancelling;
mod checkpoints;
mod failures;
mod lanes;
mod pauses;
mod plain_sql;
mod pools;
mod quick_start;
mod retries;
mod schedules;
mod stage;
mod transactions;
mod unique_keys;
mod why;

use std::error::Error;
use std::sync::Arc;

use greenroom_queue::{install, testing};
use greenroom_testkit::Database;

use crate::stage::Notes;

/// How an example ends.
type Outcome = Result<(), Box<dyn Error>>;

macro_rules! tour {
    ($($example:ident: $about:literal,)*) => {
        const EXAMPLES: &[(&str, &str)] = &[$((stringify!($example), $about)),*];

        async fn run(example: &str, db: &Database, notes: &Arc<Notes>) -> Outcome {
            match example {
                $(stringify!($example) => $example::run(db, notes).await,)*
                _ => Err(format!("there is no example {example:?}: without a name, they are listed").into()),
            }
        }

        #[cfg(test)]
        mod tests {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $example() {
                let said = super::play(stringify!($example)).await.unwrap();
                let expected = include_str!(concat!("expected/", stringify!($example), ".txt"));
                assert_eq!(said, expected, "it said:\n{said}");
            })*
        }
    };
}

tour! {
    quick_start: "a job, an enqueue, a worker",
    transactions: "enqueue and complete with the rows it is about",
    retries: "the four outcomes of a handler",
    lanes: "caps, fairness and weights",
    pools: "a budget of units that jobs share",
    breakers: "an outside that does not serve",
    unique_keys: "ignore, replace, debounce, once a period",
    batches: "a job that waits for others",
    schedules: "cron, with the clock moved",
    checkpoints: "go on where the last attempt stood",
    cancelling: "end a job that waits, or that runs",
    why: "why a job waits",
    failures: "what failed alike, put back at a pace",
    pauses: "hold up a queue or a kind",
    plain_sql: "enqueue from anything that speaks SQL",
}

/// Runs an example in a database of its own; returns what it said.
async fn play(example: &str) -> Result<String, Box<dyn Error>> {
    let db = Database::empty().await;
    let mut conn = db.pool().acquire().await?;
    install(&mut conn).await?;
    testing::movable_clock(&mut conn).await?;
    drop(conn);
    let notes = Arc::new(Notes::default());
    run(example, &db, &notes).await?;
    Ok(notes.read())
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "what an example says is its data")]
async fn main() -> Outcome {
    if let Some(example) = std::env::args().nth(1) {
        print!("{}", play(&example).await?);
    } else {
        for (example, about) in EXAMPLES {
            println!("{example:13} {about}");
        }
    }
    Ok(())
}
