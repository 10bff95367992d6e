//! A sandbox and what a test may do to it from within the same process.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::serve::ListenerExt;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    Settings,
    faults::{Faults, Rule},
    google::{
        Grants, Meter,
        oauth::{Account, Google},
    },
    http::{
        self,
        resend::{Keys, Resend},
    },
    instagram::oauth::{self as instagram, Instagram},
    llm::Llm,
    smtp::{self, Received},
    stats::{Counter, Stats},
    twitter::oauth::{self as twitter, Twitter},
    world::{Change, Changed, Changes, Totals, UnknownId, VideoKey, View, World},
};

/// Stand-ins of the outside worlds; clones share everything.
#[derive(Clone, Debug)]
pub struct Sandbox {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) world: World,
    changes: RwLock<Changes>,
    grants: Mutex<Grants>,
    instagram: Mutex<instagram::Tokens>,
    twitter: Mutex<twitter::Tokens>,
    quota: Mutex<Meter>,
    faults: Mutex<Faults>,
    counter: Mutex<Counter>,
    transcript: Mutex<Vec<(String, String)>>,
    mails: Mutex<Vec<Received>>,
    hanging: AtomicUsize,
    resend_keys: Mutex<Keys>,
}

/// What a program needs to know to use a sandbox: printed as one line when it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// What replaces the scheme and host of every vendor's address.
    pub base_url: String,
    /// Google's credentials.
    pub google: Google,
    /// Instagram's.
    pub instagram: Instagram,
    /// X's.
    pub twitter: Twitter,
    /// The language model's.
    pub llm: Llm,
    /// Resend's.
    pub resend: Resend,
    /// The mail server's address, as host:port.
    pub smtp: String,
}

/// A sandbox that listens; it stops when this is dropped.
#[derive(Debug)]
pub struct Running {
    /// What replaces the scheme and host of every vendor's address.
    pub base_url: String,
    smtp: SocketAddr,
    sandbox: Sandbox,
    servers: [JoinHandle<()>; 2],
}

