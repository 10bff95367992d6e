//! One PostgreSQL server: its data folder, its settings, and whether it answers.
//!
//! It listens on a Unix socket only, so no port is chosen and nothing of it can be reached from
//! another machine. Who may start it and when it ends is decided elsewhere (`cluster`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection};
use tokio::time::{Instant, sleep, timeout};

use crate::{Error, account::Account, error::at, find::Binaries, run};

/// How long a server may take to come up; a kept one may have to recover from a crash first.
const BOOT_SECS: u64 = 120;
const PROBE: Duration = Duration::from_secs(5);
/// The user that `initdb` creates and everybody connects as.
const USER: &str = "postgres";
const SOCKET: &str = ".s.PGSQL.5432";

/// What a server promises about the data it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Survives a crash.
    Crash,
    /// As fast as it goes; a crash loses everything.
    None,
}

/// A server's places and promises; it may or may not be running.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) account: Account,
    /// The folder of socket and log.
    pub(crate) room: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) durability: Durability,
}

impl Server {
    /// Returns how to connect to one of its databases.
    pub(crate) fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.room)
            .port(5432)
            .username(USER)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    /// Returns the address of one of its databases.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@localhost/{database}?host={}&sslmode=disable", self.room.display())
    }

    /// Returns whether a server answers; one that is still coming up is waited for.
    pub(crate) async fn answers(&self) -> Result<bool, Error> {
        if !self.room.join(SOCKET).exists() {
            return Ok(false);
        }
        let since = Instant::now();
        loop {
            match timeout(PROBE, self.options("postgres").connect()).await {
                Ok(Ok(connection)) => {
                    _ = timeout(PROBE, connection.close()).await;
                    return Ok(true);
                }
                // 57P03: it is starting, recovering or shutting down, and will soon have decided.
                Ok(Err(sqlx::Error::Database(error))) if error.code().as_deref() == Some("57P03") => {
                    if since.elapsed().as_secs() > BOOT_SECS {
                        return Err(Error::Sql(sqlx::Error::Database(error)));
                    }
                    sleep(Duration::from_millis(50)).await;
                }
                // Whoever refuses us in PostgreSQL's own words is there, if only with all seats taken.
                Ok(Err(sqlx::Error::Database(_))) => return Ok(true),
                Ok(Err(_)) | Err(_) => return Ok(false),
            }
        }
    }

    /// Returns which major version wrote the data, if there are any.
    pub(crate) fn written_by(&self) -> Option<u32> {
        fs::read_to_string(self.data.join("PG_VERSION")).ok()?.trim().parse().ok()
    }

    /// Fills the empty data folder.
    pub(crate) async fn init(&self, binaries: &Binaries) -> Result<(), Error> {
        let mut refused = None;
        // Bytewise order is the same everywhere and fast; letters must still have their lower case.
        for letters in ["C.UTF-8", "en_US.UTF-8", "C"] {
            let mut command = self.account.command(binaries.program("initdb"));
            command.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions", "-U", USER]);
            command.arg(format!("--lc-ctype={letters}")).arg("-D").arg(&self.data);
            if self.durability == Durability::None {
                command.arg("--no-sync");
            }
            match run(&mut command, "making the data folder (initdb)").await {
                Ok(_) => {
                    let conf = self.data.join("postgresql.conf");
                    let text = fs::read_to_string(&conf).map_err(at(&conf))?;
                    return fs::write(&conf, text + "\ninclude 'greenroom.conf'\n").map_err(at(&conf));
                }
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        Err(refused.unwrap_or(Error::NoAccount))
    }

    /// Fills the empty data folder with a copy of the server in another room, to follow it from there on.
    pub(crate) async fn copy(&self, binaries: &Binaries, primary: &Path) -> Result<(), Error> {
        let mut command = self.account.command(binaries.program("pg_basebackup"));
        command.args(["--checkpoint=fast", "--write-recovery-conf", "-U", USER, "-p", "5432", "-h"]);
        command.arg(primary).arg("-D").arg(&self.data);
        run(&mut command, "copying a server (pg_basebackup)").await.map(drop)
    }

    /// Starts the server on data that exist, and returns when it answers.
    pub(crate) async fn start(&self, binaries: &Binaries) -> Result<(), Error> {
        if let Some(pid) = self.living_process() {
            return Err(Error::Deaf { data: self.data.clone(), pid });
        }
        // Nobody answers and nobody lives: what is left names a process that is gone, or has become another.
        for leftover in [
            self.data.join("postmaster.pid"),
            self.room.join(SOCKET),
            self.room.join(format!("{SOCKET}.lock")),
        ] {
            if leftover.symlink_metadata().is_ok() {
                fs::remove_file(&leftover).map_err(at(&leftover))?;
            }
        }
        let conf = self.data.join("greenroom.conf");
        fs::write(&conf, self.settings()).map_err(at(&conf))?;
        if self.account.is_lent() {
            // Written by root, read by the account that serves, whatever the umask.
            fs::set_permissions(&conf, std::os::unix::fs::PermissionsExt::from_mode(0o644))
                .map_err(at(&conf))?;
        }
        let mut command = self.account.command(binaries.program("pg_ctl"));
        command.args(["start", "--wait", "--silent", "--timeout", &BOOT_SECS.to_string()]);
        command.arg("-l").arg(self.log()).arg("-D").arg(&self.data);
        // A group of its own: the terminal's Ctrl-C is for us, and we decide when the server goes.
        command.process_group(0);
        run(&mut command, "starting PostgreSQL").await.map_err(|error| match error {
            Error::Program { what, output } => {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
                Error::Program { what, output: format!("{output}\n{last}") }
            }
            other => other,
        })?;
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.room.join("log")
    }

    /// Returns the process that holds the data, if it is alive and a PostgreSQL.
    fn living_process(&self) -> Option<u32> {
        let file = fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        let pid: u32 = file.lines().next()?.trim().parse().ok()?;
        // PostgreSQL has its own guard against two servers on one folder; this only says it sooner, where it can.
        // A number alone proves nothing: after a restart of the machine another program may have it.
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        name.trim().starts_with("postgres").then_some(pid)
    }

    fn settings(&self) -> String {
        let room = self.room.display();
        let common = format!(
            "# Written by Greenroom at every start.\n\
             listen_addresses = ''\n\
             unix_socket_directories = '{room}'\n\
             unix_socket_permissions = 0700\n\
             port = 5432\n\
             max_connections = 400\n\
             shared_buffers = 128MB\n\
             dynamic_shared_memory_type = posix\n\
             timezone = 'UTC'\n\
             log_timezone = 'UTC'\n\
             log_line_prefix = '%m [%p] %d '\n"
        );
        let promises = match self.durability {
            Durability::Crash => "fsync = on\nfull_page_writes = on\nsynchronous_commit = on\n",
            Durability::None => {
                // No replication, no backups and no crash to survive; `jit` would only make first runs slower.
                "fsync = off\nfull_page_writes = off\nsynchronous_commit = off\nwal_level = minimal\n\
                 max_wal_senders = 0\nmax_wal_size = 512MB\nautovacuum = on\njit = off\n"
            }
        };
        common + promises
    }
}
