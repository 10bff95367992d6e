//! Advisory file locks: the kernel frees them at any death, so nobody has to clean up after a kill.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Error;

/// Longer than the slowest holder: one that fetches a server over a slow line and boots it.
const PATIENCE: Duration = Duration::from_secs(400);
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// Waits until nobody else holds the lock, and holds it until the file is closed.
pub(crate) async fn exclusive(file: &File, path: &Path) -> Result<(), Error> {
    wait(path, PATIENCE, || file.try_lock()).await
}

/// Waits until nobody holds the lock exclusively, and shares it until the file is closed.
pub(crate) async fn shared(file: &File, path: &Path) -> Result<(), Error> {
    wait(path, PATIENCE, || file.try_lock_shared()).await
}

/// Returns whether the lock became ours within some time.
pub(crate) async fn exclusive_within(file: &File, patience: Duration) -> bool {
    wait(Path::new(""), patience, || file.try_lock()).await.is_ok()
}

// Polling instead of `File::lock`, which could not be given up, neither by a timeout nor by a runtime that ends.
async fn wait(
    path: &Path,
    patience: Duration,
    mut attempt: impl FnMut() -> Result<(), TryLockError>,
) -> Result<(), Error> {
    let since = Instant::now();
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(source)) => return Err(Error::File { path: path.into(), source }),
            Err(TryLockError::WouldBlock) if since.elapsed() >= patience => {
                return Err(Error::Held { path: path.into(), secs: patience.as_secs() });
            }
            Err(TryLockError::WouldBlock) => sleep(BETWEEN_TRIES).await,
        }
    }
}