impl Sandbox {
    /// Makes a sandbox that does not listen yet.
    pub fn new(settings: Settings) -> Self {
        let inner = Inner {
            world: World::new(&settings),
            changes: RwLock::default(),
            grants: Mutex::new(Grants::new(&settings)),
            instagram: Mutex::new(instagram::Tokens::new(&settings)),
            twitter: Mutex::new(twitter::Tokens::new(&settings)),
            quota: Mutex::new(Meter::new(settings.quota)),
            faults: Mutex::default(),
            counter: Mutex::default(),
            transcript: Mutex::default(),
            mails: Mutex::default(),
            hanging: AtomicUsize::new(0),
            resend_keys: Mutex::default(),
            settings,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Listens and serves until the answer is dropped.
    pub async fn start(settings: Settings) -> io::Result<Running> {
        let listener = TcpListener::bind(settings.listen).await?;
        let base_url = format!("http://{}", listener.local_addr()?);
        let sandbox = Self::new(settings);
        let router = sandbox.router();
        // A page is written in one piece; waiting to fill a packet would only add to the latency.
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "The sandbox could not switch Nagle's algorithm off");
            }
        });
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "The sandbox stopped serving");
            }
        });
        let mail = TcpListener::bind((sandbox.inner.settings.listen.ip(), 0)).await?;
        let smtp = mail.local_addr()?;
        let mail_server = tokio::spawn(smtp::serve(mail, sandbox.clone()));
        Ok(Running { base_url, smtp, sandbox, servers: [server, mail_server] })
    }

    /// Returns the routes, for a program that listens by itself.
    pub fn router(&self) -> axum::Router {
        http::router(self)
    }

    /// Returns what a client needs to act for the channels.
    pub fn google(&self) -> Google {
        let grants = self.grants();
        let channels: Vec<_> = self.inner.world.channels.iter().collect();
        let disabled = VideoKey { channel: 0, index: 1 };
        Google {
            client_id: grants.client_id.clone(),
            client_secret: grants.client_secret.clone(),
            refresh_token: grants.of_channel(0),
            readonly_refresh_token: grants.readonly(),
            revoked_refresh_token: grants.revoked(),
            channel_id: channels.first().map(|channel| channel.id()).unwrap_or_default(),
            comments_disabled_video: channels
                .first()
                .filter(|channel| disabled.index < channel.videos())
                .map(|_| self.inner.world.ids.video(disabled)),
            channels: channels
                .iter()
                .map(|channel| Account {
                    channel_id: channel.id(),
                    refresh_token: grants.of_channel(channel.index),
                })
                .collect(),
        }
    }

    /// Scripts a fault.
    pub fn inject(&self, rule: Rule) {
        self.faults().add(rule);
    }

    /// Forgets all scripted faults.
    pub fn clear_faults(&self) {
        self.faults().clear();
    }

    /// Returns every request so far, where the settings want it: its path, and all of it as text.
    pub fn transcript(&self) -> Vec<(String, String)> {
        held(&self.inner.transcript).clone()
    }

    pub(crate) fn note(&self, path: String, request: String) {
        held(&self.inner.transcript).push((path, request));
    }

    /// Returns what the mail server has taken so far.
    pub fn mails(&self) -> Vec<Received> {
        held(&self.inner.mails).clone()
    }

    /// Counts what the mail server has taken so far.
    pub fn mails_taken(&self) -> usize {
        held(&self.inner.mails).len()
    }

    /// Counts the clients of the mail server that were left without an answer so far.
    pub fn mails_hanging(&self) -> usize {
        self.inner.hanging.load(Ordering::Relaxed)
    }

    pub(crate) fn count_hanging(&self) {
        self.inner.hanging.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn keep_mail(&self, mail: Received) {
        held(&self.inner.mails).push(mail);
    }

    pub(crate) fn resend_keys(&self) -> MutexGuard<'_, Keys> {
        held(&self.inner.resend_keys)
    }

    /// Lets an owner take back what he allowed on Instagram; the account is its place in the list.
    pub fn revoke_instagram(&self, account: u16) {
        self.instagram_tokens().revoke(account);
    }

    /// Counts refresh tokens of X that were brought a second time: each ended an account.
    pub fn reused_on_twitter(&self) -> u64 {
        self.twitter_tokens().reused
    }

    /// Lets something happen on the platform now.
    pub fn change(&self, change: &Change) -> Result<Changed, UnknownId> {
        let mut changes = self.inner.changes.write().unwrap_or_else(PoisonError::into_inner);
        changes.apply(&self.inner.world, change, self.inner.settings.clock.now())
    }

    /// Counts what has been asked since the start.
    pub fn stats(&self) -> Stats {
        let units = self.quota().used();
        self.counter().stats(units)
    }

    /// Counts what a complete walk of each channel must find now.
    pub fn totals(&self) -> Vec<Totals> {
        let changes = self.changes();
        let view = View { world: &self.inner.world, changes: &changes };
        self.inner.world.channels.iter().map(|channel| view.totals(channel)).collect()
    }

    pub(crate) fn changes(&self) -> RwLockReadGuard<'_, Changes> {
        self.inner.changes.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn grants(&self) -> MutexGuard<'_, Grants> {
        held(&self.inner.grants)
    }

    pub(crate) fn instagram_tokens(&self) -> MutexGuard<'_, instagram::Tokens> {
        held(&self.inner.instagram)
    }

    pub(crate) fn twitter_tokens(&self) -> MutexGuard<'_, twitter::Tokens> {
        held(&self.inner.twitter)
    }

    pub(crate) fn quota(&self) -> MutexGuard<'_, Meter> {
        held(&self.inner.quota)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        held(&self.inner.faults)
    }

    pub(crate) fn counter(&self) -> MutexGuard<'_, Counter> {
        held(&self.inner.counter)
    }
}

/// Locks; what a panicking test left behind is still in order, since nothing is changed in steps.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    /// Returns what a program needs to know to use this sandbox.
    pub fn ready(&self) -> Ready {
        Ready {
            base_url: self.base_url.clone(),
            google: self.google(),
            instagram: self.instagram_tokens().ready(),
            twitter: self.twitter_tokens().ready(),
            llm: Llm::new(&self.inner.settings),
            resend: Resend::new(&self.inner.settings),
            smtp: self.smtp.to_string(),
        }
    }
}

impl std::ops::Deref for Running {
    type Target = Sandbox;

    fn deref(&self) -> &Sandbox {
        &self.sandbox
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.servers.iter().for_each(JoinHandle::abort);
    }
}
