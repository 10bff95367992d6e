//! The project's own server, whose data stay: for development and small installations.

use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::cluster::{Data, Plan, Postgres};
use crate::{Error, error::at, server::Durability};

impl Postgres {
    /// Attaches to the server of this project, or starts it; it stops when its last user leaves.
    ///
    /// The data are in `.greenroom/pg` below the project; for root, who has to lend the server
    /// another account, they are in a folder of that account's below `/var/tmp`.
    pub async fn kept(project: &Path) -> Result<Self, Error> {
        let project = project.canonicalize().map_err(at(project))?;
        let name = hex::encode(&Sha256::digest(project.as_os_str().as_encoded_bytes())[..8]);
        Self::enter(Plan {
            name: format!("kept-{name}"),
            data: Data::Kept(project.join(".greenroom/pg")),
            durability: Durability::Crash,
            linger: Duration::ZERO,
        })
        .await
    }
}
