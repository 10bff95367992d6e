//! A server that several processes share and that goes away by itself.
//!
//! Whoever comes takes `boot.lock`, shares `users.lock`, and starts the server if nobody answers.
//! A supervisor beside the server waits until nobody shares `users.lock`, then stops it, and
//! deletes the data of a throwaway one. It is a shell of its own process group, so it outlives a
//! killed process, a closed terminal and a test harness; if it is killed itself, the next user
//! starts another one over the orphan.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::server::{Durability, Server};
use crate::{Error, account::Account, error::at, find::Binaries, lock, run};

const SUPERVISOR: &str = include_str!("supervisor.sh");
const STOP: Duration = Duration::from_secs(90);
const FAREWELL: Duration = Duration::from_secs(2);

/// What to share and how long it lasts.
pub(crate) struct Plan {
    /// The room's name, unique for this user on this machine, and short: it is part of a socket's address.
    pub(crate) name: String,
    pub(crate) data: Data,
    pub(crate) durability: Durability,
    /// How long the server stays when nobody uses it any more.
    pub(crate) linger: Duration,
}

/// Where the data lie, and whether they outlive the server.
pub(crate) enum Data {
    /// In this folder, or inside the room where the server's account may not go there.
    Kept(PathBuf),
    Throwaway,
    /// Throwaway, and a copy of the server in this room, which it follows.
    Following(PathBuf),
}

/// A running PostgreSQL; it stays at least as long as this value lives.
#[derive(Debug)]
pub struct Postgres {
    server: Server,
    /// Shared for as long as this value lives.
    users: File,
}

impl Postgres {
    /// Attaches to the server of this plan, or starts it.
    pub(crate) async fn enter(plan: Plan) -> Result<Self, Error> {
        let account = Account::current().await?;
        let room = account.rooms()?.join(&plan.name);
        account.folder(&room)?;
        let (boot, boot_path) = open(&room, "boot.lock")?;
        lock::exclusive(&boot, &boot_path).await?;
        let (users, users_path) = open(&room, "users.lock")?;
        lock::shared(&users, &users_path).await?;

        let data = fs::read_link(room.join("data")).unwrap_or_default();
        let mut server = Server { account, room, data, durability: plan.durability };
        let is_running = server.answers().await?;
        if !is_running {
            server.data = match &plan.data {
                Data::Kept(folder) => kept_data(&server, folder)?,
                Data::Throwaway | Data::Following(_) => fresh_data(&server).await?,
            };
            if let Data::Following(primary) = &plan.data {
                let binaries = Binaries::find(&server.account, None).await?;
                server.copy(&binaries, primary).await?;
            }
            boot_on(&server).await?;
        }
        let (watch, _) = open(&server.room, "supervisor.lock")?;
        // The supervisor of the last server may be on its way out; that of a server that crashed stays.
        let patience = if is_running { Duration::ZERO } else { FAREWELL };
        if lock::exclusive_within(&watch, patience).await {
            supervise(&server, watch, &plan).await?;
        }
        Ok(Self { server, users })
    }

    /// Returns the address of one of its databases.
    pub fn url(&self, database: &str) -> String {
        self.server.url(database)
    }

    /// Returns how to connect to one of its databases.
    pub fn options(&self, database: &str) -> PgConnectOptions {
        self.server.options(database)
    }

    /// Returns the folder with the server's socket and log.
    pub fn room(&self) -> &Path {
        &self.server.room
    }

    /// Returns the folder with the server's data.
    pub fn data(&self) -> &Path {
        &self.server.data
    }

    /// Leaves the server, and returns when it has stopped or somebody else is found to use it.
    pub async fn stop(self) -> Result<(), Error> {
        let Self { server, users } = self;
        drop(users);
        let since = Instant::now();
        let mut shared_in_a_row = 0;
        while since.elapsed() < STOP {
            let (watch, _) = match open(&server.room, "supervisor.lock") {
                Ok(opened) => opened,
                // A room of its own goes with its server.
                Err(_) if !server.room.exists() => return Ok(()),
                Err(error) => return Err(error),
            };
            if watch.try_lock_shared().is_ok() {
                return Ok(());
            }
            // The supervisor takes this lock for a moment when it looks around, another user shares it and stays.
            let (users, _) = open(&server.room, "users.lock")?;
            let is_shared = users.try_lock().is_err() && users.try_lock_shared().is_ok();
            shared_in_a_row = if is_shared { shared_in_a_row + 1 } else { 0 };
            if shared_in_a_row == 5 {
                return Ok(());
            }
            drop(users);
            sleep(Duration::from_millis(50)).await;
        }
        Err(Error::Held { path: server.room, secs: STOP.as_secs() })
    }

