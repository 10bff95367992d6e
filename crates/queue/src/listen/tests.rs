//! Links that die without a word: bytes stop, nothing is closed.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use greenroom_testkit::Database;
use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::*;
use crate::wake::notify;

const PULSE: Pulse = Pulse { quiet: Duration::from_millis(200), answer: Duration::from_secs(1) };
const PATIENCE: Duration = Duration::from_secs(10);

/// A network between us and the server.
struct Link {
    pool: PgPool,
    /// Connections are counted as they come; those before this one carry nothing any more.
    carries_from: Arc<AtomicUsize>,
    opened: Arc<AtomicUsize>,
}

impl Link {
    async fn to(db: &Database) -> Self {
        let server = PgConnectOptions::from_str(&db.url()).unwrap();
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // The path of a socket would stand over the address, so it is left out.
        let options = match server.get_socket() {
            None => server.clone(),
            Some(_) => PgConnectOptions::new_without_pgpass()
                .username(server.get_username())
                .database(server.get_database().unwrap())
                .ssl_mode(server.get_ssl_mode()),
        };
        let options = options.host("127.0.0.1").port(door.local_addr().unwrap().port());
        let (carries_from, opened) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (limit, count) = (Arc::clone(&carries_from), Arc::clone(&opened));
        tokio::spawn(async move {
            loop {
                let (client, _) = door.accept().await.unwrap();
                let carrier =
                    Carrier { number: count.fetch_add(1, Ordering::SeqCst), limit: Arc::clone(&limit) };
                if let Some(folder) = server.get_socket() {
                    let path = folder.join(format!(".s.PGSQL.{}", server.get_port()));
                    carrier.join(client, UnixStream::connect(path).await.unwrap());
                } else {
                    let address = (server.get_host(), server.get_port());
                    carrier.join(client, TcpStream::connect(address).await.unwrap());
                }
            }
        });
        Self { pool: PgPoolOptions::new().connect_lazy_with(options), carries_from, opened }
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    /// Kills the connections there are; new ones get through.
    fn cut_what_is_open(&self) {
        self.carries_from.store(self.opened(), Ordering::SeqCst);
    }

    /// Kills all, and lets new ones be opened and hear nothing.
    fn cut(&self) {
        self.carries_from.store(usize::MAX, Ordering::SeqCst);
    }
}

#[derive(Clone)]
struct Carrier {
    number: usize,
    limit: Arc<AtomicUsize>,
}

impl Carrier {
    fn join(self, client: TcpStream, server: impl AsyncRead + AsyncWrite + Send + 'static) {
        let (questions, replies) = client.into_split();
        let (answers, asked) = tokio::io::split(server);
        tokio::spawn(self.clone().carry(questions, asked));
        tokio::spawn(self.carry(answers, replies));
    }

    async fn carry(self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut bytes = [0; 8192];
        while let Ok(n @ 1..) = from.read(&mut bytes).await {
            if self.number < self.limit.load(Ordering::SeqCst) {
                // Both ends stay open and nothing comes.
                std::future::pending::<()>().await;
            }
            if to.write_all(&bytes[..n]).await.is_err() {
                return;
            }
        }
    }
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
    notify(&mut *db.pool().acquire().await.unwrap(), &[queue.to_owned()]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_dies_without_a_word_is_replaced() {
    let db = Database::new().await;
    let link = Link::to(&db).await;
    let (mouth, mut ears) = mpsc::unbounded_channel();
    let listener = tokio::spawn(listen(link.pool.clone(), mouth, PULSE));
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
    let listener = tokio::spawn(listen(link.pool.clone(), mouth, PULSE));
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
        listeners.push(tokio::spawn(listen(link.pool.clone(), mouth, pulse)));
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
