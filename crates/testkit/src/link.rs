//! A network between a test and its database, which can die without a word.

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use url::Url;

use crate::Database;

/// A way to a database over TCP, which carries all bytes until it is cut: then both ends stay open, and
/// nothing comes any more.
#[derive(Debug)]
pub struct Link {
    url: String,
    /// Connections are counted as they come; those before this one carry nothing any more.
    carries_from: Arc<AtomicUsize>,
    opened: Arc<AtomicUsize>,
}

impl Link {
    /// Opens a way to a database.
    pub async fn to(db: &Database) -> Self {
        let server = PgConnectOptions::from_str(&db.url()).unwrap();
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut url = Url::parse(&db.url()).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(door.local_addr().unwrap().port())).unwrap();
        // The path of a socket would stand over the address.
        let kept: Vec<_> = url.query_pairs().into_owned().filter(|(name, _)| name != "host").collect();
        url.query_pairs_mut().clear().extend_pairs(kept);
        let (carries_from, opened) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (limit, count) = (Arc::clone(&carries_from), Arc::clone(&opened));
        tokio::spawn(async move {
            loop {
                let (client, _) = door.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::SeqCst);
                let carrier = Carrier { number, carries_from: Arc::clone(&limit) };
                if let Some(folder) = server.get_socket() {
                    let path = folder.join(format!(".s.PGSQL.{}", server.get_port()));
                    carrier.join(client, UnixStream::connect(path).await.unwrap());
                } else {
                    let address = (server.get_host(), server.get_port());
                    carrier.join(client, TcpStream::connect(address).await.unwrap());
                }
            }
        });
        Self { url: url.into(), carries_from, opened }
    }

    /// Returns the database's address by this way.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns how many connections were opened so far.
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    /// Cuts the connections there are; new ones get through.
    pub fn cut_what_is_open(&self) {
        self.carries_from.store(self.opened(), Ordering::SeqCst);
    }

    /// Cuts all, and lets new ones be opened and hear nothing.
    pub fn cut(&self) {
        self.carries_from.store(usize::MAX, Ordering::SeqCst);
    }
}

/// Carries one connection's bytes.
#[derive(Clone)]
struct Carrier {
    number: usize,
    carries_from: Arc<AtomicUsize>,
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
            if self.number < self.carries_from.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if to.write_all(&bytes[..n]).await.is_err() {
                return;
            }
        }
    }
}
