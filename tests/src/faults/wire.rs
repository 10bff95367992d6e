//! A way to a database over TCP whose two directions can be held up, each by itself, or that loses the
//! answer to one COMMIT.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};

/// COMMIT as sqlx sends it: a simple query, its length and a NUL.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

#[derive(Debug, Default)]
struct State {
    holds_questions: AtomicBool,
    holds_answers: AtomicBool,
    loses_next_commit: AtomicBool,
}

pub(super) struct Wire {
    pub url: String,
    state: Arc<State>,
}

impl Wire {
    pub(super) async fn to(url: &str) -> Self {
        Self::from(Ipv4Addr::LOCALHOST.into(), url).await
    }

    /// Opens a way that begins at this address of this machine.
    pub(super) async fn from(address: IpAddr, url: &str) -> Self {
        let server = PgConnectOptions::from_str(url).unwrap();
        let socket = server.get_socket().expect("the tests' server listens on a socket").clone();
        let path = socket.join(format!(".s.PGSQL.{}", server.get_port()));
        let door = TcpListener::bind((address, 0)).await.unwrap();
        let (user, database) = (server.get_username(), server.get_database().unwrap());
        let url = format!("postgres://{user}@{}/{database}?sslmode=disable", door.local_addr().unwrap());
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = door.accept().await {
                let Ok(server) = UnixStream::connect(&path).await else { continue };
                let (questions, replies) = client.into_split();
                let (answers, asked) = server.into_split();
                let dead = Arc::new(AtomicBool::new(false));
                tokio::spawn(carry(questions, asked, Arc::clone(&shared), Arc::clone(&dead), true));
                tokio::spawn(carry(answers, replies, Arc::clone(&shared), dead, false));
            }
        });
        Self { url, state }
    }

    pub(super) fn hold_questions(&self, hold: bool) {
        self.state.holds_questions.store(hold, Ordering::SeqCst);
    }

    pub(super) fn hold_answers(&self, hold: bool) {
        self.state.holds_answers.store(hold, Ordering::SeqCst);
    }

    /// Has the next COMMIT arrive and its answer be lost, with the connection.
    pub(super) fn lose_next_commit(&self) {
        self.state.loses_next_commit.store(true, Ordering::SeqCst);
    }

    pub(super) fn has_lost_it(&self) -> bool {
        !self.state.loses_next_commit.load(Ordering::SeqCst)
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    state: Arc<State>,
    dead: Arc<AtomicBool>,
    asks: bool,
) {
    let mut bytes = vec![0; 8192];
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        let commits = asks && bytes[..n].windows(COMMIT.len()).any(|some| some == COMMIT);
        if commits && state.loses_next_commit.swap(false, Ordering::SeqCst) {
            // Before the question goes on: its answer may be quick.
            dead.store(true, Ordering::SeqCst);
        }
        let held = if asks { &state.holds_questions } else { &state.holds_answers };
        while held.load(Ordering::SeqCst) || (!asks && dead.load(Ordering::SeqCst)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if to.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
}
