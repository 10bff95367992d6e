//! Under whose account a server runs, and where its files may lie.
//!
//! PostgreSQL refuses to run as root, so root lends it the account of `postgres` or `nobody`, and
//! puts its files where that account may go: never below `/root`. Anybody else runs it himself.

use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::{Error, error::at, run};

/// Where the servers of all users of a machine have their rooms: long-lived, and short to name.
const ROOMS: &str = "/var/tmp";

/// The account a server runs under.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// Who asks.
    uid: u32,
    /// Who serves, when the one who asks is root.
    lent: Option<(u32, u32)>,
}

impl Account {
    /// Finds out who we are, and for root whose account to lend.
    pub(crate) async fn current() -> Result<Self, Error> {
        let uid = id(&["-u"]).await?;
        if uid != 0 {
            return Ok(Self { uid, lent: None });
        }
        for name in ["postgres", "nobody"] {
            if let (Ok(user), Ok(group)) = (id(&["-u", name]).await, id(&["-g", name]).await)
                && user != 0
            {
                return Ok(Self { uid, lent: Some((user, group)) });
            }
        }
        Err(Error::NoAccount)
    }

    /// Returns whether a server runs under another account than ours.
    pub(crate) fn is_lent(&self) -> bool {
        self.lent.is_some()
    }

    /// Returns a command that runs as the server's account, untouched by the caller's own PostgreSQL settings.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir("/").env("LC_ALL", "C");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        if let Some((user, group)) = self.lent {
            command.uid(user).gid(group);
        }
        command
    }

    /// Returns a folder of this user's own in which rooms are made, and makes it first if needed.
    pub(crate) fn rooms(&self) -> Result<PathBuf, Error> {
        let path = Path::new(ROOMS).join(format!("greenroom-{}", self.uid));
        // The server's account passes through and may remove what is its own, nobody else may.
        let mode = if self.is_lent() { 0o1771 } else { 0o700 };
        make(&path, mode)?;
        let found = fs::symlink_metadata(&path).map_err(at(&path))?;
        // Anybody may write in /var/tmp: what we did not make ourselves could be a trap.
        if !found.is_dir() || found.uid() != self.uid {
            return Err(Error::NotOurs { path });
        }
        if let Some((_, group)) = self.lent {
            chown(&path, None, Some(group)).map_err(at(&path))?;
        }
        // The umask may have taken bits away.
        fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(at(&path))?;
        Ok(path)
    }

    /// Makes a folder, unless it exists, that only the server's account may enter.
    pub(crate) fn folder(&self, path: &Path) -> Result<(), Error> {
        make(path, 0o700)?;
        let owner = self.lent.map_or(self.uid, |(user, _)| user);
        let found = fs::symlink_metadata(path).map_err(at(path))?;
        if !found.is_dir() || ![owner, self.uid].contains(&found.uid()) {
            return Err(Error::NotOurs { path: path.into() });
        }
        if let Some((user, group)) = self.lent {
            chown(path, Some(user), Some(group)).map_err(at(path))?;
        }
        Ok(())
    }
}

fn make(path: &Path, mode: u32) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(at(path))
}

async fn id(arguments: &[&str]) -> Result<u32, Error> {
    let printed = run(Command::new("id").args(arguments), "asking `id` for an account").await?;
    printed.trim().parse().map_err(|_| Error::NoAccount)
}
