//! Links that die without a word: bytes stop, nothing is closed.

use greenroom_testkit::{Database, Link};

use super::*;
use crate::wake::notify;

const PULSE: Pulse = Pulse { quiet: Duration::from_millis(200), answer: Duration::from_secs(1) };
const PATIENCE: Duration = Duration::from_secs(10);

fn pool(link: &Link) -> PgPool {
    PgPoolOptions::new().connect_lazy(link.url()).unwrap()
}

/// Waits for a wake of this queue, past the wakes of all queues that a new connection gives.
async fn hears(ears: &mut mpsc::UnboundedReceiver<Heard>, queue: &str) -> bool {
    let wake = async {
        while let Some(heard) = ears.recv().await {
            if heard == Heard::Wake(Some(queue.to_owned())) {
                return true;
            }
        }
        false
    };
    timeout(PATIENCE, wake).await.unwrap_or(false)
}

/// Waits until a connection has been made and listens.
async fn connected(ears: &mut mpsc::UnboundedReceiver<Heard>) {
    assert_eq!(timeout(PATIENCE, ears.recv()).await.unwrap(), Some(Heard::Wake(None)));
}

async fn wake(db: &Database, queue: &str) {
    notify(&mut db.pool().acquire().await.unwrap(), &[queue.to_owned()]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_dies_without_a_word_is_replaced() {
    let db = Database::new().await;
    let link = Link::to(&db).await;
    let (mouth, mut ears) = mpsc::unbounded_channel();
    let listener = tokio::spawn(listen(pool(&link), mouth, PULSE));
    connected(&mut ears).await;
    wake(&db, "before").await;
    assert!(hears(&mut ears, "before").await);
    link.cut_what_is_open();
    wake(&db, "unheard").await;
    connected(&mut ears).await;
    wake(&db, "after").await;
    assert!(hears(&mut ears, "after").await);
    assert_eq!(link.opened(), 2);
    listener.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_connections_and_says_nothing_is_tried_until_it_speaks() {
    let db = Database::new().await;
    let link = Link::to(&db).await;
    let (mouth, mut ears) = mpsc::unbounded_channel();
    let listener = tokio::spawn(listen(pool(&link), mouth, PULSE));
    connected(&mut ears).await;
    link.cut();
    let begun = std::time::Instant::now();
    while link.opened() < 3 {
        assert!(begun.elapsed() < PATIENCE, "it gave up after {} tries", link.opened());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    link.cut_what_is_open();
    connected(&mut ears).await;
    wake(&db, "after").await;
    assert!(hears(&mut ears, "after").await);
    listener.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_is_no_reason_to_reconnect_and_few_words_do_for_all() {
    let db = Database::new().await;
    let link = Link::to(&db).await;
    // A machine that is slow for a moment is no cut.
    let pulse = Pulse { answer: PATIENCE, ..PULSE };
    let mut listeners = Vec::new();
    let mut all_ears = Vec::new();
    for _ in 0..5 {
        let (mouth, mut ears) = mpsc::unbounded_channel();
        listeners.push(tokio::spawn(listen(pool(&link), mouth, pulse)));
        connected(&mut ears).await;
        all_ears.push(ears);
    }
    let mut eavesdropper = PgListener::connect_with(db.pool()).await.unwrap();
    eavesdropper.listen(HEARTBEAT_CHANNEL).await.unwrap();
    tokio::time::sleep(PULSE.quiet * 10).await;
    let mut beats = 0;
    // Shorter than the pause between two, so that it ends.
    while let Ok(Ok(_)) = timeout(Duration::from_millis(20), eavesdropper.recv()).await {
        beats += 1;
    }
    assert_eq!(link.opened(), 5, "somebody reconnected");
    // Each for himself would have said about seven; together they say about one in `quiet`.
    assert!((4..=18).contains(&beats), "{beats} beats of five listeners in ten times `quiet`");
    for listener in listeners {
        listener.abort();
    }
}