    /// Lets the server die as in a power cut, for tests of what survives; `restart` brings it back.
    pub async fn crash(&self) -> Result<(), Error> {
        let binaries = Binaries::find(&self.server.account, self.server.written_by()).await?;
        let mut command = self.server.account.command(binaries.program("pg_ctl"));
        command.args(["stop", "-m", "immediate", "--silent", "-D"]).arg(&self.server.data);
        run(&mut command, "crashing PostgreSQL").await.map(drop)
    }

    /// Makes a primary of a standby, for tests of a failover.
    pub async fn promote(&self) -> Result<(), Error> {
        let binaries = Binaries::find(&self.server.account, self.server.written_by()).await?;
        let mut command = self.server.account.command(binaries.program("pg_ctl"));
        command.args(["promote", "--wait", "--silent", "-D"]).arg(&self.server.data);
        run(&mut command, "promoting a standby").await.map(drop)
    }

    /// Starts the server again after a `crash`.
    pub async fn restart(&self) -> Result<(), Error> {
        let binaries = Binaries::find(&self.server.account, self.server.written_by()).await?;
        self.server.start(&binaries).await
    }
}

fn open(room: &Path, name: &str) -> Result<(File, PathBuf), Error> {
    let path = room.join(name);
    let file = File::options().read(true).append(true).create(true).open(&path).map_err(at(&path))?;
    Ok((file, path))
}

/// Returns the folder of data that stay.
fn kept_data(server: &Server, folder: &Path) -> Result<PathBuf, Error> {
    let inside = server.room.join("pg");
    let data = if server.account.is_lent() { &inside } else { folder };
    server.account.folder(data)?;
    point_to(server, data)?;
    Ok(data.into())
}

/// Makes an empty data folder, in memory if there is room for it, and removes the last one.
async fn fresh_data(server: &Server) -> Result<PathBuf, Error> {
    let command = |program: &str| server.account.command(program);
    if !server.data.as_os_str().is_empty() {
        // As the account that serves: its link must not make root delete what is not its own.
        run(command("rm").arg("-rf").arg(&server.data), "removing a dead server's data").await?;
    }
    let memory = Path::new("/dev/shm");
    let parent = if has_a_gib(memory).await { memory } else { &server.room };
    let name = format!("greenroom-{}-XXXXXX", server.room.file_name().unwrap_or_default().display());
    let made = run(command("mktemp").arg("-d").arg(parent.join(name)), "making a data folder").await?;
    let data = PathBuf::from(made.trim());
    point_to(server, &data)?;
    Ok(data)
}

/// Leaves word of where the data are, for the supervisor and whoever comes next.
fn point_to(server: &Server, data: &Path) -> Result<(), Error> {
    let link = server.room.join("data");
    if link.symlink_metadata().is_ok() {
        fs::remove_file(&link).map_err(at(&link))?;
    }
    symlink(data, &link).map_err(at(&link))
}

async fn has_a_gib(folder: &Path) -> bool {
    // The second line of `df -Pk` has the free KiB as its fourth word.
    let printed = run(Command::new("df").arg("-Pk").arg(folder), "asking for free memory").await;
    let free = printed.ok().and_then(|text| text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok());
    free.is_some_and(|kib: u64| kib >= 1024 * 1024)
}

async fn boot_on(server: &Server) -> Result<(), Error> {
    let written = server.written_by();
    let binaries = Binaries::find(&server.account, written).await?;
    match written {
        None => server.init(&binaries).await?,
        Some(written) if written == binaries.major => {}
        Some(written) => {
            return Err(Error::OtherVersion { data: server.data.clone(), written, found: binaries.major });
        }
    }
    server.start(&binaries).await
}

/// Starts the supervisor; it inherits the locked file, so it is known to be alive from the first moment.
async fn supervise(server: &Server, watch: File, plan: &Plan) -> Result<(), Error> {
    let binaries = Binaries::find(&server.account, server.written_by()).await?;
    let (mode, keep) = match plan.data {
        Data::Kept(_) => ("fast", "yes"),
        Data::Throwaway | Data::Following(_) => ("immediate", "no"),
    };
    let mut command = server.account.command("sh");
    command.args(["-c", SUPERVISOR, "greenroom-postgres-supervisor"]);
    command.arg(&server.room).arg(binaries.program("pg_ctl"));
    command.args([mode, &plan.linger.as_secs_f32().to_string(), keep]);
    command.stdin(watch).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().map(drop).map_err(at(Path::new("sh")))
}

#[cfg(test)]
mod tests;
